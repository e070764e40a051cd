"""The settings of a project: what they do, and what is wrong with them."""

import sys

import pytest

from jaxconv.cli.main import main
from jaxconv.cli.settings import Settings, read_settings
from jaxconv.cli.user_code import TargetError

SHAPED = """
from jaxtyping import Array, Float


def halved(x: Float[Array, "b h"]) -> Float[Array, "b h//2"]:
    return x[:, ::2]


def cut(x: Float[Array, "b h"], n: int) -> Float[Array, "b h"]:
    return x[:, :n]


def left_out(x: Float[Array, "b"]) -> Float[Array, "b b"]:  # jaxconv: ignore
    return x


def also_left_out(
    x: Float[Array, "b"],
) -> Float[Array, "b b"]:  # jaxconv: ignore
    return x


def of_another_size(x: Float[Array, "n"]) -> Float[Array, "n"]:
    return x


def whole(x: Float[Array, "b h"]) -> Float[Array, "b h"]:
    return x


def other(x):
    return x
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "shaped.py").write_text(SHAPED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("shaped", None)


def checked(folder, settings, capsys, *arguments):
    (folder / "pyproject.toml").write_text(f"[tool.jaxconv]\n{settings}\n")
    status = main(["check", "shaped.py", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_annotated_functions_are_proven_and_the_others_counted(folder, capsys):
    status, out, err = checked(folder, "", capsys)
    assert status == 1
    assert "shaped:halved: refuted: accepts h a multiple of 2" in out
    assert "shaped:whole: proven" in out
    assert out.endswith(
        "2 of 4 proven; 1 could not start; 1 function without shapes; 2 functions ignored.\n"
    )
    assert err == (
        "jaxconv check: shaped:cut: n is annotated int, of which no value is known.\n"
        "  Fix: give n a default, or pass --with n=VALUE.\n"
    )


def test_values_are_given_to_those_that_take_them(folder, capsys):
    status, out, err = checked(folder, "", capsys, "--with", "n=3")
    assert "shaped:cut: refuted: accepts h <= 3" in out
    assert (status, err) == (1, "")


def test_settings_apply_to_each_function(folder, capsys):
    settings = 'where = "h % 2 == 0"\nexclude = ["shaped:cut"]\nseconds = 30\nfail = []'
    status, out, _ = checked(folder, settings, capsys)
    assert (status, out.splitlines()[-1]) == (
        0,
        "3 of 3 proven; 1 function without shapes; 3 functions ignored.",
    )


def test_only_some_verdicts_may_fail_a_run(folder, capsys):
    assert checked(folder, 'fail = ["refuted"]\nexclude = ["*:cut"]', capsys)[0] == 1
    assert checked(folder, 'fail = ["tested"]\nexclude = ["*:cut"]', capsys)[0] == 0


def test_the_nearest_file_counts(folder):
    (folder / "pyproject.toml").write_text("[tool.jaxconv]\nseconds = 7\n")
    inner = folder / "inner"
    inner.mkdir()
    assert read_settings(inner).seconds == 7
    (inner / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert read_settings(inner) == Settings()


WRONG = {
    "speed = 1": "there is no setting speed.\n  Fix: use where, exclude, seconds, fail.",
    "seconds = true": "seconds is True.\n  Fix: write a number, such as seconds = 20.",
    "exclude = 'a'": "exclude is 'a'.\n  Fix: write patterns, such as exclude = [",
    "fail = ['all']": "fail is ['all'].\n  Fix: write some of fail = [",
    "where = 3": 'where is 3.\n  Fix: write a condition, such as where = "h >= 32".',
    "= 3": "cannot be read: Invalid statement",
}


@pytest.mark.parametrize("settings", WRONG)
def test_wrong_settings_are_a_sentence(folder, capsys, settings):
    status, out, err = checked(folder, settings, capsys)
    assert (status, out) == (2, "")
    assert WRONG[settings] in err
    with pytest.raises(TargetError):
        read_settings(folder)
