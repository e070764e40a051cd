"""Commands: found in any module of the package, and messages that speak of their flags."""

import argparse
import shutil
from pathlib import Path

import pytest

import jaxconv
from jaxconv.cli.command import Command, commands, message_with_flags
from jaxconv.errors import ShapeError
from tests.support.processes import forked

HELLO = '''
from jaxconv.cli.command import Command


class HelloCommand(Command):
    """Greet a model."""

    name = "hello"
    help = "greet a model"
    description = "Print a greeting for a model."

    def add_arguments(self, parser):
        parser.add_argument("model")

    def run(self, options):
        print(f"Hello, {options.model}.")
'''


def test_a_command_in_a_new_file_is_part_of_the_program(tmp_path):
    shutil.copytree(Path(jaxconv.__file__).parent, tmp_path / "jaxconv")
    (tmp_path / "jaxconv" / "cli" / "hello.py").write_text(HELLO)

    def program(*arguments):
        return forked("-m", "jaxconv", *arguments, package=tmp_path).stdout

    assert program("hello", "vgg16") == "Hello, vgg16.\n"
    assert program("--help").count("greet a model") == 1


@pytest.mark.parametrize("command", commands().values(), ids=commands())
def test_every_command_has_help_for_every_argument(command):
    parser = argparse.ArgumentParser(prog=command.name)
    command.add_arguments(parser)
    assert command.help
    assert command.description.endswith(".")
    assert not [action.dest for action in parser._actions if not action.help]
    assert isinstance(command, Command)


MESSAGES = [
    (
        "neuron: layer is 'a'.\n  Fix: set layer= to one of b.",
        "layer is 'a'.\n  Fix: set --layer to one of b.",
    ),
    ("neuron: n is 3.\n  Fix: pass n= to check.", "n is 3.\n  Fix: pass --with n=VALUE."),
    (
        'check: one is missing.\n  Fix: pass a spec, such as "b h", or a value for each.',
        'one is missing.\n  Fix: pass a spec, such as "b h", or --with NAME=VALUE, for each.',
    ),
    (
        'at= is {}.\n  Fix: pass at={"b": 224, "h": 224}.',
        "--at is {}.\n  Fix: pass --at b=224,h=224.",
    ),
    ("where= names h, but at= is 3.", "--where names h, but --at is 3."),
    ("padded_taps= is 3, stride= is 2.", "--padded-taps is 3, stride= is 2."),
    ("pass contract(self=lambda: 3)", "pass contract(self=lambda: 3)"),
    (
        "Traceback (most recent call last):\n layer= 3",
        "Traceback (most recent call last):\n layer= 3",
    ),
]


@pytest.mark.parametrize(("said", "expected"), MESSAGES)
def test_messages_name_flags_rather_than_arguments(said, expected):
    options = argparse.Namespace(
        command="neuron", layer="a", where=None, at=None, padded_taps=1, given=[]
    )
    assert message_with_flags(ShapeError(said), options) == expected
