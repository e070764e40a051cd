"""``jaxconv check``: prove shapes for every size."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxconv.cli.annotations import github_annotations
from jaxconv.cli.arguments import CONDITION_HELP
from jaxconv.cli.command import Command, message_with_flags
from jaxconv.cli.loader import is_object
from jaxconv.cli.models import add_keyword_arguments, keyword_arguments
from jaxconv.cli.obligations import Obligation, Work, obligation, obligations
from jaxconv.cli.settings import Settings, read_settings
from jaxconv.cli.user_code import TargetError
from jaxconv.errors import ShapeError
from jaxconv.prover.verdict import Verdict

STYLES = {
    "text": lambda name, _, verdict: f"{name}: {verdict}",
    "github": github_annotations,
}


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
            "or a package, a module or FILE.py, to prove its contracts and annotated functions",
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
        style.add_argument("--json", action="store_true", help="print a list of verdicts as JSON")
        style.add_argument(
            "--format",
            choices=STYLES,
            default="text",
            help="output format: plain text, or annotations for a pull request",
        )

    def run(self, options: argparse.Namespace) -> int:
        """Prove one by one, and print each verdict at once, since the next may take a while.

        Args:
            options: the arguments, by name.

        Returns:
            The exit status.
        """
        settings = read_settings(Path.cwd())
        given = keyword_arguments(options.given)
        if options.specs or is_object(options.target):
            spec = ", ".join(options.specs) if options.specs else None
            work = Work([obligation(options.target, spec, given)], 0, 0)
        else:
            work = obligations(options.target, settings.exclude)
        proofs = [(one, prove_and_print(one, given, settings, options)) for one in work.obligations]
        verdicts = [(one.name, verdict) for one, verdict in proofs if verdict is not None]
        if options.json:
            entries = [{"name": name, **verdict.to_json()} for name, verdict in verdicts]
            print(json.dumps(entries, indent=2))
        elif len(proofs) > 1 or options.format == "github":
            print(_count(work, [verdict for _, verdict in verdicts]))
        not_started = any(verdict is None and one.is_required for one, verdict in proofs)
        if not_started or not verdicts:
            return 2 if proofs else 0
        return int(any(verdict.status in settings.fail for _, verdict in verdicts))


def _count(work: Work, verdicts: Sequence[Verdict]) -> str:
    """Count what was proven and what was not looked at."""
    proven = sum(verdict.ok for verdict in verdicts)
    parts = [f"{proven} of {len(work.obligations)} proven"]
    if not_started := len(work.obligations) - len(verdicts):
        parts.append(f"{not_started} could not start")
    for count, what in ((work.without_shapes, "without shapes"), (work.ignored, "ignored")):
        if count:
            parts.append(f"{count} function{'s' * (count != 1)} {what}")
    return f"{'; '.join(parts)}."


def prove_and_print(
    one: Obligation, given: Mapping[str, Any], settings: Settings, options: argparse.Namespace
) -> Verdict | None:
    """Prove and print; an error that stops this proof is printed and does not stop the others.

    Args:
        one: what to prove.
        given: values of arguments by name.
        settings: of the project.
        options: of the command.

    Returns:
        The verdict; None where the proof could not start.
    """
    try:
        verdict = one.prove(options.where, given, settings)
    except (ShapeError, TargetError) as error:
        name = "" if one.is_required else f"{one.name}: "
        print(f"jaxconv check: {name}{message_with_flags(error, options)}", file=sys.stderr)
        return None
    if not options.json:
        text = STYLES[options.format](one.name, one.origin, verdict)
        print(text, end="\n" if text else "", flush=True)
    elif sys.stderr.isatty():
        print(f"{one.name}: {verdict.status}", file=sys.stderr)
    return verdict
