"""Names of functions and models: what they load, and what each wrong one says."""

import json
import os
import re
from pathlib import Path

import pytest

from jaxconv.cli.loader import resolve
from jaxconv.cli.main import main
from jaxconv.cli.user_code import TargetError
from tests.support.processes import forked

ROOT = Path(__file__).parents[2]

PROVEN = [
    ("nets:Net", None, "(b, h, w, 8)"),
    ("nets:Net()", "b h w 3 -> b h w 8", "(b, h, w, 8)"),
    ("nets.py:Net", None, "(b, h, w, 8)"),
    ("nets:Net.encode", "b h w 3", "(b, 8)"),
    ("nets:Net(width=5).encode", "b h w 3 -> b 5", "(b, 5)"),
    ("nets:Net(6).encode", "b h w 3 -> b 6", "(b, 6)"),
    ("nets:Net.wide().encode", "b h w 3 -> b 32", "(b, 32)"),
    ("nets:Net.half", "b h -> b (h+1)//2", "(b, (h + 1)//2)"),
    ("nets:make(classes=5)", "b 2 2 3 -> b 5", "(b, 5)"),
    ("nets:drawn()", "b h w 3", "(b, h, w, 4)"),
    ("nets:keyed()", "b -> b", "(b,)"),
    ("held:net.encode", "b h w 3 -> b 8", "(b, 8)"),
    ("held:Plain.given", None, "(b, 5)"),
    ("held:Plain.ready", None, "(b, 4)"),
    ("lazy:later", "b -> b", "(b,)"),
    ("held:nets.jnp.tanh", "b:bfloat16 -> b", "(b,)"),
    ("vgg16", "b 224 224 3 -> b 1000", "(b, 1000)"),
    ('vgg11(head="conv", classes=7)', "b 256 256 3 -> b 2 2 7", "(b, 2, 2, 7)"),
]


