"""The kernels that a compiler makes of a jaxpr, and the buffers that they read and write.

The rules are those of XLA, as its buffer assignment shows them:

- Elementwise operations are fused with what reads them. Convolutions, products, pools and long
  reductions read buffers, so that an operand of theirs is written.
- Others that read the same value compute it again, from the buffers that it is computed from. These
  are kept until then: the inputs of an addition and a ReLU, rather than their result. Only what is
  expensive (a division, an exponential), and what has two large operands, is written once for all.
- Operands whose axes are in another order are copied first, as in the gradient of a kernel.
- The gradient of a max pool is made of the indices of the maxima, one number for each axis.
"""

import functools
import math
from collections.abc import Sequence, Set
from operator import or_
from typing import Any, NamedTuple

from jaxconv.compat import FUSES_LAST_AXIS, JaxprEqn
from jaxconv.jaxpr.flat_jaxpr import FlatEquation, FlatJaxpr, is_elementwise
from jaxconv.jaxpr.interpreter import FlowKind, control_flow, shape_of
from jaxconv.jaxpr.patch_reader import Axes
from jaxconv.jaxpr.primitives import record_of

MOST_FUSED_PARTS = 8  # of a concatenation
LONGEST_FUSED_REDUCTION = 32  # numbers along an axis; XLA reduces more of them in groups first
INDEX_BYTES = 4
POOL_GRADIENT = "select_and_scatter_add"


class FusedKernel(NamedTuple):
    """One operation of a compiled program, with all that is fused with it.

    Attributes:
        reads: numbers of the values whose buffers it reads.
        writes: numbers of the values that it writes.
        overwrites: whether a result may have the buffer of an operand of its shape.
        eqn: the equation of the jaxpr; None where several are fused, and for a part of one.
    """

    reads: frozenset[int]
    writes: tuple[int, ...]
    overwrites: bool = False
    eqn: JaxprEqn | None = None


def is_fused(one: FlatEquation) -> bool:
    """Whether an operation is computed where its result is used.

    Args:
        one: the equation.
    """
    if record_of(one.eqn).concatenates:
        is_last = one.eqn.params.get("dimension") == len(shape_of(one.eqn.outvars[0])) - 1
        return len(one.operands) <= MOST_FUSED_PARTS and (FUSES_LAST_AXIS or not is_last)
    return is_elementwise(one.eqn)


def computes_operands(one: FlatEquation) -> bool:
    """Whether an operation computes elementwise operands as it reads them.

    Args:
        one: the equation.
    """
    if record_of(one.eqn).kind != "reduction":
        return is_fused(one)
    shape = shape_of(one.eqn.invars[0])
    return all(shape[axis] <= LONGEST_FUSED_REDUCTION for axis in one.eqn.params.get("axes", ()))


def orders(one: FlatEquation) -> Sequence[Axes | None]:
    """For each operand that is copied how its axes are ordered; None for the others.

    Args:
        one: the equation.
    """
    copied = record_of(one.eqn).copied
    return copied(one.eqn) if copied else [None] * len(one.operands)


