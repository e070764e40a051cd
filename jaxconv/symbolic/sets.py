"""Sets of sizes, decided by isl, the integer set library of polyhedral compilers.

A set is what a condition of Presburger arithmetic describes: sums, constants, floor division and
remainders of names, compared and joined by "and" and "or" (Verdoolaege, "isl: An integer set
library for the polyhedral model", 2010).
"""

import contextlib
import functools
import operator
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import islpy as isl

from jaxconv.display import Displayed, Fact, Facts, shortened
from jaxconv.errors import shown
from jaxconv.symbolic.sums import PARAM, conditions_of


class Relation(NamedTuple):
    """An order or equality of sizes.

    Attributes:
        on_ints: whether it holds of two numbers.
        on_formulas: the sizes for which it holds of two formulas.
    """

    on_ints: Callable[[float, float], bool]
    on_formulas: Callable[[isl.PwAff, isl.PwAff], isl.Set]


RELATIONS = {
    "<": Relation(operator.lt, isl.PwAff.lt_set),
    "<=": Relation(operator.le, isl.PwAff.le_set),
    "==": Relation(operator.eq, isl.PwAff.eq_set),
    "!=": Relation(operator.ne, isl.PwAff.ne_set),
    ">=": Relation(operator.ge, isl.PwAff.ge_set),
    ">": Relation(operator.gt, isl.PwAff.gt_set),
}


