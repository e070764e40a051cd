"""Errors of the user's code: without our frames, and ours with them."""

import re
import sys

import pytest

from jaxconv.cli.main import main
from jaxconv.cli.user_code import TargetError, user_code


def test_an_internal_error_is_reported_with_our_frames(project, capsys, monkeypatch):
    monkeypatch.setattr(
        "jaxconv.cli.obligations.check_calls", exec
    )  # which takes no such arguments
    assert main(["check", "nets:Net"]) == 2
    said = capsys.readouterr().err
    assert "jaxconv/cli/obligations.py" in said
    assert said.splitlines()[-1].startswith("TypeError: ")


def test_what_user_code_prints_goes_to_standard_error(capsys):
    with user_code("printing"):
        print("aloud")
    assert capsys.readouterr() == ("", "aloud\n")


@pytest.mark.parametrize("error", [KeyError("conv1"), SystemExit("stop")])
def test_an_error_of_the_users_has_the_users_frames_only(error):
    def fail():
        raise error

    with pytest.raises(TargetError) as failure, user_code("running it"):
        fail()
    said = str(failure.value)
    assert said.startswith("running it failed.\nTraceback (most recent call last):\n")
    assert "in fail" in said
    assert "jaxconv/cli" not in said


LEAVES = """
import sys

def leaves(x):
    sys.exit(3)
"""


@pytest.mark.parametrize("command", ["check", "summary", "draw", "maps", "neuron", "explore"])
def test_a_function_that_ends_the_process_is_an_error(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "leaving.py").write_text(LEAVES)
    target = ["leaving:leaves", "b h"] if command in ("check", "summary", "draw") else []
    photos = ["--model", "leaving:leaves"] if not target else []
    layer = ["--layer", "1", "--channel", "0"] if command == "neuron" else []
    assert main([command, *target, *photos, *layer]) == 2
    said = capsys.readouterr().err
    # Python 3.13 underlines the call in a line of its own.
    assert re.search(r"in leaves\n    sys\.exit\(3\)\n( +[~^]+\n)?SystemExit: 3", said)
