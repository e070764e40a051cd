"""Formulas of sizes as a person writes them: ``h//32``, ``(h + 7)//8``, ``h % 16``."""

from dataclasses import dataclass

import islpy as isl

from jaxconv.symbolic.sets import PARAM, SizeSet

DIV = isl.dim_type.div


def factor_text(affine: isl.PwAff) -> str:
    """Write a formula as a factor of a product.

    Args:
        affine: the formula.

    Returns:
        Its text, in brackets where it needs them.
    """
    return _bracket(formula_text(affine))


def formula_text(affine: isl.PwAff) -> str:
    """Write a formula as Python does.

    Args:
        affine: the formula.

    Returns:
        Its text, case by case where it has several.
    """
    pieces = affine.get_pieces()
    if len(pieces) == 1:
        return str(_Sum.of(pieces[0][1]))
    cases = [f"{_Sum.of(aff)} if {SizeSet(where.params())}" for where, aff in pieces[:-1]]
    return " else ".join([*cases, str(_Sum.of(pieces[-1][1]))])


@dataclass(frozen=True)
class _Sum:
    """An affine formula to be written: names and floors with coefficients, and a constant."""

    names: dict[str, int]
    floors: tuple[tuple[int, "_Sum", int], ...]  # coefficient, numerator, denominator
    constant: int

    @classmethod
    def of(cls, aff: isl.Aff) -> "_Sum":
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

    def _simplified(self) -> "_Sum":
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
            numerator = _Sum(names, floors, bottom * self.constant - top.constant + bottom - 1)
            return _Sum({}, ((1, numerator, bottom),), 0)
        if k > 0 and self.constant % k == 0 and not self.names:
            raised = _Sum(top.names, top.floors, top.constant + bottom * (self.constant // k))
            return _Sum({}, ((k, raised, bottom),), 0)
        return self

    def __str__(self) -> str:
        if len(self.floors) == 1:  # h - 16*(h//16) is h % 16
            ((k, top, bottom),) = self.floors
            same = (self.names, self.constant, ()) == (top.names, top.constant, top.floors)
            if same and k == -bottom:
                return f"{_bracket(str(top))} % {bottom}"
        terms = [(k, name) for name, k in self.names.items()]
        terms += [(k, f"{_bracket(str(top))}//{bottom}") for k, top, bottom in self.floors]
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


def _bracket(text: str) -> str:
    return text if text.isidentifier() else f"({text})"
