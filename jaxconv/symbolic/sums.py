"""Sums of names and floors as a person writes them, and conditions that compare them with 0."""

from dataclasses import dataclass

import islpy as isl

PARAM = isl.dim_type.param
DIV = isl.dim_type.div


@dataclass(frozen=True)
class Sum:
    """A quasi-affine formula to be written.

    Attributes:
        names: names with their coefficients.
        floors: floors of fractions: the coefficient, the numerator and the denominator of each.
        constant: the number that is added.
    """

    names: dict[str, int]
    floors: tuple[tuple[int, "Sum", int], ...]
    constant: int

    @classmethod
    def of(cls, aff: isl.Aff) -> "Sum":
        """Read one piece of a formula of isl.

        Args:
            aff: the piece.

        Returns:
            The same formula, as short as it is found.
        """
        whole = aff.scale_val(aff.get_denominator_val())
        names = {}
        for i in range(whole.dim(PARAM)):
            if k := whole.get_coefficient_val(PARAM, i).to_python():
                names[whole.get_dim_name(PARAM, i)] = k
        floors = []
        for i in range(whole.dim(DIV)):
            if k := whole.get_coefficient_val(DIV, i).to_python():
                inner = whole.get_div(i)
                top = inner.scale_val(inner.get_denominator_val())
                floors.append((k, cls.of(top), inner.get_denominator_val().to_python()))
        numerator = cls(names, tuple(floors), whole.get_constant_val().to_python())._simplified()
        denominator = aff.get_denominator_val().to_python()
        # A fraction is whole on its domain, so that its floor is the same and reads as Python.
        return numerator if denominator == 1 else cls({}, ((1, numerator, denominator),), 0)

    def _simplified(self) -> "Sum":
        """Prefer ``(h + 7)//8`` to ``(h - 1)//8 + 1``, and ``(h + 1)//2`` to ``h - h//2``."""
        if len(self.floors) != 1:
            return self
        ((k, top, bottom),) = self.floors
        if k == -1 and self.names:
            # n - top//d is (d*n - top + d - 1)//d, n being the rest of the sum.
            names = {name: bottom * k for name, k in self.names.items()}
            for name, k in top.names.items():
                names[name] = names.get(name, 0) - k
            names = {name: k for name, k in names.items() if k}
            floors = tuple((-k, inner, d) for k, inner, d in top.floors)
            numerator = Sum(names, floors, bottom * self.constant - top.constant + bottom - 1)
            return Sum({}, ((1, numerator, bottom),), 0)
        if k > 0 and self.constant % k == 0 and not self.names:
            raised = Sum(top.names, top.floors, top.constant + bottom * (self.constant // k))
            return Sum({}, ((k, raised, bottom),), 0)
        return self

    def _remainder(self) -> str | None:
        """The text of ``k*(h % 16) + e``, which is ``k*h - 16*k*(h//16) + e``."""
        if len(self.floors) != 1:
            return None
        ((floor, top, bottom),) = self.floors
        k, rest = divmod(-floor, bottom)
        if rest or top.floors or self.names != {name: k * i for name, i in top.names.items()}:
            return None
        text = f"{bracket(str(Sum(top.names, (), top.constant)))} % {bottom}"
        text = text if abs(k) == 1 else f"{abs(k)}*({text})"
        constant = self.constant - k * top.constant
        if k < 0:
            return f"{constant} - {text}" if constant else f"-({text})"
        return f"{text} {'-' if constant < 0 else '+'} {abs(constant)}" if constant else text

    def __str__(self) -> str:
        if (remainder := self._remainder()) is not None:
            return remainder
        terms = [(k, name) for name, k in self.names.items()]
        terms += [(k, f"{bracket(str(top))}//{bottom}") for k, top, bottom in self.floors]
        if self.constant or not terms:
            terms.append((self.constant, ""))
        if terms[0][0] < 0:
            terms.sort(key=lambda term: term[0] < 0)
        text = ""
        for k, name in terms:
            number = "" if name and abs(k) == 1 else str(abs(k)) + "*" * bool(name)
            bracketed = "//" in name and (number or (k == -1 and not text))
            sign = " - " if k < 0 else " + "
            text += sign if text else sign.strip(" +")
            text += number + (f"({name})" if bracketed else name)
        return text


def bracket(text: str) -> str:
    """Put a text in brackets.

    Args:
        text: a formula.

    Returns:
        The text as it is if it is a name, else in brackets.
    """
    return text if text.isidentifier() else f"({text})"


def conditions_of(part: isl.BasicSet) -> list[str]:
    """Write the conditions of a set that is described by constraints joined by "and".

    Args:
        part: the set, without names of its own for what exists.

    Returns:
        The conditions, such as ``"w <= h + 2"`` or ``"h a multiple of 4"``; those that always hold
        are left out.
    """
    equalities, orders = [], []
    ranges: dict[str, tuple[int | None, int | None]] = {}
    for constraint in conditions_that_matter(part):
        if constraint.is_equality():
            equalities.append(_equality(Sum.of(constraint.get_aff())))
            continue
        one = Sum.of(constraint.get_aff())
        if len(one.names) == 1 and not one.floors and abs(next(iter(one.names.values()))) == 1:
            ((name, sign),) = one.names.items()
            low, high = ranges.get(name, (None, None))
            ranges[name] = (-one.constant, high) if sign > 0 else (low, one.constant)
        else:
            orders.append(_order(one))
    between = []
    for name, (low, high) in ranges.items():
        if high is None:
            between.append(f"{name} >= {low}")
        else:
            between.append(f"{name} <= {high}" if low is None else f"{low} <= {name} <= {high}")
    return [*equalities, *between, *orders]


def conditions_that_matter(part: isl.BasicSet) -> list[isl.Constraint]:
    """List the constraints of a set that do not always hold.

    Args:
        part: the set, without names of its own for what exists.

    Returns:
        The constraints.
    """
    every = isl.BasicSet.universe(part.space)
    constraints = []
    for constraint in part.get_constraints():
        aff = constraint.get_aff()
        holds = aff.eq_basic_set if constraint.is_equality() else aff.ge_basic_set
        zero = aff.sub(aff)
        if not every.is_subset(holds(zero)):
            constraints.append(constraint)
    return constraints


def _sides(one: Sum) -> tuple[Sum, Sum]:
    """A sum as the difference of two without minus signs."""

    def side(sign: int) -> Sum:
        names = {name: sign * k for name, k in one.names.items() if sign * k > 0}
        floors = tuple((sign * k, top, d) for k, top, d in one.floors if sign * k > 0)
        return Sum(names, floors, max(sign * one.constant, 0))

    return side(1), side(-1)


def _order(one: Sum) -> str:
    """That a sum is at least 0, where ``h - 3*(h//3)`` is written as ``h % 3``."""
    names, floors = dict(one.names), []
    for k, top, divisor in one.floors:
        times, rest = divmod(-k, divisor)
        ((name, by),) = top.names.items() if len(top.names) == 1 else (("", 0),)
        if rest or by != 1 or top.floors or top.constant or names.get(name) != times:
            floors.append((k, top, divisor))
            continue
        del names[name]
        names[f"{name} % {divisor}" if abs(times) == 1 else f"({name} % {divisor})"] = times
    one = Sum(names, tuple(floors), one.constant)
    larger, smaller = _sides(one)
    if not one.floors and len(one.names) == 1:
        ((name, k),) = one.names.items()
        if name.endswith(" % 2") or (k > 0 and one.constant == -1 and " % " in name):
            # A remainder, such as h % 3, is not 0, or it is.
            top, number = name.strip("()").rsplit(" % ", 1)
            if not top.isidentifier():
                return f"{name} >= 1" if k > 0 else f"{name} = 0"
            is_odd = number == "2" and k > 0
            return f"{top} odd" if is_odd else f"{top} {'not ' * (k > 0)}a multiple of {number}"
    if (larger.names or larger.floors) and not (smaller.names or smaller.floors):
        return f"{larger} >= {smaller}"
    return f"{smaller} <= {larger}"


def _equality(one: Sum) -> str:
    """That a sum is 0."""
    if len(one.floors) == 1:
        ((k, top, divisor),) = one.floors
        sign = 1 if k < 0 else -1
        names = {name: sign * i for name, i in one.names.items()}
        if (names, sign * one.constant, -sign * k) == (top.names, top.constant, divisor):
            # The sum is top - divisor*(top//divisor) or its negative: top is a multiple.
            sign = -1 if all(k < 0 for k in top.names.values()) else 1
            bare = Sum({name: sign * k for name, k in top.names.items()}, top.floors, 0)
            rest = -sign * top.constant % divisor
            if str(bare).isidentifier() and rest == 0:
                return f"{bare} a multiple of {divisor}"
            if str(bare).isidentifier() and divisor == 2:
                return f"{bare} odd"
            return f"{bracket(str(bare))} % {divisor} = {rest}"
    left, right = _sides(one)
    names = [name for side in (right, left) for name, k in side.names.items() if k == 1]
    for name in sorted(names, reverse=True):
        side, other = (left, right) if name in left.names else (right, left)
        if side.names == {name: 1} and not side.floors:
            value = Sum(other.names, other.floors, other.constant - side.constant)
            return f"{name} = {value}"
    return f"{left} = {right}"
