"""The cache of reports: it answers as long as nothing has changed, and never longer."""

import json
import sys
from pathlib import Path

import pytest

from jaxconv.cli.result_cache import FOLDER, ResultCache, files_of
from tests.support.processes import forked

NETS = """
from jaxtyping import Array, Float
from parts.sizes import SIZE


def cut(x: Float[Array, "b h"]) -> Float[Array, "b 2"]:
    return x[:, :SIZE]


def other(x: Float[Array, "b h"]) -> Float[Array, "b h"]:
    return x
"""
COUNTING = """
import sys
import jaxconv.cli.obligations as obligations
from jaxconv.cli.main import main

prove, names = obligations.Obligation.prove, []
obligations.Obligation.prove = lambda self, *a: (names.append(self.name), prove(self, *a))[1]
status = main(sys.argv[1:])
print("proofs:", *names, "status:", status)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "sizes.py").write_text("SIZE = 2\n")
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(*arguments):
    """What a process prints that counts its proofs: the answer, and the proofs."""
    process = forked("-c", COUNTING, "check", "nets.py", "--cache", *arguments)
    assert process.returncode == 0, process.stderr
    answer, _, proofs = process.stdout.rpartition("proofs:")
    return answer, proofs.split(), process.stderr


def test_what_has_not_changed_is_not_proven_again(folder):
    answer, proofs, _ = checked()
    assert proofs == ["nets:cut", "nets:other", "status:", "1"]
    assert checked()[:2] == (answer, ["status:", "1"])
    assert json.loads(checked("--json")[0])[1]["status"] == "proven"
    assert (folder / FOLDER / ".gitignore").read_text() == "*\n"


CHANGES = {
    "nets.py": NETS.replace(":SIZE", ":2 + 0 * SIZE"),
    "parts/sizes.py": "SIZE = 3\n",
    "parts/__init__.py": "import jax\n",
    "pyproject.toml": '[tool.jaxconv]\nwhere = "b <= 2"\n',
}


def test_a_change_is_proven_again(folder):
    checked()
    for file, changed in CHANGES.items():  # one after the other
        (folder / file).write_text(changed)
        assert checked()[1][:2] == ["nets:cut", "nets:other"], file


def test_another_question_is_another_entry(folder):
    checked()
    assert checked("--where", "h >= 4")[1][:2] == ["nets:cut", "nets:other"]
    assert checked("--where", "h >= 4")[1] == ["status:", "0"]
    assert checked()[1] == ["status:", "1"]


def test_a_damaged_entry_is_proven_again(folder):
    answer = checked()[0]
    for path in (folder / FOLDER).glob("*.json"):
        path.write_text(path.read_text()[:40])
    assert checked() == (answer, ["nets:cut", "nets:other", "status:", "1"], "")


def test_a_folder_that_cannot_be_written_is_a_sentence(folder):
    (folder / FOLDER).write_text("a file")
    answer, proofs, said = checked()
    assert "nets:other: proven" in answer
    assert proofs[-1] == "1"
    assert said.count("cannot be written") == 1
    assert "leave out --cache" in said


def test_files_are_found_behind_imports(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    names = ["cached_a", "cached_b", "cached_c", "cached_d"]
    (folder / "cached_a.py").write_text("def f():\n    from cached_b import g\n    return g\n")
    (folder / "cached_b.py").write_text("import jax.numpy as jnp\nimport cached_c as c\n")
    (folder / "cached_c.py").write_text("def f():\n    from ... import nothing\n")
    (folder / "cached_d.py").write_text("import importlib\nimportlib.import_module('cached_c')\n")
    for name in (*names, "parts.sizes"):
        __import__(name)

    def found(name):
        return {Path(path).stem for path in files_of(name)}

    assert found("cached_a") == {"cached_a", "cached_b", "cached_c"}
    assert found("cached_c") == {"cached_c"}
    assert found("parts.sizes") == {"__init__", "sizes"}
    assert found("cached_d") >= set(names)
    assert found("jax.numpy") == found("") == set()
    for name in (*names, "parts", "parts.sizes"):
        del sys.modules[name]


def test_entries_of_other_content_are_not_read(tmp_path):
    from jaxconv.cli.reports import Finding, Report

    cache = ResultCache(tmp_path)
    report = Report("m:f", "m.py", 3, "tested", "t", {"a": [1]}, (Finding("tested", "", 0, "s"),))
    assert cache.read(["m:f"], "1") is None
    assert cache.write(["m:f"], "1", report)
    assert cache.read(["m:f"], "1") == report
    assert cache.read(["m:f"], "2") is None
    assert cache.read(["m:g"], "1") is None
