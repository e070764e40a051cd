"""The base class of all commands. To add a command, add one module to this package."""

import abc
import argparse
import importlib
import pkgutil
import re
from collections.abc import Mapping
from typing import ClassVar

from jaxconv.cli.quotes import quoting_hint


class Command(abc.ABC):
    """One command. A subclass in any module of ``jaxconv.cli`` is part of the command line.

    Attributes:
        name: what users type.
        help: one line for ``jaxconv --help``.
        description: the first sentences of the command's own ``--help``.
        epilog: its last sentences; may be empty.
        position: where ``jaxconv --help`` lists it: lower numbers first, equal ones by name.
        status_if_cut: exit status where the reader closes the pipe before all is written.

        extra: the optional dependencies that it needs.

    Example, a whole module::

        class Hello(Command):
            name = "hello"
            help = "greet a model"
            description = "Print a greeting for a model."

            def add_arguments(self, parser):
                parser.add_argument("model")

            def run(self, options):
                print(f"Hello, {options.model}.")
    """

    name: ClassVar[str]
    help: ClassVar[str]
    description: ClassVar[str]
    epilog: ClassVar[str] = ""
    position: ClassVar[int] = 100
    status_if_cut: ClassVar[int] = 0
    extra: ClassVar[str] = "maps"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments; here there are none.

        Args:
            parser: of this command.
        """
        del parser

    @abc.abstractmethod
    def run(self, options: argparse.Namespace) -> int | None:
        """Run the command.

        Args:
            options: the arguments, by name.

        Returns:
            The exit status; None is 0.

        Raises:
            UsageError: the arguments are invalid. This and the errors of the library become one
                message on standard error and exit status 2.
        """


def commands() -> Mapping[str, Command]:
    """Return all commands by name, in the order of ``jaxconv --help``."""
    package = importlib.import_module(__package__ or "")
    classes: set[type[Command]] = set()
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        values = vars(importlib.import_module(info.name)).values()
        classes |= {v for v in values if isinstance(v, type) and issubclass(v, Command)}
    ordered = sorted(classes - {Command}, key=lambda command: (command.position, command.name))
    return {command.name: command() for command in ordered}


def message_with_flags(error: Exception | str, options: argparse.Namespace) -> str:
    """Return the message of an error in terms of the command line: ``--layer`` for ``layer=``.

    Args:
        error: of the library, or its message, which speaks of arguments in Python.
        options: of the command; its names are those of the flags.
    """
    text = re.sub(rf"^({options.command}|check|feature_maps|maps): ", "", str(error))
    if "Traceback (most recent call last)" in text:  # which quotes the user's code
        return text
    known = {f"{name}=": f"--{name.replace('_', '-')}" for name in vars(options)}
    if "at" in options:  # the entries of a dict as --at takes them: b=1,h=224
        text = re.sub(
            r"\bpass at={(.*?)}",
            lambda match: "pass --at " + re.sub(r'[\s"]', "", match[1]).replace(":", "="),
            text,
        )
    if "given" in options:  # keyword arguments of the user's function
        text = re.sub(r"\bpass (\w+)= to \w+", r"pass --with \1=VALUE", text)
        text = text.replace("or a value for each.", "or --with NAME=VALUE, for each.")
    if "where" in options:
        text = re.sub(r'\bpass where="(.*?)"', r'pass --where "\1"', text)
    text = re.sub(r"\b\w+=(?=[\s.,;:]|$)", lambda match: known.get(match[0], match[0]), text)
    return text if "quote the spec" in text else text + quoting_hint(options)