@pytest.mark.parametrize(("target", "spec", "returns"), PROVEN)
def test_what_a_target_names_is_proven(project, capsys, target, spec, returns):
    given = [target] + [spec] * (spec is not None)
    assert main(["check", *given]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{target}: proven: accepts ")
    assert out.splitlines()[0].endswith(f", returns {returns}")


def test_models_have_no_weights(project):
    from jax import ShapeDtypeStruct

    assert isinstance(resolve("vgg19").fc6.kernel.get_value(), ShapeDtypeStruct)
    assert isinstance(resolve("nets:Net(width=3)").conv.kernel.get_value(), ShapeDtypeStruct)


@pytest.mark.parametrize("target", ["sub/eqx_model.py:Model", "sub/eqx_model.py:Model(width=4)"])
def test_an_equinox_model_is_made(project, capsys, target):
    pytest.importorskip("equinox")
    assert main(["check", target, "3 h w -> 4 h w"]) == 0


IMPORT_NOBODY = (
    'Traceback (most recent call last):\n  File "bad/lacks.py", line 1, in <module>\n'
    "    import a_module_of_nobody\nModuleNotFoundError: No module named 'a_module_of_nobody'"
)

LITERALS_ONLY = (
    "\n  Fix: write names and calls with literals only, such as Net, Net.encode or "
    "make(classes=10)."
)

BAD = {
    "modles": (
        "There is no module 'modles'.\n  Fix: write one of bad, empty, gives, held, lazy, needy."
    ),
    "pack.iner": "pack has no module iner.\n  Fix: write inner.",
    "nets.deep": (
        "nets has no module deep.\n"
        "  Fix: run the command in the folder that has the module, or install its package."
    ),
    "''": "There is no module ''.\n  Fix: write one of bad, empty, gives, held, lazy, needy.",
    ".nets": "There is no module '.nets'.\n  Fix: write nets.",
    "net.py": "There is no file net.py.\n  Fix: write one of nets.py, needy.py, empty.py.",
    "gone/net.py": "There is no file gone/net.py.\n  Fix: check the path.",
    "sub/json.py": "sub/json.py cannot be imported: json is JSON.\n  Fix: rename the file.",
    "empty": (
        "empty has no contract, and no function with shapes in its annotations.\n"
        "  Fix: put @jaxconv.contract(...) above a function in it, or say what to prove: "
        'jaxconv check module:name "b h w 3 -> b 10".'
    ),
    "nets 'b -> b'": (
        "nets does not name a function or a model.\n"
        "  Fix: write module:name, such as models:Net, or one of vgg11, vgg13, vgg16, vgg19, "
        "vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn."
    ),
    "'nets.make(3)' 'b -> b'": (
        "nets.make(3) does not name a function or a model.\n"
        "  Fix: write module:name, such as nets:make(3), or one of vgg11, vgg13, vgg16, vgg19, "
        "vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn."
    ),
    "lazy:other b": (
        "reading other of lazy failed.\n"
        "Traceback (most recent call last):\n"
        '  File "lazy.py", line 2, in __getattr__\n'
        "    return abs if name == 'later' else 1 / 0\n"
        "ZeroDivisionError: division by zero"
    ),
    "nets:make": (
        "nets:make has no contract, and no shapes in its annotations.\n"
        '  Fix: add its input and output shapes, such as "b h w 3 -> b 10".'
    ),
    "nets:mak b": "nets has no mak.\n  Fix: write make.",
    "nets:Net.encod b": "Net has no encod.\n  Fix: write encode.",
    "nets:size b": (
        "what is to be called is of type int, which is not a function.\n"
        "  Fix: pass a function or a model."
    ),
    "nets:size() b": "int cannot be called.\n  Fix: remove the parentheses.",
    "nets:make() b": (
        "make(classes): missing a required argument: 'classes'.\n"
        "  Fix: pass its arguments, such as models:make(classes=10)."
    ),
    "'nets:make(3, n=2)' b": (
        "make(classes): got an unexpected keyword argument 'n'.\n"
        "  Fix: pass its arguments, such as models:make(classes=10)."
    ),
    "'nets:make(size)' b": ("'size' cannot be read." + LITERALS_ONLY),
    "'nets:make(**{1: 2})' b": ("'make(**{1: 2})' cannot be read." + LITERALS_ONLY),
    "'nets:make(' b": ("'make(' cannot be read." + LITERALS_ONLY),
    "'nets:[1][0]' b": ("'[1][0]' cannot be read." + LITERALS_ONLY),
    "nets: b": ("'' cannot be read." + LITERALS_ONLY),
    "nets:loud 'b, b'": (
        "nets:loud(x): too many positional arguments.\n"
        '  Fix: write a spec for each argument, "b h w 3, b -> b 10".'
    ),
    "nets:loud 'b h -'": (
        "The spec cannot be read: this is not a formula.\n"
        "  b h -\n"
        "      ^\n"
        "  Fix: write a word without spaces for each axis, such as b h w 3, h//2 or "
        "((h+1)//2)."
    ),
    "nets:loud 'b -> c'": (
        "The contract uses c, which is not the size of an argument.\n"
        "  b -> c\n"
        "       ^\n"
        "  Fix: use c alone as a size of an argument, or write _ for any size."
    ),
    "nets:loud b --where 'h > 1'": (
        "--where names h, but the sizes are b.\n  h > 1\n  ^\n  Fix: use their names."
    ),
    "'vgg16(head=3)' 'b h w 3'": (
        "VGG: head is 3, which is not valid.\n  Fix: set head= to one of 'dense', 'conv' or None."
    ),
    "needy": (
        "Needy(width): missing a required argument: 'width'.\n"
        "  Fix: give it in the contract, as in @contract(..., self=lambda: Needy(...))."
    ),
    "gives:lacking": (
        "lacking needs params, x, and its contract has 1 specs.\n"
        "  Fix: pass arguments without a spec by name, such as @contract(..., params=init)."
    ),
    "gives:apply": (
        "proving gives:apply failed.\n"
        "Traceback (most recent call last):\n"
        '  File "gives.py", line 6, in init\n'
        '    raise KeyError("conv1")\n'
        "KeyError: 'conv1'"
    ),
    "bad.lacks": ("importing bad.lacks failed.\n" + IMPORT_NOBODY),
    "bad/lacks.py": ("importing bad.lacks failed.\n" + IMPORT_NOBODY),
    "bad.raises:f b": (
        "importing bad.raises failed.\n"
        "Traceback (most recent call last):\n"
        '  File "bad/raises.py", line 5, in <module>\n'
        "    f()\n"
        '  File "bad/raises.py", line 2, in f\n'
        "    return {}['a']\n"
        "KeyError: 'a'"
    ),
    "bad/shapes.py": (
        "importing bad.shapes failed.\n"
        "Traceback (most recent call last):\n"
        '  File "bad/shapes.py", line 3, in <module>\n'
        "    jc.conv_shape((1, 8, 8), 3)\n"
        "jaxconv.errors.ShapeError: conv_shape: kernel_shape is 3, but must be a "
        "tuple of sizes.\n"
        "  Fix: pass a tuple of sizes, such as kernel.shape."
    ),
    "bad.chained": (
        "importing bad.chained failed.\n"
        "Traceback (most recent call last):\n"
        '  File "bad/chained.py", line 4, in <module>\n'
        "    jc.conv_shape((1, 8, 8), 3)\n"
        "jaxconv.errors.ShapeError: conv_shape: kernel_shape is 3, but must be a tuple of "
        "sizes.\n"
        "  Fix: pass a tuple of sizes, such as kernel.shape.\n"
        "\n"
        "The above exception was the direct cause of the following exception:\n"
        "\n"
        "Traceback (most recent call last):\n"
        '  File "bad/chained.py", line 6, in <module>\n'
        '    raise KeyError("chained") from error\n'
        "KeyError: 'chained'"
    ),
    "bad/syntax.py": (
        "importing bad.syntax failed.\n"
        '  File "bad/syntax.py", line 1\n'
        "    x = (\n"
        "SyntaxError: '(' was never closed"
    ),
    "bad.leaves": (
        "importing bad.leaves failed.\n"
        "Traceback (most recent call last):\n"
        '  File "bad/leaves.py", line 1, in <module>\n'
        "    raise SystemExit('no arguments')\n"
        "SystemExit: no arguments"
    ),
}

SCRIPT = """
import contextlib, io, json, shlex, sys
from jaxconv.cli.main import main

for line in sys.argv[1:]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = main(["check", *shlex.split(line)])
    print(json.dumps([status, said.getvalue()]))
"""


@pytest.fixture(scope="module")
def answers(written):
    """What each bad use says; in one process without a type checker, whose frames no user has."""
    done = forked("-c", SCRIPT, *BAD, cwd=written)
    done.check_returncode()
    return dict(zip(BAD, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("arguments", BAD)
def test_bad_use_is_a_sentence_or_the_users_own_error(written, answers, arguments):
    status, said = answers[arguments]
    said = said.replace(f"{written}{os.sep}", "").replace(json.__file__, "JSON")
    if "Error: " in said:
        said = re.sub(r"\n *[~^]+(?=\n)", "", said)  # Python's marks under the code vary
    assert said == f"jaxconv check: {BAD[arguments]}\n"
    assert status == 2


def test_what_does_not_tell_its_parameters_is_tried(project, capsys):
    assert main(["check", "numpy:frombuffer", "b"]) == 1
    assert "numpy:frombuffer: refuted: accepts no size" in capsys.readouterr().out


def test_names_are_read_never_evaluated(project):
    with pytest.raises(TargetError, match="cannot be read"):
        resolve("nets:make(__import__('os').system('touch evaluated'))")
    assert not (project / "evaluated").exists()
