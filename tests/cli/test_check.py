"""``jaxconv check``: verdicts and their exit status, and every bad use with exit status 2."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import jaxconv as jc
from jaxconv.cli.loader import TargetError, obligations, resolve
from jaxconv.cli.main import main
from jaxconv.source import Origin
from jaxconv.testing.annotations import as_github

ROOT = Path(__file__).parents[2]

SAME = "import jaxconv as jc\n\n\n@jc.contract('b -> b')\ndef f(x):\n    return x\n"
CHAINED = """import jaxconv as jc

try:
    jc.conv_shape((1, 8, 8), 3)
except jc.ShapeError as error:
    raise KeyError("chained") from error
"""
FILES = {
    "nets.py": """
import jax
import jax.numpy as jnp
from flax import nnx

import jaxconv as jc


class Net(nnx.Module):
    def __init__(self, width: int = 8, *, rngs):
        self.conv = nnx.Conv(3, width, (3, 3), rngs=rngs)

    @jc.contract("b h w 3 -> b h w 8")
    def __call__(self, x):
        return self.conv(x)

    def encode(self, x):
        return self.conv(x).mean((1, 2))

    @staticmethod
    def half(x):
        return x[:, ::2]

    @classmethod
    def wide(cls):
        return cls(32, rngs=nnx.Rngs(0))


@jax.jit
@jc.contract("b h w c -> b h w+1 c")
def padded(x):
    return jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))


def make(classes):
    return lambda x: x.reshape(x.shape[0], -1) @ jnp.ones((12, classes))


def drawn(key):
    kernel = jax.random.normal(key, (3, 3, 3, 4))
    return lambda x: jc.conv(x, kernel)


def number(x):
    return jnp.ones(int(x.shape[0]))


def loud(x):
    print("tracing")
    return x


def keyed(key="tanh"):
    return getattr(jnp, key)


size = 3
""",
    "held.py": """
import jax.numpy as jnp
import nets
from flax import nnx
from nets import Net, padded

import jaxconv as jc

net = Net(rngs=nnx.Rngs(0))


class Plain:
    def __init__(self, width):
        self.width = width

    @jc.contract("b -> b 4")
    def ready(self, x):
        return x[:, None] * jnp.ones(self.width)

    @jc.contract("b -> b 5", self=lambda: Plain(5))
    def given(self, x):
        return x[:, None] * jnp.ones(self.width)

    @staticmethod
    @jc.contract("b -> b")
    def static(x):
        return x

    @classmethod
    @jc.contract("b -> b")
    def of_class(cls, x):
        return x


@jc.contract("b h w 3 -> b h w 4", kernel=lambda: jnp.ones((3, 3, 3, 4)))
def filtered(kernel, x):
    return jc.conv(x, kernel)


plain = Plain(4)
again = plain.static
""",
    "needy.py": """
import jaxconv as jc


class Needy:
    def __init__(self, width):
        self.width = width

    @jc.contract("b -> b")
    def call(self, x):
        return x
""",
    "gives.py": """
import jaxconv as jc


def init():
    raise KeyError("conv1")


@jc.contract("b -> b", params=init)
def apply(params, x):
    return x


@jc.contract("b -> b")
def lacking(params, x):
    return x
""",
    "bad/__init__.py": "",
    "bad/lacks.py": "import a_module_of_nobody\n",
    "bad/raises.py": "def f():\n    return {}['a']\n\n\nf()\n",
    "bad/shapes.py": "import jaxconv as jc\n\njc.conv_shape((1, 8, 8), 3)\n",
    "bad/chained.py": CHAINED,
    "bad/syntax.py": "x = (\n",
    "bad/leaves.py": "raise SystemExit('no arguments')\n",
    "pack/__init__.py": "",
    "pack/__main__.py": "raise SystemExit('a program')\n",
    "pack/inner/__init__.py": "from . import deep\n",
    "pack/inner/deep.py": SAME,
    "sub/my-net.py": SAME,
    "sub/json.py": "",
    "sub/eqx_model.py": """
import equinox as eqx
import jax


class Model(eqx.Module):
    conv: eqx.nn.Conv2d

    def __init__(self, width=4, *, key):
        self.conv = eqx.nn.Conv2d(3, width, 3, padding=1, key=key)

    def __call__(self, x):
        return jax.nn.relu(self.conv(x))