class SizeSet(Displayed):
    """A set of sizes: for each name an integer, decided exactly.

    Example:
        >>> from jaxconv.symbolic.sets import SizeSet
        >>> some = SizeSet.parse("h w", "224 <= h <= 255 and w = h")
        >>> print(some)
        w = h, 224 <= h <= 255
        >>> some.contains(h=224, w=224), some.contains(h=224, w=225), some.smallest()
        (True, False, {'h': 224, 'w': 224})
    """

    def __init__(self, points: isl.Set) -> None:
        self.points = points.coalesce()
        self.names = names_of(points)

    @classmethod
    def parse(cls, names: str | Sequence[str], where: str = "") -> "SizeSet":
        """Make the set of all positive sizes for which a condition holds.

        Args:
            names: names of the sizes, or one text with spaces between them.
            where: the condition in isl's notation, such as ``"h mod 2 = 0"``; may be empty.

        Returns:
            The set.
        """
        names = names.split() if isinstance(names, str) else list(names)
        positive = [f"{name} >= 1" for name in names] + ([f"({where})"] if where else [])
        return cls(_parse(f"[{', '.join(names)}] -> {{ : {' and '.join(positive) or 'true'} }}"))

    def contains(self, **sizes: int) -> bool:
        """Tell whether sizes are in the set.

        Args:
            **sizes: a number for each name.

        Returns:
            Whether the set has this element.

        Raises:
            TypeError: the names are not those of the set.
        """
        if set(sizes) != set(self.names):
            names = ", ".join(self.names)
            wrong = f"contains() takes {names}, not {', '.join(sizes)}."
            raise TypeError(f"{wrong} Fix: pass a number for each of {names}.")
        points = self.points
        for name, value in sizes.items():
            points = _fix(points, name, operator.index(value))
        return not points.is_empty()

    # Without it Python would look for the sizes among all that the set has, without end.
    def __contains__(self, sizes: object) -> bool:
        """Tell whether sizes are in the set, as :meth:`contains` does.

        Args:
            sizes: a dict with a number for each name.

        Returns:
            Whether the set has this element.

        Raises:
            TypeError: not a dict of sizes, or the names are not those of the set.

        Example:
            >>> from jaxconv.symbolic.sets import SizeSet
            >>> {"h": 5} in SizeSet.parse("h", "h >= 3")
            True
        """
        if isinstance(sizes, Mapping) and all(isinstance(name, str) for name in sizes):
            return self.contains(**sizes)
        example = dict.fromkeys(self.names, 1)
        raise TypeError(
            f"a set of sizes contains dicts of sizes, not {shown(sizes)}. "
            f"Fix: write a dict before 'in', such as {example}."
        )

    def is_empty(self) -> bool:
        """Whether no sizes are in the set."""
        return self.points.is_empty()

    def smallest(self) -> dict[str, int]:
        """The smallest sizes, by the first name, then the next.

        Raises:
            ValueError: the set is empty.
        """
        if self.is_empty():
            raise ValueError("an empty set has no smallest sizes.")
        rest, smallest = self.points, {}
        for name in self.names:
            smallest[name] = _least(rest, name)
            rest = _fix(rest, name, smallest[name])
        return smallest

    def at_border(self) -> dict[str, int]:
        """The sizes at the upper border of the set: the largest where bounded, else the smallest.

        Raises:
            ValueError: the set is empty.
        """
        if self.is_empty():
            raise ValueError("an empty set has no border.")
        rest, border = self.points, {}
        for name in self.names:
            low, high = _bounds_of(rest, name)
            assert low is not None  # every size has a least value
            border[name] = low if high is None else high
            rest = _fix(rest, name, border[name])
        return border

    def subject(self) -> tuple[str, ...]:
        """The names whose sizes decide what is in the set."""
        positive = SizeSet.parse(self.names).points

        def free(name: str) -> isl.Set:
            points = self.points.eliminate(PARAM, _position(self.points, name), 1)
            return points.intersect(positive)

        return tuple(name for name in self.names if not free(name).is_subset(self.points))

    def nearest(self, point: dict[str, int]) -> dict[str, int]:
        """Find sizes of the set close to given ones.

        Args:
            point: a number for each name.

        Returns:
            Name by name the next number of the set that is not smaller, else the largest one.
        """
        rest, nearest = self.points, {}
        for name in self.names:
            above = rest.intersect(_condition(rest, f"{name} >= {point[name]}"))
            value = _bounds_of(rest, name)[1] if above.is_empty() else _least(above, name)
            assert value is not None  # sizes below a given one are bounded
            nearest[name] = value
            rest = _fix(rest, name, value)
        return nearest

    def __iter__(self) -> Iterator[dict[str, int]]:
        """All sizes of a finite set."""
        yield from self._walk(self.points, 0)

    def _walk(self, points: isl.Set, depth: int) -> Iterator[dict[str, int]]:
        if depth == len(self.names):
            yield {}
            return
        name = self.names[depth]
        while not points.is_empty():
            value = _least(points, name)
            for rest in self._walk(_fix(points, name, value), depth + 1):
                yield {name: value, **rest}
            points = points.intersect(_condition(points, f"{name} > {value}"))

    def __or__(self, other: "SizeSet") -> "SizeSet":
        return SizeSet(self.points.union(other.points))

    def __and__(self, other: "SizeSet") -> "SizeSet":
        return SizeSet(self.points.intersect(other.points))

    union = __or__
    intersection = __and__

    def __sub__(self, other: "SizeSet") -> "SizeSet":
        return SizeSet(self.points.subtract(other.points))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SizeSet) and self.points.is_equal(other.points)

    def __hash__(self) -> int:
        return hash(self.names)

    def __le__(self, other: "SizeSet") -> bool:
        return self.points.is_subset(other.points)

    def __str__(self) -> str:
        with contextlib.suppress(isl.Error), bounded(TEXT_OPERATIONS):
            return _readable(self)
        # The conditions take too long to find.
        with contextlib.suppress(isl.Error), bounded(EXAMPLE_OPERATIONS):
            sizes = self & SizeSet.parse(self.names)  # a case of a formula may have others
            if sizes.is_empty():
                return "no size"
            smallest = ", ".join(f"{name} = {size}" for name, size in sizes.smallest().items())
            return f"({smallest}) and other sizes"
        return "some sizes"

    def __repr__(self) -> str:
        return f"SizeSet({self})"

    def display_parts(self) -> Iterator[Facts]:
        """What a notebook shows: the condition, and the smallest sizes."""
        facts = [Fact(", ".join(self.names) or "sizes", shortened(str(self)), is_code=True)]
        with contextlib.suppress(isl.Error), bounded(EXAMPLE_OPERATIONS):
            sizes = self & SizeSet.parse(self.names)  # a case of a formula may have others
            if self.names and not sizes.is_empty():
                smallest = ", ".join(f"{name} = {size}" for name, size in sizes.smallest().items())
                facts.append(Fact("smallest", smallest, is_code=True))
        yield Facts(tuple(facts))


def names_of(points: isl.Set) -> tuple[str, ...]:
    """List the names of a set.

    Args:
        points: the set.

    Returns:
        Its names, in order.
    """
    return tuple(str(points.get_dim_name(PARAM, i)) for i in range(points.dim(PARAM)))


def involved_names(points: isl.Set, within: isl.Set) -> tuple[str, ...]:
    """List the names that a set restricts, beside what is known.

    Args:
        points: the set.
        within: the sizes considered, of the same names.

    Returns:
        Those of its names on which it depends within these sizes.
    """
    simple = points.gist(within)
    names = enumerate(names_of(simple))
    return tuple(name for i, name in names if simple.involves_dims(PARAM, i, 1))


def _position(points: isl.Set, name: str) -> int:
    return points.find_dim_by_name(PARAM, name)


def integer(value: int) -> isl.Val:
    """Make a number of isl, which may be larger than isl takes from Python as it is.

    Args:
        value: the number.

    Returns:
        The same number.
    """
    return isl.Val(str(value))


def _fix(points: isl.Set, name: str, value: int) -> isl.Set:
    return points.fix_val(PARAM, _position(points, name), integer(value))


