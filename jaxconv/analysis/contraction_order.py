"""Whether the order in which an einsum contracts its operands depends on their sizes.

Of three operands or more ``jnp.einsum`` contracts the two first that cost least. Where sizes are
formulas, JAX takes the number 8 for each of them, so that the order may be another one for numbers.

The cost of an order is a sum of products of sizes. Where each of them has each size once, it is
linear in every size, and an order that costs least in all corners of a box costs least inside it.
"""

import contextlib
import itertools
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import jax

from jaxconv.compat import (
    default_contraction_order,
    einsum_orders_by_dimension,
    require_supported_jax,
)
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import Size, value_at
from jaxconv.symbolic.trace import SymbolicTrace

POWERS: tuple[int, ...] = (
    0,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    14,
    20,
)  # of two: the sizes at which orders are compared


class Contraction(NamedTuple):
    """An einsum of several contractions whose operands have symbolic sizes.

    Attributes:
        trace: the run.
        operands: the subscripts, and the operands without their numbers.
        options: as JAX passes them to opt_einsum.
        order: the contractions, in the order that JAX chose.
    """

    trace: SymbolicTrace
    operands: tuple[Any, ...]
    options: dict[str, Any]
    order: list[Any]

    def holds_at(self, point: dict[str, int]) -> bool:
        """Tell whether JAX chooses the same order for numbers.

        Args:
            point: a number for each size.

        Returns:
            Whether it does.
        """
        numbers = [
            jax.ShapeDtypeStruct(tuple(value_at(n, point) for n in one.shape), one.dtype)
            if isinstance(one, jax.ShapeDtypeStruct)
            else one
            for one in self.operands
        ]
        _, contractions = default_contraction_order(*numbers, **self.options)
        return _order(contractions) == self.order


def _order(contractions: Any) -> list[Any]:
    return [contraction[:3] for contraction in contractions]


@contextlib.contextmanager
def recorded_contractions() -> Iterator[list[Contraction]]:
    """Record the einsums of symbolic sizes that are traced meanwhile.

    Yields:
        The list, which grows.
    """
    require_supported_jax()
    contractions: list[Contraction] = []

    def record(*operands: Any, **options: Any) -> Any:
        chosen = default_contraction_order(*operands, **options)
        arrays = [one for one in operands if hasattr(one, "dtype")]
        sizes = [size for one in arrays for size in one.shape if isinstance(size, Size)]
        if len(chosen[1]) > 1:
            kept = tuple(
                jax.ShapeDtypeStruct(one.shape, one.dtype) if hasattr(one, "dtype") else one
                for one in operands
            )
            order = _order(chosen[1])
            contractions.append(Contraction(sizes[0].trace, kept, options, order))
        return chosen

    einsum_orders_by_dimension[Size] = record
    try:
        yield contractions
    finally:
        del einsum_orders_by_dimension[Size]


def sizes_of_other_orders(contractions: list[Contraction], sizes: SizeSet) -> list[dict[str, int]]:
    """Find sizes for which JAX contracts in another order.

    Args:
        contractions: einsums of one trace.
        sizes: the sizes to consider.

    Returns:
        Some such sizes, the smallest first; none where the order is always the same.
    """
    if not contractions:
        return []
    names, ends = sizes.names, (POWERS[0], POWERS[-1])
    grid = {*itertools.product(ends, repeat=len(names))}
    for power, other in itertools.product(POWERS, ends):
        grid.add((power,) * len(names))
        for place in range(len(names)):
            grid.add((*[other] * place, power, *[other] * (len(names) - place - 1)))
    points: dict[tuple[int, ...], dict[str, int]] = {}
    for powers in grid:
        point = dict(zip(names, (2**power for power in powers), strict=True))
        if not sizes.contains(**point):
            point = sizes.nearest(point)
        points[tuple(point.values())] = point
    return [
        points[numbers]
        for numbers in sorted(points, key=prod)
        if not all(one.holds_at(points[numbers]) for one in contractions)
    ]
