"""The command line: each command does with one line what the library does."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence

import jax

from jaxconv.cli import check, draw, explore, maps, neuron, shape, summary
from jaxconv.cli.arguments import UsageError
from jaxconv.cli.loader import TargetError
from jaxconv.errors import ShapeError
from jaxconv.models.weights import WeightsError, cache_folder
from jaxconv.plotting.photos import PhotoError

COMMANDS = (maps, neuron, explore, shape, summary, draw, check)
INSTALL = "python -m pip install 'jaxconv[maps]', or -e '.[maps]' in a checkout."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``jaxconv``; bad input is one message on standard error and exit status 2.

    The status is 1 where ``jaxconv check`` does not prove all.
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # any file's name can be printed anywhere
            stream.reconfigure(errors="backslashreplace")
    _keep_programs()
    try:
        status = options.run(options) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in `jaxconv maps | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(options.run is check.run)  # which then has not proven all
    except ModuleNotFoundError as error:
        needs = f"needs {error.name}, which is not installed"
        print(f"jaxconv {options.command}: it {needs}.\n  Fix: {INSTALL}", file=sys.stderr)
        return 2
    except (PhotoError, ShapeError, TargetError, UsageError, WeightsError) as error:
        said = str(error).removeprefix(f"{options.command}: ")
        print(f"jaxconv {options.command}: {said}", file=sys.stderr)
        return 2
    return status


def _keep_programs() -> None:
    """Compile no program twice, on this machine; ``JAX_COMPILATION_CACHE_DIR`` goes before."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        with contextlib.suppress(WeightsError):  # without the extras nothing long is run
            jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jaxconv", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