""",
    "lazy.py": "def __getattr__(name):\n    return abs if name == 'later' else 1 / 0\n",
    "empty.py": "from nets import padded\n",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def project(written, monkeypatch):
    """A working folder with modules, which are forgotten afterwards."""
    monkeypatch.chdir(written)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    yield written
    for name in {*sys.modules} - before:
        if str(written) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


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


def test_a_refuted_claim_has_status_1(project, capsys):
    assert main(["check", "nets:padded"]) == 1
    assert capsys.readouterr().out == (
        "nets:padded: refuted: accepts no size\n"
        "  fails at nets.py:29: for w = 1 the function returns 3 columns, the contract says 2 "
        "(axis 2 is w + 2, not w+1).\n"
        "    for every size; first for b = 1, h = 1, w = 1, c = 1\n"
        "    Fix: fix the function, or change the contract to what it returns.\n"
    )


def test_what_could_only_be_tested_has_status_1(project, capsys):
    assert main(["check", "nets:number", "b"]) == 1
    assert capsys.readouterr().out.startswith("nets:number: tested: accepts ")


LINEN = """
import flax.linen as nn
import jaxconv as jc


class Net(nn.Module):
    @jc.contract("b h w 3 -> b h w 9")
    @nn.compact
    def __call__(self, x):
        return nn.Conv(8, (3, 3))(x)


@jc.contract("b -> b")
def fine(x):
    return x