class FusedKernels:
    """Makes kernels of the equations of a jaxpr.

    Attributes:
        kernels: in the order of the jaxpr.
    """

    def __init__(self, flat: FlatJaxpr) -> None:
        """Make the kernels.

        Args:
            flat: the jaxpr. Values that are not in it, such as copies, are added to it.
        """
        self.kernels: list[FusedKernel] = []
        self._flat = flat
        self._copies: dict[Any, int] = {}
        self._readers: dict[int, list[FlatEquation]] = {}
        self._writer: dict[int, FlatEquation] = {}
        self._depends_on = [0] * len(flat.sizes)  # a bit for each value
        self._broadcast = set[int]()
        for one in flat.equations:
            for value in {*one.inputs}:
                self._readers.setdefault(value, []).append(one)
            self._writer.update(dict.fromkeys(one.outputs, one))
            before = functools.reduce(or_, (self._depends_on[v] | 1 << v for v in one.inputs), 0)
            for value in one.outputs:
                self._depends_on[value] = before
            if one.eqn.primitive.name in ("broadcast_in_dim", "iota"):
                self._broadcast.update(one.outputs)
            is_matrix = record_of(one.eqn).is_matrix
            if is_matrix and is_matrix(one.eqn):
                shape = flat.shapes[one.outputs[0]]
                flat.shapes[one.outputs[0]] = (math.prod(shape[:-1]), *shape[-1:])
        self._computed_by: dict[int, set[int]] = {}
        self._kept, self._written = set[int](), set[int]()
        for one in reversed(flat.equations):
            if is_fused(one):
                self._choose(one)
        # The buffers that a value is computed from.
        self._roots: dict[int, frozenset[int]] = dict.fromkeys(flat.given, frozenset())
        for one in flat.equations:
            self._add(one)

    def _choose(self, one: FlatEquation) -> None:
        """Decide whether the result of a fused operation is written, and whether all read it."""
        (value,) = one.outputs
        readers = self._readers.get(value, [])
        is_buffer = value in self._flat.returned or any(_reads(r, value) for r in readers)
        where = {value} if is_buffer else set[int]()
        for reader in readers:
            if is_fused(reader):
                where |= self._computed_by[reader.outputs[0]]
            elif not _reads(reader, value):  # a short reduction, or a copy
                where.add(-1 - reader.outputs[0])
        if len(where) > 1 and (record_of(one.eqn).expensive or self._is_sum_of_maps(one, readers)):
            self._kept.add(value)
            where = {value}
        if is_buffer or value in self._kept:
            self._written.add(value)
        self._computed_by[value] = where

    def _is_sum_of_maps(self, one: FlatEquation, readers: Sequence[FlatEquation]) -> bool:
        """Whether a result is cheaper to read than its operands, and not fused with all readers."""
        (value,) = one.outputs
        size = math.prod(self._flat.shapes[value])
        read = {*one.inputs} - self._broadcast
        if sum(math.prod(self._flat.shapes[v]) >= size for v in read) < 2:
            return False
        return not all(computes_operands(r) and self._fuses_into(value, r) for r in readers)

    def _fuses_into(self, value: int, reader: FlatEquation) -> bool:
        """Whether a reader gets a value only from operations that are fused with it."""
        pending, seen = [reader], {value}
        while pending:
            for operand in {*pending.pop().inputs} - seen:
                seen.add(operand)
                if self._depends_on[operand] >> value & 1:
                    writer = self._writer[operand]
                    if operand in self._kept or not is_fused(writer):
                        return False
                    pending.append(writer)
        return True

    def _add(self, one: FlatEquation) -> None:
        """Add the kernels of an equation."""
        roots = [frozenset[int]() if v is None else self._roots[v] for v in one.operands]
        computed = frozenset[int]().union(*roots)
        for value in one.outputs:
            is_root = not is_fused(one) or value in self._kept
            self._roots[value] = frozenset([value]) if is_root else computed
        if is_fused(one):
            if self._written.issuperset(one.outputs):
                self.kernels.append(FusedKernel(computed, one.outputs, overwrites=True))
            return
        reads = computed if computes_operands(one) else self._operands(one, roots)
        if one.eqn.primitive.name == POOL_GRADIENT:
            reads = self._locate_maxima(one, reads)
        flow = control_flow(one.eqn)
        is_loop = flow is not None and flow.kind is FlowKind.LOOP
        self.kernels.append(FusedKernel(reads, one.outputs, overwrites=is_loop, eqn=one.eqn))

    def _operands(self, one: FlatEquation, roots: list[frozenset[int]]) -> frozenset[int]:
        """The buffers that an operation reads, after operands in another order have been copied."""
        reads = set[int]()
        for v, order, computed in zip(one.operands, orders(one), roots, strict=True):
            if v is not None and order is not None:
                if (v, order) not in self._copies:
                    self._copies[v, order] = self._flat.add(self._flat.sizes[v])
                    self.kernels.append(FusedKernel(computed, (self._copies[v, order],)))
                reads.add(self._copies[v, order])
            elif v is not None and v not in self._flat.given:
                reads.add(v)
        return frozenset(reads)

    def _locate_maxima(self, one: FlatEquation, reads: frozenset[int]) -> frozenset[int]:
        """Add the kernels that find the maxima of a pool, by the numbers of all positions.

        Args:
            one: the gradient of the pool.
            reads: the buffers of the gradients and of the map.

        Returns:
            The buffers that the gradients are read from, and added to.
        """
        flat, (pooled, _) = self._flat, one.operands
        shape, padding = shape_of(one.eqn.invars[1]), one.eqn.params["padding"]
        padded = math.prod(n + sum(pad) for n, pad in zip(shape, padding, strict=True))
        windows, rank = math.prod(shape_of(one.eqn.invars[0])), len(shape)
        itemsize = one.eqn.outvars[0].aval.dtype.itemsize  # type: ignore[attr-defined]

        def add(reads: Set[int], *sizes: int) -> set[int]:
            written = tuple(flat.add(size) for size in sizes)
            self.kernels.append(FusedKernel(frozenset(reads), written))
            return {*written}

        numbers = set[int]().union(*(add(set(), INDEX_BYTES * padded) for _ in shape))
        of_map = reads - {pooled}
        if any(map(any, padding)):
            of_map = add(of_map, itemsize * padded)
        found = add(numbers | of_map, *[INDEX_BYTES * windows] * rank, itemsize * windows)
        indices = add(found, INDEX_BYTES * windows * rank)
        readers = self._readers.get(one.outputs[0], [])
        if len(readers) != 1 or not record_of(readers[0].eqn).adds:  # else it is added to the other
            indices |= add(set(), itemsize * padded)
        return frozenset(indices | (reads & {pooled}))


def _reads(one: FlatEquation, value: int) -> bool:
    """Whether an operation reads the buffer of a value, rather than computing or copying it."""
    operands = zip(one.operands, orders(one), strict=True)
    return not computes_operands(one) and any(v == value and not order for v, order in operands)
