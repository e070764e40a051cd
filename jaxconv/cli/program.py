"""The command line: each command calls one function of the library."""

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence

import jax

import jaxconv
from jaxconv.cli.arguments import UsageError
from jaxconv.cli.command import Command, commands, message_with_flags
from jaxconv.cli.quotes import unread_hint
from jaxconv.cli.user_code import TargetError, is_out_of_memory
from jaxconv.compat import UnsupportedJaxError
from jaxconv.errors import ShapeError
from jaxconv.models.registry import registered_models
from jaxconv.models.sources import cache_folder
from jaxconv.models.weights import WeightsError
from jaxconv.plotting.photos import PhotoError

EXPECTED_ERRORS = (
    PhotoError,
    ShapeError,
    TargetError,
    UnsupportedJaxError,
    UsageError,
    WeightsError,
)
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What to change where memory does not suffice, by the option that a command has.
SMALLER = {"size": "pass a smaller --size", "layer": "fewer --layer"}
INSTALL = "python -m pip install 'jaxconv[{0}]', or -e '.[{0}]' in a checkout."


def run(arguments: Sequence[str]) -> int:
    """Run a command.

    Args:
        arguments: without the program's name.

    Returns:
        The exit status.
    """
    parser = command_line()
    words = [f"<stdin>{word[1:]}" if word.startswith("-:") else word for word in arguments]
    options, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{unread_hint(options, unknown)}")
    if options.command is None:
        parser.print_help()
        return 0
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # any file's name can be printed anywhere
            stream.reconfigure(errors="backslashreplace")
    cache_programs()
    command = commands()[options.command]
    try:
        return _run(command, options)
    except OSError as error:
        if error.errno not in (errno.EPIPE, *FULL_DISK):
            raise
        # Python would write the rest at its end, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # the reader has seen enough, as in `jaxconv maps | head`
            return command.status_if_cut
        said = f"the output cannot be written: {error.strerror}"
        print(f"jaxconv {command.name}: {said}. Fix: write it elsewhere.", file=sys.stderr)
        return 2


def _run(command: Command, options: argparse.Namespace) -> int:
    """Run a command; an error that a user can cause is a message and status 2."""
    try:
        status = command.run(options) or 0
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("jaxconv."):  # which is our mistake
            raise
        missing = f"the package {error.name} is not installed"
        print(
            f"jaxconv {command.name}: {missing}.\n  Fix: {INSTALL.format(command.extra)}",
            file=sys.stderr,
        )
        return 2
    except EXPECTED_ERRORS as error:
        print(f"jaxconv {command.name}: {message_with_flags(error, options)}", file=sys.stderr)
        return 2
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and not is_out_of_memory(error):
            raise
        fixes = [fix for name, fix in SMALLER.items() if name in options]
        fix = ", or ".join(fixes) or "use a smaller model"
        print(f"jaxconv {command.name}: out of memory. Fix: {fix}.", file=sys.stderr)
        return 2
    return status


def cache_programs() -> None:
    """Compile no program twice on this machine; ``JAX_COMPILATION_CACHE_DIR`` takes precedence.

    Programs that compile in less than a second, JAX's limit, count too: a network has many of them.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        # Without the extras nothing long is run; a folder that cannot be written is not used.
        with contextlib.suppress(WeightsError, OSError):
            folder = cache_folder() / "programs"
            folder.mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(folder))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def command_line() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    models = registered_models().items()
    width = max(len(name) for name, _ in models)
    lines = [f"  {name:<{width}}  {model.description}" for name, model in models]
    parser = argparse.ArgumentParser(
        prog="jaxconv",
        description="Inspect and draw convolutional networks in JAX, and prove their shapes.",
        epilog="\n".join(["registered models:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {jaxconv.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in commands().items():
        subparser = subparsers.add_parser(
            name, help=command.help, description=command.description, epilog=command.epilog or None
        )
        command.add_arguments(subparser)
    return parser