"""


def test_a_contract_on_a_linen_module_is_not_passed_over(tmp_path, monkeypatch, capsys):
    (tmp_path / "linen_net.py").write_text(LINEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["check", "linen_net.py"]) == 2
    said = capsys.readouterr()
    assert "Net is a module of Linen and keeps no parameters.\n  Fix: put the contract" in said.err
    assert "linen_net:fine: proven" in said.out  # the others are proven all the same
    assert "1 of 2 proven." in said.out


def test_where_narrows_the_question(project, capsys):
    assert main(["check", "nets:number", "b", "--where", "b <= 2"]) == 0
    assert main(["check", "nets:Net", "b h w 3 -> b h h 8"]) == 1
    assert main(["check", "nets:Net", "b h w 3 -> b h h 8", "--where", "w == h"]) == 0
    assert main(["check", "nets:Net", "--where", "h >= 9"]) == 0
    assert "accepts h >= 9" in capsys.readouterr().out


def test_json_is_a_list_of_verdicts(project, capsys):
    assert main(["check", "nets.py", "--json"]) == 1
    said = capsys.readouterr()
    wanted = [
        {"name": "nets:Net.__call__", **jc.check(resolve("nets:Net")).to_json()},
        {"name": "nets:padded", **jc.check(resolve("nets:padded")).to_json()},
    ]
    found = json.loads(said.out)
    for entry in (*found, *wanted):
        assert entry.pop("runs") >= 1  # what JAX has cached is not asked for again
    assert found == wanted
    assert said.err == ""


def test_what_the_users_code_prints_stays_out_of_the_answer(project, capsys):
    assert main(["check", "nets:loud", "b", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["status"] == "proven"
    assert set(said.err.splitlines()) == {"tracing"}


def test_progress_goes_to_a_terminal(project, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["check", "nets.py", "--json"]) == 1
    assert capsys.readouterr().err == "nets:Net.__call__: proven\nnets:padded: refuted\n"


def test_github_gets_an_annotation_for_each_failure(project, capsys):
    assert main(["check", "nets.py", "--format", "github"]) == 1
    assert capsys.readouterr().out == (
        "::error file=nets.py,line=29,title=nets%3Apadded::at nets.py:29: for w = 1 the function "
        "returns 3 columns, the contract says 2 (axis 2 is w + 2, not w+1).%0A    for every size; "
        "first for b = 1, h = 1, w = 1, c = 1%0A    Fix: fix the function, or change the contract "
        "to what it returns.\n"
        "1 of 2 proven.\n"
    )


def test_github_gets_a_warning_for_what_is_tested_and_notices(project, capsys):
    assert main(["check", "nets:number", "b", "--format", "github"]) == 1
    lines = capsys.readouterr().out.splitlines()
    place = "file=nets.py,line=44,title=nets%3Anumber"
    start = f"::warning {place}::tested, not proven; not known for "
    assert lines[0].startswith(start)
    assert lines[1:] == [
        f"::notice {place}::not decided: the code needs b as a number",
        f"::notice {place}::tried 12 sizes one by one",
        "0 of 1 proven.",
    ]


def test_github_gets_no_place_where_there_is_none(project, capsys):
    assert main(["check", "vgg11", "b 9 9 3", "--format", "github"]) == 1
    assert capsys.readouterr().out.startswith("::error title=vgg11::VGG: x has 9x9 pixels, but ")


def test_annotations_are_escaped(project):
    def odd(x):
        raise ValueError("100%: a,b")

    path = str(project / "a,b:c%.py")
    written = as_github("m:f(a=1, b=2)", Origin(path, 3), jc.check(odd, "b"))
    assert "title=m%3Af(a=1%2C b=2)::" in written
    assert "ValueError: 100%25: a,b%0A    for every size" in written
    said = as_github("m:f", Origin(path, 3), jc.check(jc.max_pool, "b 3 3 c"))
    assert said.startswith("::notice file=a%2Cb%3Ac%25.py,line=3,title=m%3Af::a window ")


CONTRACTS = [
    ("nets.py", ["nets:Net.__call__", "nets:padded"]),
    ("nets", ["nets:Net.__call__", "nets:padded"]),
    (
        "held",
        [f"held:Plain.{name}" for name in ("ready", "given", "static", "of_class")]
        + ["held:filtered"],
    ),
    ("pack", ["pack.inner.deep:f"]),
    ("pack/inner/deep.py", ["pack.inner.deep:f"]),
    ("pack/__init__.py", ["pack.inner.deep:f"]),
    ("sub/my-net.py", ["my-net:f"]),
]


@pytest.mark.parametrize(("target", "names"), CONTRACTS)
def test_every_contract_is_found_once_where_it_is_defined(project, target, names):
    assert [obligation.name for obligation in obligations(target)] == names


def test_all_kinds_of_contracts_are_proven(project, capsys):
    assert main(["check", "held"]) == 0
    assert capsys.readouterr().out == (
        "held:Plain.ready: proven: accepts every size, returns (b, 4)\n"
        "held:Plain.given: proven: accepts every size, returns (b, 5)\n"
        "held:Plain.static: proven: accepts every size, returns (b,)\n"
        "held:Plain.of_class: proven: accepts every size, returns (b,)\n"
        "held:filtered: proven: accepts every size, returns (b, h, w, 4)\n"
        "5 of 5 proven.\n"
    )


def test_a_contract_knows_its_line_wherever_it_is_installed(project):
    found = {obligation.name: obligation.origin for obligation in obligations("held")}
    assert found["held:Plain.given"].line == 20
    assert found["held:Plain.given"].path == str(project / "held.py")


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
        "  Fix: run it in the folder where the module lies, or install its package."
    ),
    "''": "There is no module ''.\n  Fix: write one of bad, empty, gives, held, lazy, needy.",
    ".nets": "There is no module '.nets'.\n  Fix: write nets.",
    "net.py": "There is no file net.py.\n  Fix: write one of nets.py, needy.py, empty.py.",
    "gone/net.py": "There is no file gone/net.py.\n  Fix: name one that is there.",
    "sub/json.py": "sub/json.py cannot be imported: json is JSON.\n  Fix: rename the file.",
    "empty": (
        "empty has no contract.\n"
        "  Fix: put @jaxconv.contract(...) above a function in it, or say what to prove: "
        'jaxconv check module:name "b h w 3 -> b 10".'
    ),
    "nets 'b -> b'": (
        "nets names no function and no model.\n"
        "  Fix: write module:name, such as models:Net, or one of vgg11, vgg13, vgg16, vgg19."
    ),
    "lazy:other b": (
        "reading other of lazy fails.\n"
        "Traceback (most recent call last):\n"
        '  File "lazy.py", line 2, in __getattr__\n'
        "    return abs if name == 'later' else 1 / 0\n"
        "ZeroDivisionError: division by zero"
    ),
    "nets:make": (
        "nets:make has no contract.\n"
        '  Fix: say what it takes and returns, such as "b h w 3 -> b 10".'
    ),
    "nets:mak b": "nets has no mak.\n  Fix: write make.",
    "nets:Net.encod b": "Net has no encod.\n  Fix: write encode.",
    "nets:size b": (
        "what is to be called is of type int, which is not a function.\n"
        "  Fix: pass a function or a model."
    ),
    "nets:size() b": "int cannot be called.\n  Fix: leave the brackets away.",
    "nets:make() b": (
        "make(classes): missing a required argument: 'classes'.\n"
        "  Fix: write its arguments, such as models:make(classes=10)."
    ),
    "'nets:make(3, n=2)' b": (
        "make(classes): got an unexpected keyword argument 'n'.\n"
        "  Fix: write its arguments, such as models:make(classes=10)."
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
        "  b h - -> ...\n"
        "      ^\n"
        "  Fix: write a word without spaces for each axis, such as b h w 3, h//2 or "
        "((h+1)//2)."
    ),
    "nets:loud 'b -> c'": (
        "The contract uses c, which is not the size of an argument.\n"
        "  b -> c\n"
        "  Fix: make c on its own the size of an argument, or write _ for any size."
    ),
    "nets:loud b --where 'h > 1'": (
        "where= names h, but the sizes are b.\n  Fix: use their names."
    ),
    "'vgg16(head=3)' 'b h w 3'": (
        "VGG: head is 3, which is not known.\n  Fix: pass head= one of 'dense', 'conv' or None."
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
        "proving gives:apply fails.\n"
        "Traceback (most recent call last):\n"
        '  File "gives.py", line 6, in init\n'
        '    raise KeyError("conv1")\n'
        "KeyError: 'conv1'"
    ),
    "bad.lacks": ("importing bad.lacks fails.\n" + IMPORT_NOBODY),
    "bad/lacks.py": ("importing bad.lacks fails.\n" + IMPORT_NOBODY),
    "bad.raises:f b": (
        "importing bad.raises fails.\n"
        "Traceback (most recent call last):\n"
        '  File "bad/raises.py", line 5, in <module>\n'
        "    f()\n"
        '  File "bad/raises.py", line 2, in f\n'
        "    return {}['a']\n"
        "KeyError: 'a'"
    ),
    "bad/shapes.py": (
        "importing bad.shapes fails.\n"
        "Traceback (most recent call last):\n"
        '  File "bad/shapes.py", line 3, in <module>\n'
        "    jc.conv_shape((1, 8, 8), 3)\n"
        "jaxconv.errors.ShapeError: conv_shape: kernel_shape is 3, but must be a "
        "tuple of sizes.\n"
        "  Fix: pass a tuple of sizes, such as kernel.shape."
    ),
    "bad.chained": (
        "importing bad.chained fails.\n"
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
        "importing bad.syntax fails.\n"
        '  File "bad/syntax.py", line 1\n'
        "    x = (\n"
        "SyntaxError: '(' was never closed"
    ),
    "bad.leaves": (
        "importing bad.leaves fails.\n"
        "Traceback (most recent call last):\n"
        '  File "bad/leaves.py", line 1, in <module>\n'
        "    raise SystemExit('no arguments')\n"
        "SystemExit: no arguments"
    ),
}

SCRIPT = """
import contextlib, io, json, shlex, sys
from jaxconv.cli.main import main

