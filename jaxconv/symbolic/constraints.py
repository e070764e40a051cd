"""A set of sizes as conditions that a program reads: as ``where=`` takes them, or ``jax.export``.

Both languages compare sums of sizes, floors and remainders. ``jax.export`` joins its constraints by
"and" alone; ``max`` stands for "or" within one of them.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import islpy as isl

from jaxconv.symbolic.sets import SizeSet, bounded
from jaxconv.symbolic.sums import Sum, bracket, conditions_that_matter

MOST_CASES = 16  # joined by "or"
ISL_OPERATIONS = 5_000_000  # of isl to find the conditions of a set: a few seconds


class InexpressibleError(Exception):
    """A set of sizes has too many cases.

    Attributes:
        part: some of its sizes, which can be expressed.
    """

    def __init__(self, part: SizeSet) -> None:
        self.part = part
        super().__init__(str(part))


class Language(NamedTuple):
    """How a language writes what is not a sum.

    Attributes:
        floor: of the text of a sum and a divisor.
        remainder: of the text of a sum and a divisor.
    """

    floor: Callable[[str, int], str]
    remainder: Callable[[str, int], str]


WHERE = Language(lambda top, d: f"{bracket(top)}//{d}", lambda top, d: f"{bracket(top)} % {d}")
EXPORT = Language(lambda top, d: f"floordiv({top}, {d})", lambda top, d: f"mod({top}, {d})")


class AffineConstraint(NamedTuple):
    """That a sum is 0, or at least 0.

    Attributes:
        difference: the sum.
        is_equality: whether it is 0.
    """

    difference: Sum
    is_equality: bool


class Conditions(NamedTuple):
    """A set of sizes: all comparisons of ``common`` hold, and those of one of the ``cases``.

    Attributes:
        common: the comparisons that always hold.
        cases: comparisons that hold together; empty where there is one case only.
    """

    common: list[AffineConstraint]
    cases: list[list[AffineConstraint]]


def where_text(sizes: SizeSet) -> str:
    """Write a set as a condition that ``where=`` takes.

    Args:
        sizes: the set.

    Returns:
        The condition, such as ``"h >= 32 and w % 16 == 0"``; empty for every size.

    Raises:
        InexpressibleError: it has too many cases.
    """
    common, cases = conditions_of_set(sizes)
    texts = [_comparison(one, WHERE) for one in common]
    if cases:
        either = [" and ".join(_comparison(one, WHERE) for one in case) for case in cases]
        texts.append(f"({' or '.join(either)})" if texts else " or ".join(either))
    return " and ".join(texts)


def export_constraints(sizes: SizeSet) -> list[str]:
    """Write a set as constraints that ``jax.export.symbolic_shape`` takes.

    Args:
        sizes: the set.

    Returns:
        The constraints, such as ``["h >= 32", "mod(w, 16) == 0"]``; every size is at least 1.

    Raises:
        InexpressibleError: it has too many cases.
    """
    common, cases = conditions_of_set(sizes)
    texts: list[str] = []
    taken: set[str] = set()
    for one in common:
        left, right, _, is_term = _sides(one.difference, EXPORT)
        if not one.is_equality or _residue(one.difference) is not None:
            texts.append(_comparison(one, EXPORT))
        elif is_term and left not in taken:
            taken.add(left)
            texts.append(f"{left} == {right}")
        else:  # as jax.export needs one summand on the left of an equality, another each time
            texts += [f"{left} >= {right}", f"{left} <= {right}"]
    return texts + ([_either(sums) for sums in _alternatives(sizes)] if cases else [])


def _either(sums: Sequence[Sum]) -> str:
    """That one of several sums is at least 0.

    The time in which JAX bounds a ``max`` is exponential in the number of those inside it.
    """
    terms = [_terms(one, EXPORT) for one in sums]
    if len(terms) <= 2:
        texts = [_text(*one) for one in terms]
        return f"max({', '.join(texts)}) >= 0" if texts[1:] else f"{texts[0]} >= 0"
    positive = [f"max({_text(summands, constant + 1)}, 0)" for summands, constant in terms]
    return f"{' + '.join(positive)} >= 1"


def conditions_of_set(sizes: SizeSet) -> Conditions:
    """Find the comparisons that describe a set.

    Args:
        sizes: the set.

    Returns:
        The comparisons.

    Raises:
        InexpressibleError: there are too many cases, or finding them takes too long.
    """
    every = SizeSet.parse(sizes.names).points
    points, hull = _with_hull(sizes)
    with _in_time(sizes):
        # The hull is described by "and" alone; what holds of all sizes is left out.
        parts = hull.gist(every).compute_divs().get_basic_sets()
        common = [one for part in parts for one in _of_part(part)]
        if hull.is_equal(points):
            return Conditions(common, [])
        rest = points.gist(hull.intersect(every)).coalesce().compute_divs()
        cases = [[*_of_part(part)] for part in rest.get_basic_sets()]
    if len(cases) > MOST_CASES:
        raise InexpressibleError(part_of(sizes))
    return Conditions(common, cases)


def part_of(sizes: SizeSet) -> SizeSet:
    """Some sizes of a set, which comparisons joined by "and" describe.

    Args:
        sizes: the set.
    """
    parts = _with_hull(sizes)[0].get_basic_sets()
    return SizeSet(isl.Set.from_basic_set(parts[0])) if parts else sizes


def _with_hull(sizes: SizeSet) -> tuple[isl.Set, isl.Set]:
    points = sizes.points.intersect(SizeSet.parse(sizes.names).points).coalesce()
    return points, isl.Set.from_basic_set(points.simple_hull())


@contextlib.contextmanager
def _in_time(sizes: SizeSet) -> Iterator[None]:
    try:
        with bounded(ISL_OPERATIONS):
            yield
    except isl.Error:
        raise InexpressibleError(part_of(sizes)) from None


def _alternatives(sizes: SizeSet) -> list[list[Sum]]:
    """Sums, one of which in each list is at least 0 where a set has all sizes, within its hull.

    Each list is for a gap: what is between the sizes of the set is described by comparisons joined
    by "and", so that the rest is where one of them does not hold.
    """
    points, hull = _with_hull(sizes)
    found: list[list[Sum]] = []
    with _in_time(sizes):
        gaps = hull.subtract(points).coalesce()
        for part in gaps.gist(hull).compute_divs().get_basic_sets():
            if not gaps.intersect(isl.Set.from_basic_set(part)).is_empty():
                wide = _widened_gap(part, points, hull)
                gaps = gaps.subtract(_where_all(wide, hull))
                found.append(
                    [Sum.of(aff.neg().add_constant_val(isl.Val(-1))) for aff in wide[::-1]]
                )
    return found


def _widened_gap(part: isl.BasicSet, points: isl.Set, hull: isl.Set) -> list[isl.Aff]:
    """What is at least 0 in a gap, without what is not needed to keep it outside the set."""
    needed = []
    for constraint in conditions_that_matter(part.remove_redundancies()):
        aff = constraint.get_aff()
        needed += [aff, aff.neg()] if constraint.is_equality() else [aff]
    for aff in [*needed]:
        fewer = [one for one in needed if one is not aff]
        needed = fewer if _where_all(fewer, hull).is_disjoint(points) else needed
    return needed


def _where_all(affs: Sequence[isl.Aff], hull: isl.Set) -> isl.Set:
    parts = (isl.Set.from_basic_set(aff.ge_basic_set(aff.sub(aff))) for aff in affs)
    return functools.reduce(isl.Set.intersect, parts, hull)


def _of_part(part: isl.BasicSet) -> Iterator[AffineConstraint]:
    for constraint in reversed(conditions_that_matter(part.remove_redundancies())):
        yield AffineConstraint(Sum.of(constraint.get_aff()), constraint.is_equality())


Term = tuple[int, str]


def _terms(one: Sum, language: Language) -> tuple[list[Term], int]:
    """The summands of a sum as texts with their coefficients, and the number that is added."""
    names, constant, terms = dict(one.names), one.constant, []
    for k, top, divisor in one.floors:
        times, rest = divmod(-k, divisor)
        text = _text(*_terms(top, language))
        # h - 3*(h//3) is h % 3
        if not rest and all(names.get(name) == times * i for name, i in top.names.items()):
            names = {name: k for name, k in names.items() if name not in top.names}
            constant -= times * top.constant
            terms.append((times, language.remainder(text, divisor)))
        else:
            terms.append((k, language.floor(text, divisor)))
    return [(k, name) for name, k in names.items()] + terms, constant


def _text(terms: Sequence[Term], constant: int) -> str:
    """The text of a sum; the first summand is positive where one is."""
    texts = []
    for k, name in sorted(terms, key=lambda term: term[0] < 0):
        is_call = name[-1] == ")" and name[0] != "("
        # A floor or a remainder of Python, such as h//2, is in brackets where it is a factor.
        factor = name if name.isidentifier() or is_call else f"({name})"
        texts.append((k, name if abs(k) == 1 else f"{abs(k)}*{factor}"))
    if constant or not texts:
        texts.append((constant, str(abs(constant))))
    first = f"-{texts[0][1]}" if texts[0][0] < 0 else texts[0][1]
    return first + "".join(f" {'-' if k < 0 else '+'} {text}" for k, text in texts[1:])


class Sides(NamedTuple):
    """A sum as a difference of two texts, the second of which is a number where one is.

    Attributes:
        left: one text.
        right: the other one.
        in_order: whether the sum is the left one less the right one, and not the reverse.
        is_term: whether the left one is a single summand.
    """

    left: str
    right: str
    in_order: bool
    is_term: bool


def _sides(one: Sum, language: Language) -> Sides:
    terms, constant = _terms(one, language)
    larger = [(k, name) for k, name in terms if k > 0]
    smaller = [(-k, name) for k, name in terms if k < 0]
    is_name = len(smaller) == 1 and smaller[0][0] == 1
    # w == h + 1 is preferred to h + 1 == w, and w == 2*h to 2*h == w.
    in_order = not is_name or (len(larger) == 1 and larger[0][0] == 1 and constant <= 0)
    in_order = bool(larger) and in_order
    if not in_order:
        larger, smaller, constant = smaller, larger, -constant
    left, right = max(constant, 0), max(-constant, 0)
    if not smaller:
        left, right = 0, -constant
    return Sides(
        _text(larger, left), _text(smaller, right), in_order, len(larger) == 1 and left == 0
    )


def _comparison(one: AffineConstraint, language: Language) -> str:
    if one.is_equality and (residue := _residue(one.difference)) is not None:
        top, divisor, rest = residue
        return f"{language.remainder(_text(*_terms(top, language)), divisor)} == {rest}"
    sides = _sides(one.difference, language)
    relation = "==" if one.is_equality else ">=" if sides.in_order else "<="
    return f"{sides.left} {relation} {sides.right}"


def _residue(one: Sum) -> tuple[Sum, int, int] | None:
    """A sum of names, a divisor and the remainder, if that is what it says that a sum is 0."""
    if len(one.floors) != 1:
        return None
    ((k, top, divisor),) = one.floors
    sign = 1 if k < 0 else -1
    names = {name: sign * i for name, i in top.names.items()}
    if (
        top.floors
        or k != -sign * divisor
        or (names, sign * top.constant) != (one.names, one.constant)
    ):
        return None
    if all(i < 0 for i in top.names.values()):
        return (
            Sum({name: -i for name, i in top.names.items()}, (), 0),
            divisor,
            top.constant % divisor,
        )
    return Sum(top.names, (), 0), divisor, -top.constant % divisor
