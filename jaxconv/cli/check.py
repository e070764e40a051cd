"""``jaxconv check``: prove shapes for every size."""

import argparse
import json
import sys
from typing import Any

from jaxconv.cli.loader import Obligation, TargetError, is_object, obligation, obligations
from jaxconv.errors import ShapeError
from jaxconv.prover.verdict import Verdict
from jaxconv.testing.annotations import as_github, as_json, as_text

NAMED = "pkg.module:name, module:make(classes=10), vgg16; or a package or FILE.py: its contracts"
STYLES = {"text": as_text, "github": as_github}


def add(commands: Any) -> None:
    """Say what the command takes."""
    command = commands.add_parser(
        "check",
        help="prove the shapes of a model for every size at once",
        description="Prove what a function or model of yours takes and returns, for every size.",
        epilog="Exit status: 0 all is proven, 1 something is refuted, or could only be tested, "
        "2 the command or your code does not let it begin.",
    )
    command.add_argument("target", help=NAMED)
    command.add_argument("spec", nargs="?", help='"b h w 3 -> b 1000"; default: its contract')
    command.add_argument("--where", metavar="SIZES", help='such as "h >= 32 and w == h"')
    style = command.add_mutually_exclusive_group()
    style.add_argument("--json", action="store_true", help="a list of verdicts for programs")
    style.add_argument("--format", choices=STYLES, default="text", help="text, or annotations")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; its exit status."""
    named = options.spec is not None or is_object(options.target)
    found = [obligation(options.target, options.spec)] if named else obligations(options.target)
    verdicts = [(one.name, verdict) for one in found if (verdict := _proven(one, options))]
    proven = sum(verdict.ok for _, verdict in verdicts)
    if options.json:
        print(json.dumps([as_json(*entry) for entry in verdicts], indent=2))
    elif len(found) > 1 or options.format == "github":
        print(f"{proven} of {len(found)} proven.")
    return 2 if len(verdicts) < len(found) else int(proven < len(found))


def _proven(one: Obligation, options: argparse.Namespace) -> Verdict | None:
    """Prove one claim and print the verdict at once, since the next may take a while.

    What does not let a proof begin is told, and does not keep the others from theirs.
    """
    try:
        verdict = one.prove(options.where)
    except (ShapeError, TargetError) as error:
        said = str(error).removeprefix("check: ")
        print(f"jaxconv check: {said}", file=sys.stderr)
        return None
    if not options.json:
        text = STYLES[options.format](one.name, one.origin, verdict)
        print(text, end="\n" if text else "", flush=True)
    elif sys.stderr.isatty():
        print(f"{one.name}: {verdict.status}", file=sys.stderr)
    return verdict
