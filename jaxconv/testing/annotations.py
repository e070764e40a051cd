"""How the verdicts of a run are written: for people, for programs, for GitHub's annotations."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxconv.prover.verdict import Verdict
from jaxconv.source import Origin


def as_json(name: str, verdict: Verdict) -> dict[str, Any]:
    """One entry of the list that ``--json`` prints."""
    return {"name": name, **verdict.to_json()}


def as_text(name: str, _: Origin, verdict: Verdict) -> str:
    """A verdict as a person reads it."""
    return f"{name}: {verdict}"


def as_github(name: str, defined: Origin, verdict: Verdict) -> str:
    """A verdict as workflow commands, which GitHub shows beside the lines of a pull request.

    Args:
        name: of what was proven.
        defined: the line that stands for it where no other is known.
        verdict: what was found; one command for each failure and each note.
    """
    return "\n".join(_commands(name, defined, verdict))


def _commands(name: str, defined: Origin, verdict: Verdict) -> Iterator[str]:
    for failure in verdict.failures:
        line = int(failure.where.rpartition(":")[2]) if failure.path else 0
        place = Origin(failure.path, line) if failure.path else defined
        yield _command("error", name, place, str(failure))
    if verdict.status == "tested":
        unknown = f"tested, not proven; not known for {verdict.untried}"
        yield _command("warning", name, defined, unknown)
    for note in verdict.notes:
        yield _command("notice", name, defined, note)


# What the runner decodes; "%" must be the first that is replaced.
IN_MESSAGES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
IN_PROPERTIES = IN_MESSAGES | {":": "%3A", ",": "%2C"}


def _command(kind: str, title: str, place: Origin, text: str) -> str:
    found = {"file": _relative(place.path), "line": str(place.line)} if place.path else {}
    properties = found | {"title": title}
    listed = ",".join(f"{key}={_escaped(v, IN_PROPERTIES)}" for key, v in properties.items())
    return f"::{kind} {listed}::{_escaped(text, IN_MESSAGES)}"


def _escaped(text: str, table: Mapping[str, str]) -> str:
    for character, code in table.items():
        text = text.replace(character, code)
    return text


def _relative(path: str) -> str:
    """A path as seen from the working folder, where it lies in it."""
    full, here = Path(path).resolve(), Path.cwd().resolve()
    return (full.relative_to(here) if full.is_relative_to(here) else full).as_posix()