def _condition(points: isl.Set, text: str) -> isl.Set:
    return isl.Set(f"[{', '.join(names_of(points))}] -> {{ : {text} }}")


def _least(points: isl.Set, name: str) -> int:
    """The least value of a name; every size has one."""
    low, _ = _bounds_of(points, name)
    assert low is not None
    return low


def _bounds_of(points: isl.Set, name: str) -> tuple[int | None, int | None]:
    return bounds(points, parse_affine((name,), name))


@functools.lru_cache(maxsize=10_000)
def _parse(text: str) -> isl.Set:
    return isl.Set(text)


@functools.lru_cache(maxsize=10_000)
def parse_affine(names: tuple[str, ...], text: str) -> isl.PwAff:
    """Read an affine formula.

    Args:
        names: those of the sizes.
        text: the formula in isl's notation.

    Returns:
        The formula over these names.
    """
    return isl.PwAff(f"[{', '.join(names)}] -> {{ [({text})] }}")


def bounds(points: isl.Set, formula: isl.PwAff) -> tuple[int | None, int | None]:
    """Find the bounds of a formula over a set.

    Args:
        points: the set.
        formula: the formula.

    Returns:
        Its least and its largest value; None where it is not bounded, or the set is empty.
    """
    values = isl.Set.from_pw_aff(formula.intersect_params(points))
    # The values as a set of one dimension, with the names projected out.
    values = values.project_out(PARAM, 0, values.dim(PARAM))
    if values.is_empty():
        return None, None
    low, high = values.dim_min_val(0), values.dim_max_val(0)
    return (
        low.to_python() if low.is_int() else None,
        high.to_python() if high.is_int() else None,
    )


def known_remainder(points: isl.Set, formula: isl.PwAff, number: int) -> int | None:
    """Find the remainder of a formula by a number, where it is the same over a set.

    Args:
        points: the set.
        formula: the formula.
        number: the number, at least 1.

    Returns:
        The remainder; None where there are several, or the set is empty.
    """
    least, most = bounds(points, formula.mod_val(integer(number)))
    return least if least == most else None


TEXT_OPERATIONS = 2_000_000  # of isl for the text of a set: about a second
EXAMPLE_OPERATIONS = 2_000_000  # for an example, where its text takes more


# What isl counts, and what is replaced while a function is traced, is the same for all threads.
ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def bounded(operations: int) -> Iterator[None]:
    """Let isl raise its error where it takes too long; its operations cannot be interrupted.

    Args:
        operations: how many of isl's operations to allow within the context.
    """
    context = isl.DEFAULT_CONTEXT
    with ONE_AT_A_TIME:
        before = context.get_max_operations()
        context.reset_operations()
        context.set_max_operations(operations)
        try:
            yield
        except TypeError as error:  # where none is left, a text or a number is None
            if isl.Val(0).to_str() is None:
                raise isl.Error("no operation is left") from error
            raise
        finally:
            context.set_max_operations(before)  # 0 is unbounded
            context.reset_operations()


def _readable(sizes: SizeSet) -> str:
    """Write a set as a person would: one condition per name, or several sets joined by "or"."""
    every = SizeSet.parse(sizes.names)
    points = (sizes & every).points
    if points.is_empty() or not sizes.names:
        return "no size" if points.is_empty() else "every size"
    if (projections := _projections(points)) is not None:
        conditions = [
            (text, name)
            for projection, name in projections
            for text in _name_conditions(projection, name, _project(every.points, name))
        ]
        return _join_conditions(conditions, ", ") or "every size"
    hull = SizeSet(functools.reduce(isl.Set.intersect, (_hull(points, n) for n in sizes.names)))
    if (projections := _projections(hull.points.subtract(points))) is not None:
        outside = []  # the conditions of being in the hull, but not in the product: one must hold
        for projection, name in projections:
            whole = _project(hull.points, name)
            if not whole.is_subset(projection):
                texts = _name_conditions(whole.subtract(projection), name, whole)
                outside.append((f"({', '.join(texts)})" if len(texts) > 1 else texts[0], name))
        either = _join_conditions(outside, " or ")
        return either if hull == every else f"{_readable(hull)}, and {either}"
    parts = [SizeSet(isl.Set.from_basic_set(part)) for part in points.get_basic_sets()]
    if len(parts) > 1:
        parts.sort(key=lambda part: tuple(part.smallest().values()))
        return _either([_readable(part) for part in parts])
    return _conditions_text(points)


def _projections(points: isl.Set) -> list[tuple[isl.Set, str]] | None:
    """A set as one condition per name, where it is the product of these; else None."""
    projections = [(_project(points, name), name) for name in names_of(points)]
    product = functools.reduce(isl.Set.intersect, (projection for projection, _ in projections))
    return projections if product.is_equal(points) else None


