"""``jaxconv check``: prove shapes for every size."""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from jaxconv.cli.arguments import CONDITION_HELP, UsageError
from jaxconv.cli.cells import STANDARD_INPUT
from jaxconv.cli.check_process import Checker, Imported, NothingChecked
from jaxconv.cli.checking import NotStarted, Request, Tally, check_all
from jaxconv.cli.command import Command, message_with_flags
from jaxconv.cli.formats import DOCUMENTS, LINE_FORMATS, markdown
from jaxconv.cli.models import add_keyword_arguments
from jaxconv.cli.reports import Report
from jaxconv.cli.result_cache import FOLDER
from jaxconv.cli.settings import read_settings
from jaxconv.source import CODE

SECONDS_BETWEEN_LOOKS = 0.2  # at the files that are watched


class CheckCommand(Command):
    """Prove one function or model, or all contracts of a package."""

    name = "check"
    help = "prove the shapes of a model for every size at once"
    description = "Prove what a function or model takes and returns, for every size."
    epilog = (
        "Exit status: 0 if everything is proven, 1 if something is refuted or could only be "
        "tested, 2 if a proof could not start."
    )
    position = 70
    status_if_cut = 1

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments.

        Args:
            parser: of this command.
        """
        parser.add_argument(
            "target",
            metavar="TARGET",
            help="a function or model, such as pkg.module:name, module:make(classes=10) or vgg16; "
            "or a package, a module, FILE.py, a notebook ... or - for standard input, to prove "
            "contracts and annotated functions",
        )
        parser.add_argument(
            "specs",
            nargs="*",
            metavar="SPEC",
            help='shapes of its inputs and outputs, as "b h w 3 -> b 1000", or one for each input; '
            "default: those of its contract, or of its jaxtyping annotations",
        )
        add_keyword_arguments(parser)
        parser.add_argument("--where", metavar="CONDITION", help=CONDITION_HELP)
        style = parser.add_mutually_exclusive_group()
        style.add_argument(
            "--format",
            choices=[*LINE_FORMATS, *DOCUMENTS],
            default="text",
            help="output format: plain text, annotations for a pull request on GitHub, a list of "
            "verdicts as JSON, or SARIF for services that review code",
        )
        style.add_argument(
            "--json", action="store_const", const="json", dest="format", help="as --format json"
        )
        parser.add_argument(
            "--cache",
            action="store_true",
            help=f"do not prove again what has not changed; reports are kept in {FOLDER}",
        )
        parser.add_argument(
            "--watch",
            action="store_true",
            help="check again whenever a file of the code is saved, until Ctrl-C",
        )

    def run(self, options: argparse.Namespace) -> int:
        """Prove one by one, and print each verdict at once, since the next may take a while.

        Args:
            options: the arguments, by name.

        Returns:
            The exit status.
        """
        request = request_of(options)
        if options.target.partition(":")[0] in STANDARD_INPUT and (options.watch or options.cache):
            option = "--watch" if options.watch else "--cache"
            raise UsageError(
                f"{option} compares files, but the code comes from standard input. "
                "Fix: leave it out, or save the code in a file."
            )
        if options.watch and options.format in DOCUMENTS:
            raise UsageError(
                f"--watch prints line by line, not as {options.format}. "
                "Fix: leave out one of the two options."
            )
        if options.watch:
            watch(request, options)
        results: list[Report | NotStarted] = []

        def tell(result: Report | NotStarted) -> None:
            results.append(result)
            print_result(result, options)

        tally = check_all(request, tell)
        reports = [result for result in results if isinstance(result, Report)]
        if options.format in DOCUMENTS:
            print(DOCUMENTS[options.format](reports))
        elif sum(tally) > 1 or options.format == "github":
            print(_count(tally, reports))
        if options.format == "github" and (path := os.environ.get("GITHUB_STEP_SUMMARY")):
            with open(path, "a", encoding="utf-8") as file:
                file.write(markdown(reports))
        if any(isinstance(result, NotStarted) and result.is_required for result in results):
            return 2
        if not reports:
            return 2 if results else 0
        fail = read_settings(Path.cwd()).fail
        return int(any(report.status in fail for report in reports))


def request_of(options: argparse.Namespace) -> Request:
    """Read what to prove: the first target is followed by more files, or by specs.

    Args:
        options: the arguments, by name.
    """
    files = [text for text in options.specs if text.endswith(CODE)]
    specs = [text for text in options.specs if text not in files]
    if files and specs:
        raise UsageError(
            f"{specs[0]!r} is a spec, but several files are to be checked. "
            "Fix: leave it out, or name one function, such as models.py:Net."
        )
    targets = (options.target, *files)
    given = tuple(options.given)
    return Request(targets, tuple(specs), given, options.where, options.cache)


def watch(request: Request, options: argparse.Namespace) -> NoReturn:
    """Check, and check again whenever a file is saved; Ctrl-C ends it.

    Args:
        request: what to prove.
        options: of the command.
    """
    named = {text for text in request.targets if text.endswith(CODE)} | {"pyproject.toml"}
    paths = {str(Path(text).resolve()) for text in named}
    checker = Checker()
    while True:
        before = _times(paths)
        process = checker.start(request, Path.cwd())
        reports = []
        try:
            for message in process.messages():
                if isinstance(message, Report):
                    reports.append(message)
                if isinstance(message, Report | NotStarted):
                    print_result(message, options)
                elif isinstance(message, NothingChecked):
                    said = message_with_flags(message.message, options)
                    print(f"jaxconv check: {said}", file=sys.stderr)
                elif isinstance(message, Tally):
                    print(_count(message, reports), "Waiting for a change; Ctrl-C ends.")
                elif isinstance(message, Imported) and message.paths:
                    before = _times(message.paths - paths) | before
                    paths |= message.paths
                if _times(before) != before:
                    break
            while _times(before) == before:
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            process.stop()
        print(f"\n{time.strftime('%H:%M:%S')} a file has changed", flush=True)


def _times(paths: Iterable[str]) -> dict[str, int]:
    """When each file was last written; 0 for one that does not exist."""
    return {p: os.stat(p).st_mtime_ns if os.path.exists(p) else 0 for p in paths}


def _count(tally: Tally, reports: Sequence[Report]) -> str:
    """Count what was proven and what was not looked at."""
    proven = sum(report.status == "proven" for report in reports)
    parts = [f"{proven} of {tally.obligations} proven"]
    if not_started := tally.obligations - len(reports):
        parts.append(f"{not_started} could not start")
    for count, what in ((tally.without_shapes, "without shapes"), (tally.ignored, "ignored")):
        if count:
            parts.append(f"{count} function{'s' * (count != 1)} {what}")
    return f"{'; '.join(parts)}."


def print_result(result: Report | NotStarted, options: argparse.Namespace) -> None:
    """Print a result, or why a proof could not start.

    Args:
        result: for one function.
        options: of the command.
    """
    if isinstance(result, NotStarted):
        name = "" if result.is_required else f"{result.name}: "
        message = message_with_flags(result.message, options)
        print(f"jaxconv check: {name}{message}", file=sys.stderr)
    elif options.format in LINE_FORMATS:
        text = LINE_FORMATS[options.format](result)
        print(text, end="\n" if text else "", flush=True)
    elif sys.stderr.isatty():
        print(f"{result.name}: {result.status}", file=sys.stderr)
