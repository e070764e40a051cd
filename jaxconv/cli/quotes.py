"""What a shell makes of specs and conditions that are not in quotes."""

import argparse
import re
from collections.abc import Sequence

ARROWS = ("-", "->")  # the shell keeps ">" of an arrow without quotes for itself


def unquoted_spec(specs: Sequence[str]) -> str:
    """Return the spec that words without quotes were meant to be.

    Args:
        specs: what the command got.

    Returns:
        The spec, in quotes; empty where the words cannot be parts of one, or are one spec.
    """
    arrow = next((i for i, spec in enumerate(specs) if spec.strip() in ARROWS), None)
    if arrow is not None:
        after = " ".join(specs[arrow + 1 :]) if specs[arrow] == "->" else "..."
        return f'"{" ".join(specs[:arrow])} -> {after}"'
    is_words = len(specs) > 1 and all(re.fullmatch(r"[\w.+*/%(),-]+(:\w+)?", s) for s in specs)
    return f'"{" ".join(specs)}"' if is_words else ""


def quoting_hint(options: argparse.Namespace) -> str:
    """Say what to quote on a command line that failed.

    Args:
        options: of the command.

    Returns:
        A line; empty where nothing looks as if the shell had split or read it.
    """
    if spec := unquoted_spec(getattr(options, "specs", ())):
        return f"\n  If this is the shape of one array, quote the spec: {spec}."
    where = getattr(options, "where", None)
    if where and re.fullmatch(r"[\w\s]+", where):
        return f'\n  The shell interprets < and >. Quote the condition: "{where} >= 32".'
    return ""


def unread_hint(options: argparse.Namespace, unread: Sequence[str]) -> str:
    """Say what to quote where some arguments could not be read.

    Args:
        options: of the command; those that could be read.
        unread: the others.

    Returns:
        A line; empty for a command that takes neither specs nor conditions.
    """
    if unread[0] == "->" and (spec := unquoted_spec([*getattr(options, "specs", ()), *unread])):
        return f"\n  Fix: quote the spec: {spec}."
    is_text = hasattr(options, "where") and not unread[0].startswith("-")
    return "\n  Fix: quote a spec or a condition of several words." if is_text else ""
