"""What ``jaxconv check`` reports of one function, as plain data: any format can write it."""

import linecache
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jaxconv.analysis.summary_table import Row
from jaxconv.cli.exclusions import excluding
from jaxconv.prover.conditions import shape_text
from jaxconv.prover.verdict import Verdict
from jaxconv.source import Origin

RULES = {
    "refuted": "Some sizes are not accepted, or the result is not what the contract says.",
    "tested": "Some sizes could only be tried one by one.",
    "note": "Something about the sizes that is worth knowing.",
}
IGNORE = re.compile(r"#\s*jaxconv:\s*ignore\b(?:\s*\[([\w\s,]*)\])?")


@dataclass(frozen=True)
class Finding:
    """A sentence about a line.

    Attributes:
        rule: a key of :data:`RULES`.
        path: of the file; empty where none is known.
        line: its number.
        message: the sentence, and the fix.
        correction: what the contract must say to be true: the fields of a
            :class:`~jaxconv.symbolic.specs.Correction`; empty where that is not one formula.
    """

    rule: str
    path: str
    line: int
    message: str
    correction: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerLine:
    """A layer, and the line that computes it.

    Attributes:
        path: of the file.
        line: its number.
        name: of the layer.
        output: its shape, formulas of the sizes.
        field: the pixels that one neuron sees; empty where that is not known.
    """

    path: str
    line: int
    name: str
    output: str
    field: str


@dataclass(frozen=True)
class Report:
    """The result for one function or model.

    Attributes:
        name: of what was proven, as the command line takes it.
        path: of the file that defines it; empty where none is known.
        line: where it is defined.
        status: of the verdict.
        text: the verdict, as people read it.
        data: the verdict, as programs read it.
        findings: a sentence for each failure, for what was only tested, and for each note.
        layers: where they were asked for, those that stand in the user's code.
        excluding: how to exclude the sizes that fail; empty where that does not help.
    """

    name: str
    path: str
    line: int
    status: str
    text: str
    data: dict[str, Any]
    findings: tuple[Finding, ...]
    layers: tuple[LayerLine, ...] = ()
    excluding: str = ""

    def is_ignored(self, rules: Collection[str] = ()) -> bool:
        """Whether comments in the code ask to ignore the verdict.

        The comment is ``# jaxconv: ignore`` or ``# jaxconv: ignore[tested]``, above the body of
        the function or at the line of each failure.

        Args:
            rules: those that comments above the body of the function ask to ignore.
        """
        lines = [(one.path, one.line) for one in self.findings if one.rule == self.status]
        return self.status in rules or (
            bool(lines)
            and all(path and self.status in ignored_rules(path, n, n + 1) for path, n in lines)
        )


def report(name: str, defined: Origin, verdict: Verdict) -> Report:
    """Make the report of a verdict.

    Args:
        name: of what was proven.
        defined: the line that stands for it where no other is known.
        verdict: the result.
    """

    def findings() -> Iterator[Finding]:
        for failure in verdict.failures:
            line = int(failure.where.rpartition(":")[2]) if failure.path else defined.line
            correction = tuple(failure.correction or ())
            yield Finding("refuted", failure.path or defined.path, line, str(failure), correction)
        if verdict.status == "tested":
            message = f"tested, not proven; not known for {verdict.untried}"
            yield Finding("tested", defined.path, defined.line, message)
        for note in verdict.notes:
            yield Finding("note", defined.path, defined.line, note)

    data = verdict.to_json()
    found = tuple(findings())
    return Report(
        name,
        defined.path,
        defined.line,
        verdict.status,
        str(verdict),
        data,
        found,
        excluding=excluding(verdict),
    )


def layer_lines(rows: Iterable[Row]) -> Iterator[LayerLine]:
    """List the layers whose line is known.

    Args:
        rows: of a summary.
    """
    for row in rows:
        if row.origin.path:
            field = "" if row.field is None else str(row.field)
            output = shape_text(row.output)
            yield LayerLine(row.origin.path, row.origin.line, row.name, output, field)


def ignored_rules(path: str, first: int, end: int) -> set[str]:
    """The rules that comments in some lines of a file ask to ignore.

    Args:
        path: of the file.
        first: the number of the first line.
        end: that of the line after the last.

    Returns:
        Keys of :data:`RULES`: all of them for a comment that names none.
    """
    rules: set[str] = set()
    for line in range(first, end):
        if comment := IGNORE.search(linecache.getline(path, line)):
            named = comment[1]
            rules |= RULES.keys() if named is None else set(re.findall(r"\w+", named))
    return rules