def _join_conditions(conditions: list[tuple[str, str]], joint: str) -> str:
    """Put names into their conditions; multiples of one number share theirs."""
    names_by_condition: dict[str, list[str]] = {}
    for condition, name in conditions:
        is_shared = "multiple" in condition and " or " not in condition
        shared = condition if is_shared else condition.replace("{}", name)
        names_by_condition.setdefault(shared, []).append(name)
    texts = []
    for condition, names in names_by_condition.items():
        several = len(names_by_condition) > 1
        text = f"({condition})" if " or " in condition and several else condition
        if joint == ", " and len(names) > 1:
            text = text.replace("a multiple", "multiples")
        texts.append(text.replace("{}", (" and " if joint == ", " else joint).join(names)))
    return joint.join(texts)


def _project(points: isl.Set, name: str) -> isl.Set:
    """The condition that a set puts on one name, whatever the others."""
    position = _position(points, name)
    for i in range(points.dim(PARAM)):
        points = points if i == position else points.eliminate(PARAM, i, 1)
    return points.intersect(_condition(points, f"{name} >= 1"))


def _hull(points: isl.Set, name: str) -> isl.Set:
    """All values of a name from its least to its largest in a set."""
    return _condition(points, " and ".join([f"{name} >= 1", *_range(points, name)]).format(name))


def _range(points: isl.Set, name: str) -> list[str]:
    """The bounds of a name in a set as a condition; nothing where it may be any size."""
    low, high = _bounds_of(points, name)
    if high is None:
        return [] if low == 1 else [f"{{}} >= {low}"]
    if low == high:
        return [f"{{}} = {low}"]
    return [f"{low} <= {{}} <= {high}" if low != 1 else f"{{}} <= {high}"]


def _name_conditions(points: isl.Set, name: str, within: isl.Set) -> list[str]:
    """The conditions by which a set that depends on one name is part of another, {} for it."""
    hull, convex = _hull(points, name), _range(points, name)
    if hull.is_subset(points):
        return convex
    for area, bound in ((within, []), (hull, convex)):
        if residue := _residue(points, area, name):
            step, rest = residue
            text = "{} odd" if (step, rest) == (2, 1) else f"{{}} % {step} = {rest}"
            return [*bound, f"{{}} a multiple of {step}" if rest == 0 else text]
        if (residue := _residue(area.subtract(points), area, name)) and residue[1] == 0:
            return [*bound, f"{{}} not a multiple of {residue[0]}"]
    divisors = {int(n) for n in re.findall(r"(?:mod |/)(\d+)", str(points))}
    for step in sorted(n for n in divisors if n <= 64):
        classes = [_condition(points, f"{name} mod {step} = {rest}") for rest in range(step)]
        whole = [hull.intersect(one) for one in classes]
        inside = [rest for rest in range(step) if whole[rest].is_subset(points)]
        nothing = isl.Set.empty(points.space)
        if points.is_equal(functools.reduce(isl.Set.union, [whole[r] for r in inside], nothing)):
            return [*convex, f"{{}} % {step} in {tuple(inside)}"]
    return [re.sub(rf"\b{name}\b", "{}", _conditions_text(points))]


def _residue(points: isl.Set, area: isl.Set, name: str) -> tuple[int, int] | None:
    """The step and the remainder of the values of a name, if a set has all of these in an area."""
    if points.is_empty():
        return None
    first = _least(points, name)
    more = points.intersect(_condition(points, f"{name} > {first}"))
    if more.is_empty():
        return None
    step = _least(more, name) - first
    residue = area.intersect(_condition(points, f"{name} mod {step} = {first % step}"))
    return (step, first % step) if residue.is_equal(points) else None


def _conditions_text(points: isl.Set) -> str:
    """A set as conditions on sums of its names, in one case or a few."""
    every = SizeSet.parse(names_of(points))
    points = points.gist(every.points).compute_divs()
    several = points.make_disjoint().get_basic_sets() if points.n_basic_set() > 1 else ()
    parts = []
    for part in several or points.get_basic_sets():
        conditions = ", ".join(conditions_of(part.remove_redundancies()))
        positive = SizeSet(isl.Set.from_basic_set(part)) & every
        if not positive.is_empty():  # what is left of sizes below 1 is not said
            parts.append((tuple(positive.smallest().values()), conditions))
    return _either([conditions for _, conditions in sorted(parts)])


def _either(texts: list[str]) -> str:
    """Join the texts of several cases, or of the first of very many."""
    texts = list(dict.fromkeys(texts))
    if len(texts) == 1:
        return texts[0]
    joined = ", | or " + ("| [<>=]" if any("multiple" in text for text in texts) else "")
    shown = [f"({text})" if re.search(joined, text) else text for text in texts[:CASES]]
    more = f" or ... ({len(texts)} cases)" if len(texts) > CASES else ""
    return " or ".join(shown) + more


CASES = 12  # of a set that are written
