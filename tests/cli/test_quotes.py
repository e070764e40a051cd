"""Specs and conditions without quotes, as a shell passes them."""

import argparse

import pytest

from jaxconv.cli.quotes import quoting_hint, unquoted_spec, unread_hint
from tests.support.command_line import run

SPECS = [
    (["8", "224", "224", "3"], '"8 224 224 3"'),
    (["b", "h//2", "(w+1)//2", "3:uint8"], '"b h//2 (w+1)//2 3:uint8"'),
    (["b", "h", "-", "10"], '"b h -> ..."'),  # the shell has taken "> b" for itself
    (["b", "->", "b", "10"], '"b -> b 10"'),
    (["b h", "->", "b"], '"b h -> b"'),
    (["b h w 3"], ""),
    (["b"], ""),
    (["b h", "b"], ""),
    ([], ""),
]


@pytest.mark.parametrize(("specs", "quoted"), SPECS)
def test_words_without_quotes_are_one_spec(specs, quoted):
    assert unquoted_spec(specs) == quoted


def test_a_condition_without_a_comparison_was_cut_by_the_shell():
    options = argparse.Namespace(where="h", specs=["b h"])
    assert 'Quote the condition: "h >= 32".' in quoting_hint(options)
    assert quoting_hint(argparse.Namespace(where="h == 3", specs=[])) == ""
    assert quoting_hint(argparse.Namespace()) == ""


def test_what_is_not_read_is_one_spec_with_what_is():
    options = argparse.Namespace(where=None, specs=["b", "h"])
    assert unread_hint(options, ["->", "b"]) == '\n  Fix: quote the spec: "b h -> b".'
    assert "quote a spec or a condition" in unread_hint(options, ["32"])
    assert unread_hint(options, ["--whre", "h"]) == ""
    assert unread_hint(argparse.Namespace(), ["x"]) == ""


@pytest.mark.parametrize("command", ["summary", "draw", "check"])
def test_each_command_with_specs_says_so(capsys, command):
    assert run(command, "vgg16", 8, 224, 224, 3) == 2
    assert 'Fix: quote the spec: "8 224 224 3".' in capsys.readouterr().err
    assert run(command, "vgg16", "b h w 3", "->", "b 1000") == 2
    assert 'Fix: quote the spec: "b h w 3 -> b 1000".' in capsys.readouterr().err
    assert run(command, "vgg16", "b h w 3", "--where", "h") == 2
    assert 'Quote the condition: "h >= 32".' in capsys.readouterr().err


def test_a_function_of_several_arrays_may_get_words(capsys, project):
    (project / "several.py").write_text("def f(x, y=1, z=1):\n    return x @ y\n")
    assert run("check", "several:f", "a", "b") == 1
    assert run("summary", "several:f", "b 3 3", "4 4") == 2
    assert "quote the spec" not in capsys.readouterr().err
    assert run("summary", "several:f", "2", "3", "4") == 2
    assert 'If this is the shape of one array, quote the spec: "2 3 4".' in capsys.readouterr().err
