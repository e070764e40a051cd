"""Sets of sizes, decided by isl, the integer set library of polyhedral compilers.

A set is what a condition of Presburger arithmetic describes: sums, constants, floor division and
remainders of names, compared and joined by "and" and "or" (Verdoolaege, "isl: An integer set
library for the polyhedral model", 2010).
"""

import functools
import operator
from collections.abc import Iterator, Sequence

import islpy as isl

PARAM = isl.dim_type.param


class SizeSet:
    """A set of sizes: for each name an integer, decided exactly.

    Example:
        >>> from jaxconv.shapes.sets import SizeSet
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
        """All positive sizes of these names for which the condition holds, in isl's notation."""
        given = names.split() if isinstance(names, str) else list(names)
        positive = [f"{name} >= 1" for name in given] + ([f"({where})"] if where else [])
        return cls(isl.Set(f"[{', '.join(given)}] -> {{ : {' and '.join(positive) or 'true'} }}"))

    def contains(self, **sizes: int) -> bool:
        """Whether these sizes, one for each name, are in the set."""
        if set(sizes) != set(self.names):
            raise TypeError(f"contains() takes {', '.join(self.names)}, not {', '.join(sizes)}.")
        return not self._fix(sizes).is_empty()

    def is_empty(self) -> bool:
        """Whether no sizes are in the set."""
        return self.points.is_empty()

    def smallest(self) -> dict[str, int]:
        """The smallest sizes, by the first name, then the next; an empty set has none."""
        if self.is_empty():
            raise ValueError("an empty set has no smallest sizes.")
        rest, found = self.points, {}
        for name in self.names:
            found[name] = _least(rest, name)
            rest = _fix(rest, name, found[name])
        return found

    def subject(self) -> tuple[str, ...]:
        """The names on which it depends whether sizes are in the set."""
        positive = SizeSet.parse(self.names).points

        def free(name: str) -> isl.Set:
            points = self.points.eliminate(PARAM, _position(self.points, name), 1)
            return points.intersect(positive)

        return tuple(name for name in self.names if not free(name).is_subset(self.points))

    def nearest(self, point: dict[str, int]) -> dict[str, int]:
        """Sizes of the set close to a point: name by name the next larger one, else the next."""
        rest, found = self.points, {}
        for name in self.names:
            above = rest.intersect(_condition(rest, f"{name} >= {point[name]}"))
            value = _most(rest, name) if above.is_empty() else _least(above, name)
            found[name] = value
            rest = _fix(rest, name, value)
        return found

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

    def __sub__(self, other: "SizeSet") -> "SizeSet":
        return SizeSet(self.points.subtract(other.points))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SizeSet) and self.points.is_equal(other.points)

    def __hash__(self) -> int:
        return hash(self.names)

    def __le__(self, other: "SizeSet") -> bool:
        return self.points.is_subset(other.points)

    def _fix(self, sizes: dict[str, int]) -> isl.Set:
        points = self.points
        for name, value in sizes.items():
            points = _fix(points, name, operator.index(value))
        return points

    def __str__(self) -> str:
        return _set_text(self)

    def __repr__(self) -> str:
        return f"SizeSet({self})"


def names_of(points: isl.Set) -> tuple[str, ...]:
    """The names that a set is about."""
    return tuple(str(points.get_dim_name(PARAM, i)) for i in range(points.dim(PARAM)))


def _position(points: isl.Set, name: str) -> int:
    return points.find_dim_by_name(PARAM, name)


def _fix(points: isl.Set, name: str, value: int) -> isl.Set:
    return points.fix_val(PARAM, _position(points, name), isl.Val(value))


def _condition(points: isl.Set, text: str) -> isl.Set:
    return isl.Set(f"[{', '.join(names_of(points))}] -> {{ : {text} }}")


def _least(points: isl.Set, name: str) -> int:
    """The least value of a name; every size has one."""
    low, _ = bounds(points, isl.PwAff(f"[{name}] -> {{ [({name})] }}"))
    assert low is not None
    return low


def _most(points: isl.Set, name: str) -> int:
    """The largest value of a name that has one."""
    _, high = bounds(points, isl.PwAff(f"[{name}] -> {{ [({name})] }}"))
    assert high is not None
    return high


def bounds(points: isl.Set, formula: isl.PwAff) -> tuple[int | None, int | None]:
    """The least and the largest value of a formula over a set, None where there is no bound."""
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


def _set_text(sizes: SizeSet) -> str:
    """Write a set as a person would: one condition a name, or several sets joined by "or"."""
    sizes = sizes & SizeSet.parse(sizes.names)
    if sizes.is_empty():
        return "no size"
    each = [_alone(sizes.points, name) for name in sizes.names]
    product = functools.reduce(isl.Set.intersect, each)
    if product.is_equal(sizes.points):
        found = [_line_text(line, n) for line, n in zip(each, sizes.names, strict=True)]
        return _gather([text for text in found if text]) or "every size"
    parts = [SizeSet(isl.Set.from_basic_set(p)) for p in sizes.points.get_basic_sets()]
    if len(parts) > 1:
        return " or ".join(f"({part})" for part in parts)
    return _conditions_text(sizes.points)


def _gather(texts: list[str]) -> str:
    """Join conditions; names that are multiples of the same number share one."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, multiple, number = text.partition(" a multiple of ")
        found.setdefault(f" multiples of {number}" if multiple else text, []).append(name)
    parts = []
    for text, names in found.items():
        alone = text.replace(" multiples", " a multiple")
        plural = " and ".join(names) + text
        single = names[0] + alone if text.startswith(" ") else text
        parts.append(plural if len(names) > 1 else single)
    return ", ".join(parts)


def _alone(points: isl.Set, name: str) -> isl.Set:
    """What a set says of one name, whatever the others."""
    place = _position(points, name)
    for i in range(points.dim(PARAM)):
        points = points if i == place else points.eliminate(PARAM, i, 1)
    return points


def _line_text(points: isl.Set, name: str) -> str:
    """A set that depends on one name only; nothing where it is every size."""
    low, high = bounds(points, isl.PwAff(f"[{name}] -> {{ [({name})] }}"))
    if low is None or (low, high) == (1, None):
        text = "" if _condition(points, f"{name} >= 1").is_subset(points) else None
    elif low == high:
        text = f"{name} = {low}"
    elif high is None:
        text = f"{name} >= {low}"
    else:
        text = f"{low} <= {name} <= {high}" if low > 1 else f"{name} <= {high}"
    if text is not None and _condition(points, text or f"{name} >= 1").is_subset(points):
        return text
    multiples = _condition(points, f"{name} >= 1 and {name} mod {low} = 0")
    return f"{name} a multiple of {low}" if multiples.is_equal(points) else _conditions_text(points)


def _conditions_text(points: isl.Set) -> str:
    """What isl writes of a set, without its frame, and without what is always true."""
    text = str(points.gist(SizeSet.parse(names_of(points)).points))
    inside = text[text.index("{") + 1 : text.rindex("}")].strip().removeprefix(":").strip()
    return inside.replace(" and ", ", ")
