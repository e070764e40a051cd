"""The verdict of a proof, as people and programs read it."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import islpy as isl

from jaxconv.display import Displayed, Fact, Facts, Part, Title, shortened
from jaxconv.symbolic.sets import EXAMPLE_OPERATIONS, SizeSet, bounded
from jaxconv.symbolic.specs import Correction

SOME_TRIED = "accepts some of the sizes that were tried"


@dataclass(frozen=True)
class Failure:
    """Why some sizes are not accepted.

    Attributes:
        sizes: all of them.
        smallest: the first of them.
        where: ``file.py:88`` of the user's code; empty where no line is known.
        message: a sentence.
        fix: the remedy, an imperative sentence.
        layer: the layer called there, such as ``block1.conv2``; empty where it has no name.
        path: of the user's file; empty where no line is known.
        caller: the user's line that called the function around it; may be empty.
        correction: what the contract must say to be true, where a formula of it is wrong.
    """

    sizes: SizeSet
    smallest: dict[str, int]
    where: str
    message: str
    fix: str
    layer: str = ""
    path: str = ""
    caller: str = ""
    correction: Correction | None = None

    def __str__(self) -> str:
        place, *lines = self._texts()
        return "\n    ".join([f"{place}: {lines[0]}" if place else lines[0], *lines[1:]])

    def fact(self) -> Fact:
        """What a notebook shows in one row."""
        place, *lines = self._texts()
        return Fact(f"fails {place}".rstrip(), "\n".join(lines))

    def _texts(self) -> tuple[str, str, str, str]:
        """Where it fails, which may be empty, the message, the sizes, and the fix."""
        called = f", called at {self.caller}" if self.caller else ""
        place = f"at {self.where}{called}" if self.where else ""
        layer = f"{self.layer}: " if self.layer else ""
        smallest = f"; first for {point_text(self.smallest)}" if self.smallest else ""
        return place, f"{layer}{self.message}", f"for {self.sizes}{smallest}", f"Fix: {self.fix}"


@dataclass(frozen=True)
class Verdict(Displayed):
    """The result of :func:`check`.

    Attributes:
        status: "proven": all requested sizes are accepted, and return what the contract says;
            "refuted": some are not; "tested": some sizes could only be tried, and either no others
            fail, or these are at least half of the sizes that people use.
        accepts: exactly the accepted sizes; of sizes that were only tried, those that worked.
        outputs: the shapes returned, formulas over ``accepts``, in the structure of the result;
            None where nothing is accepted.
        failures: why the rest fails.
        untried: sizes about which nothing is known.
        notes: what could not be proven and why, pixels that no window covers, flattens that several
            sizes fit.
        runs: how many traces it took.
        tried: sizes that were only tried, one by one; None where there are none.
    """

    status: str
    accepts: SizeSet
    outputs: Any
    failures: tuple[Failure, ...]
    untried: SizeSet
    notes: tuple[str, ...]
    runs: int
    tried: SizeSet | None = None

    @property
    def ok(self) -> bool:
        """Whether every requested size is proven to be accepted."""
        return self.status == "proven"

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "status": self.status,
            "accepts": str(self.accepts),
            "outputs": str(self.outputs),
            "failures": [
                vars(failure)
                | {"sizes": str(failure.sizes)}
                | {"correction": failure.correction and failure.correction._asdict()}
                for failure in self.failures
            ],
            "untried": str(self.untried),
            "notes": list(self.notes),
            "runs": self.runs,
        }

    def __str__(self) -> str:
        def short(value: Any) -> str:  # of many cases, or many parts, what fits on two lines
            return textwrap.shorten(str(value), 200, placeholder=" ...")

        proven, outputs, unproven = self._decided()
        returns = "" if outputs is None else f", returns {short(outputs)}"
        lines = [f"{self.status}: accepts {short(proven)}{returns}"]
        if proven.is_empty() and not self.accepts.is_empty():
            lines = [f"{self.status}: {SOME_TRIED}"]
        lines += [f"  fails{' ' if f.where else ': '}{f}" for f in self.failures]
        if not unproven.is_empty():
            lines.append(f"  not known for {short(unproven)}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def display_parts(self) -> Iterator[Part]:
        """What a notebook shows: the status, and all that the text says, in rows."""
        proven, outputs, unproven = self._decided()
        facts = []
        if proven.is_empty() and not self.accepts.is_empty():
            yield Title(SOME_TRIED, self.status)
        else:
            yield Title("", self.status)
            facts.append(Fact("accepts", shortened(str(proven)), is_code=True))
            if outputs is not None:
                facts.append(Fact("returns", shortened(str(outputs)), is_code=True))
        facts += [failure.fact() for failure in self.failures]
        if not unproven.is_empty():
            facts.append(Fact("not known for", shortened(str(unproven)), is_code=True))
        facts += [Fact("note", note) for note in self.notes]
        yield Facts(tuple(facts))

    def _decided(self) -> tuple[SizeSet, Any, SizeSet]:
        """The sizes that are proven to be accepted, what is returned for them, and what is open."""
        if self.tried is None or self.tried.is_empty():
            return self.accepts, self.outputs, self.untried
        proven, outputs = self.accepts - self.tried, self.outputs
        outputs = outputs.within(proven) if isinstance(outputs, Cases) else outputs
        return proven, outputs, self.untried | self.tried


def combined(verdicts: Sequence[tuple[str, Verdict]], is_cut: bool) -> Verdict:
    """Make one verdict of those of several calls.

    Args:
        verdicts: what each call chose, in words, and its verdict.
        is_cut: whether there are more calls, which were not examined.

    Returns:
        The first that is refuted, or else the first that is not proven, or else the last, with a
        note of what the calls chose.
    """
    order = ("refuted", "tested", "proven")
    status = min((verdict.status for _, verdict in verdicts), key=order.index)
    if status == "proven":
        chosen, verdict = verdicts[-1]
    else:
        chosen, verdict = next(pair for pair in verdicts if pair[1].status == status)
    notes = [f"this is for {chosen}"] if chosen else []
    if status == "proven" and len(verdicts) > 1:
        choices = dict.fromkeys(choice for text, _ in verdicts for choice in text.split("; "))
        notes = [f"proven for {len(verdicts)} calls: with {', '.join(choices)}"]
    if is_cut:
        notes.append(f"only the first {len(verdicts)} choices of the annotations were examined")
        status = "tested" if status == "proven" else status
    runs = sum(verdict.runs for _, verdict in verdicts)
    return replace(verdict, status=status, notes=(*verdict.notes, *notes), runs=runs)


@dataclass(frozen=True)
class Cases:
    """What a function returns where no single formula covers all sizes.

    Attributes:
        cases: sizes, and the shapes returned for them.
    """

    cases: tuple[tuple[SizeSet, Any], ...]

    def at(self, **sizes: int) -> Any:
        """Find the shapes for given sizes.

        Args:
            **sizes: a number for each name.

        Returns:
            The shapes, formulas that hold for these sizes.
        """
        return next(shapes for where, shapes in self.cases if where.contains(**sizes))

    def within(self, sizes: SizeSet) -> Any:
        """Select the cases of some of the sizes.

        Args:
            sizes: the sizes.

        Returns:
            The shapes of the only case; else the cases; None where there are none.
        """
        cases = tuple(case for case in self.cases if not (case[0] & sizes).is_empty())
        if len(cases) == 1:
            return cases[0][1]
        return Cases(cases) if cases else None

    def __str__(self) -> str:
        return " or ".join(f"{shapes} for {where}" for where, shapes in self.cases)


def point_text(point: dict[str, int]) -> str:
    """Write sizes as a person does.

    Args:
        point: a number for each name.

    Returns:
        A text such as ``"b = 1, h = 33"``.
    """
    return ", ".join(f"{name} = {size}" for name, size in point.items())


def remedy(
    accepts: SizeSet, untried: SizeSet, failing: dict[str, int], tried: SizeSet | None = None
) -> str:
    """Say which sizes to pass in place of some that fail.

    Args:
        accepts: the sizes that are accepted.
        untried: the sizes about which nothing is known.
        failing: the smallest sizes that fail.
        tried: the sizes that were only tried; None where there are none.

    Returns:
        An imperative sentence.
    """
    if accepts.is_empty():
        known = "it accepts no size" if untried.is_empty() else "no size is known to work"
        return f"fix the function; {known}."
    proven = accepts if tried is None else accepts - tried
    if proven.is_empty():
        return (
            f"pass sizes that were tried and work, such as {point_text(accepts.nearest(failing))}."
        )
    try:
        with bounded(EXAMPLE_OPERATIONS):
            near = proven.nearest(failing)
    except isl.Error:  # the set has too many parts
        return f"pass sizes with {proven}."
    return f"pass sizes with {proven}; nearest to the first failure: {point_text(near)}."
