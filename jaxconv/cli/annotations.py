"""Verdicts as annotations, which GitHub shows next to the lines of a pull request."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxconv.prover.verdict import Verdict
from jaxconv.source import Origin

# What the runner decodes; "%" must be the first that is replaced.
IN_MESSAGES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
IN_PROPERTIES = IN_MESSAGES | {":": "%3A", ",": "%2C"}


def github_annotations(name: str, defined: Origin, verdict: Verdict) -> str:
    """Write a verdict as workflow commands: one for each failure and each note.

    Args:
        name: of what was proven.
        defined: the line that stands for it where no other is known.
        verdict: the result.

    Returns:
        Lines; empty where all is proven without a note.
    """

    def relative(path: str) -> str:  # to the working folder, where the file lies in it
        full, folder = Path(path).resolve(), Path.cwd().resolve()
        return (full.relative_to(folder) if full.is_relative_to(folder) else full).as_posix()

    def command(kind: str, origin: Origin, text: str) -> str:
        location = {"file": relative(origin.path), "line": str(origin.line)} if origin.path else {}
        properties = location | {"title": name}
        listed = ",".join(f"{key}={_escape(v, IN_PROPERTIES)}" for key, v in properties.items())
        return f"::{kind} {listed}::{_escape(text, IN_MESSAGES)}"

    def commands() -> Iterator[str]:
        for failure in verdict.failures:
            line = int(failure.where.rpartition(":")[2]) if failure.path else 0
            origin = Origin(failure.path, line) if failure.path else defined
            yield command("error", origin, str(failure))
        if verdict.status == "tested":
            unknown = f"tested, not proven; not known for {verdict.untried}"
            yield command("warning", defined, unknown)
        for note in verdict.notes:
            yield command("notice", defined, note)

    return "\n".join(commands())


def _escape(text: str, table: Mapping[str, str]) -> str:
    for character, code in table.items():
        text = text.replace(character, code)
    return text
