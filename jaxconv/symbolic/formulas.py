"""Formulas of sizes as a person writes them: ``h//32``, ``(h + 7)//8``, ``h % 16``."""

import islpy as isl

from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.sums import PARAM, Sum, bracket


def factor_text(affine: isl.PwAff) -> str:
    """Write a formula as a factor of a product.

    Args:
        affine: the formula.

    Returns:
        Its text, in brackets where it needs them.
    """
    return bracket(formula_text(affine))


def formula_text(affine: isl.PwAff) -> str:
    """Write a formula as Python does.

    Args:
        affine: the formula.

    Returns:
        Its text, case by case where it has several.
    """
    pieces = affine.get_pieces()
    if len(pieces) > 1:  # what is left of sizes below 1 is not said
        names = [str(affine.get_dim_name(PARAM, i)) for i in range(affine.dim(PARAM))]
        every = SizeSet.parse(names)
        pieces = [one for one in pieces if not one[0].params().is_disjoint(every.points)]
    if len(pieces) == 1:
        return str(Sum.of(pieces[0][1]))
    if len(pieces) == 2:
        one, other = (isl.PwAff.from_aff(aff) for _, aff in pieces)
        texts = [str(Sum.of(aff)) for _, aff in pieces]
        both = ", ".join(sorted(texts, key=lambda text: (text.lstrip("-").isdigit(), len(text))))
        for name, extreme in (("min", one.min(other)), ("max", one.max(other))):
            if affine.domain().is_subset(affine.eq_set(extreme)):
                return f"{name}({both})"
    cases = [f"{Sum.of(aff)} if {SizeSet(where.params())}" for where, aff in pieces[:-1]]
    return " else ".join([*cases, str(Sum.of(pieces[-1][1]))])