for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = main(["check", *shlex.split(line)])
    print(json.dumps([status, said.getvalue()]))
"""


@pytest.fixture(scope="module")
def answers(written):
    """What each bad use says; in one process without a type checker, whose frames no user has."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input="\n".join(BAD),
        cwd=written,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(BAD, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("arguments", BAD)
def test_bad_use_is_a_sentence_or_the_users_own_error(written, answers, arguments):
    status, said = answers[arguments]
    said = said.replace(f"{written}{os.sep}", "").replace(json.__file__, "JSON")
    if "Error: " in said:
        said = re.sub(r"\n *[~^]+(?=\n)", "", said)  # Python's marks under the code vary
    assert said == f"jaxconv check: {BAD[arguments]}\n"
    assert status == 2


def test_the_readme_shows_commands_that_work(project):
    lines = re.findall(r"^jaxconv check (vgg16 .*)$", (ROOT / "README.md").read_text(), re.M)
    assert lines
    for line in lines:
        assert main(["check", *shlex.split(line, comments=True)]) == 0


def test_an_error_of_ours_is_told_with_our_frames(project, capsys, monkeypatch):
    monkeypatch.setattr("jaxconv.cli.loader.check", exec)  # which takes no such arguments
    assert main(["check", "nets:Net"]) == 2
    said = capsys.readouterr().err
    assert "jaxconv/cli/loader.py" in said
    assert said.splitlines()[-1].startswith("TypeError: ")


def test_what_does_not_tell_its_parameters_is_tried(project, capsys):
    assert main(["check", "numpy:frombuffer", "b"]) == 1
    assert "numpy:frombuffer: refuted: accepts no size" in capsys.readouterr().out


def test_a_check_that_nobody_reads_to_the_end_is_no_success(project):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "jaxconv.cli.main", "check", "pack"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_names_are_read_never_evaluated(project):
    with pytest.raises(TargetError, match="cannot be read"):
        resolve("nets:make(__import__('os').system('touch evaluated'))")
    assert not (project / "evaluated").exists()
