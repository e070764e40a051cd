"""Notebooks and standard input name models as files do, and errors name the cell and its line."""

import io
import json
import sys

import pytest

from jaxconv.cli import cells
from jaxconv.cli.cells import cells_of
from jaxconv.cli.main import main

MODEL = """%matplotlib inline
import flax.linen as nn
import jax.numpy as jnp
"""
NET = """class Net(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.width, (3, 3), strides=2)(x)"""
WRONG = """%%time
from jaxtyping import Array, Float

!pip list
def halve(x: Float[Array, "b h w"]) -> Float[Array, "b h//2 w"]:
    return x[:, ::2]
"""


def notebook(*sources):
    kinds = [("markdown" if source.startswith("#") else "code", source) for source in sources]
    made = [{"cell_type": kind, "source": source.splitlines(True)} for kind, source in kinds]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a notebook, which is the working folder."""
    (tmp_path / "sizes.py").write_text("WIDTH = 6\n")
    (tmp_path / "train.ipynb").write_text(notebook("# A title", MODEL, NET, "%%bash\nls (", WRONG))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("train.ipynb", "wide.ipynb", "train", "sizes", "<stdin>"):
        sys.modules.pop(name, None)
    cells.import_notebook.cache_clear()
    cells.import_standard_input.cache_clear()


@pytest.mark.parametrize("target", ["train.ipynb:Net", "train.ipynb:Net(width=6)"])
def test_a_model_of_a_notebook_is_proven(folder, target, capsys):
    assert main(["check", target, "b h w 3"]) == 0
    width = 6 if "6" in target else 4
    assert f"returns (b, (h + 1)//2, (w + 1)//2, {width})" in capsys.readouterr().out


def test_a_verdict_names_the_cell_and_the_line(folder, capsys):
    assert main(["check", "train.ipynb"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("train.ipynb:halve: refuted: ")
    assert "fails at train.ipynb:cell 4:5: for h = 1" in said


def test_a_notebook_imports_what_lies_beside_it(folder, capsys, monkeypatch):
    below = folder / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    code = "from sizes import WIDTH\ndef net(x): return x.reshape(-1, WIDTH)\n"
    (folder / "wide.ipynb").write_text(notebook(code))
    assert main(["check", "../wide.ipynb:net", "b 6 c -> b*c 6"]) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "bad.ipynb cannot be read as a notebook: "),
        ('{"worksheets": []}', "cannot be read as a notebook: it has no cells."),
        ("[1]", "it has no cells."),
        ('{"cells": [1]}', "it has no cells."),
        ('{"cells": [{"cell_type": "code", "source": null}]}', "a cell has no source."),
        (notebook("x = 1", "y = 1 +"), 'bad.ipynb:cell 2", line 1'),
        (notebook("x = 1", "\n1 / 0"), 'bad.ipynb:cell 2", line 2'),
    ],
)
def test_a_notebook_that_cannot_be_imported(folder, content, said, capsys):
    (folder / "bad.ipynb").write_text(content)
    assert main(["check", "bad.ipynb:net", "b"]) == 2
    assert said in capsys.readouterr().err


def test_a_notebook_may_import_the_module_of_its_name(folder):
    (folder / "train.py").write_text("from __future__ import annotations\ndef net(x): return x\n")
    future = "from __future__ import annotations"
    code = "from train import net as imported\ndef net(x: Unknown): return imported(x)\n"
    (folder / "train.ipynb").write_text(notebook(future, code))
    assert main(["check", "train.ipynb:net", "b -> b"]) == 0


def test_a_notebook_that_is_not_there(folder, capsys):
    assert main(["summary", "tran.ipynb:Net", "b h w 3"]) == 2
    assert capsys.readouterr().err.endswith("no file tran.ipynb.\n  Fix: write train.ipynb.\n")


@pytest.mark.parametrize("command", ["check", "summary"])
def test_code_comes_from_standard_input(folder, command, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{MODEL[len('%matplotlib inline') :]}\n{NET}\n"))
    assert main([command, "-:Net", "b h w 3"]) == 0
    assert "(b, (h + 1)//2, (w + 1)//2, 4)" in capsys.readouterr().out


def test_a_failure_in_standard_input_names_its_line(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("def net(x):\n    return x.reshape(-1, 2)\n"))
    assert main(["check", "-:net", "b"]) == 1
    assert "fails at <stdin>:2: " in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--watch", "--cache"])
def test_standard_input_cannot_be_compared(option, folder, capsys):
    assert main(["check", "-", option]) == 2
    assert f"{option} compares files" in capsys.readouterr().err


def test_a_cached_verdict_of_a_notebook_ends_with_what_it_imports(folder, monkeypatch):
    code = "from sizes import WIDTH\nTRUE = None\ndef net(x): return x.reshape(-1, WIDTH)\n"
    (folder / "wide.ipynb").write_text(notebook(code))
    call = ["check", "wide.ipynb:net", "b c", "--where", "c == 6", "--cache"]
    assert main(call) == 0
    with monkeypatch.context() as patched:
        patched.delattr("jaxconv.cli.obligations.Obligation.prove")
        assert main(call) == 0
    (folder / "sizes.py").write_text("WIDTH = 7  # longer, so that Python reads the file again\n")
    for name in ("sizes", "wide.ipynb"):
        del sys.modules[name]
    cells.import_notebook.cache_clear()
    assert main(call) == 1


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("x = (3\n  % 2)", "x = (3\n  % 2)"),
        ("%load_ext x\nif a:\n    !ls\nz?\n", "pass\nif a:\n    pass\npass\n"),
        ("y = %time f()\nx, y = %sql z", "y = f()\nx, y = []"),
        ("%matplotlib inline\nx = (7\n  % 4)", "pass\nx = (7\n  % 4)"),
        ("%time x = 6\ny = !ls", "x = 6\ny = []"),
        ("!pip install a \\\n  b\nx = 1", "pass\n\nx = 1"),
        ('!ls\nx = """\n!important\n"""', 'pass\nx = """\n!important\n"""'),
        ("\n%%bash\nls (", ""),
        ("x = (", "x = ("),  # an error of Python's, which Python names
        ("%%capture out\nx = 1\n%time y", "pass\nx = 1\ny"),
        ("%%html\n<b>", ""),
    ],
)
def test_lines_of_ipython_are_replaced(source, python):
    assert cells_of(notebook(source)) == [python]
