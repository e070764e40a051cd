"""Small groups of images pass through many layers, rather than all images through one layer.

The maps of a few images stay in the cache from one layer to the next. The program also needs less
memory, which the operating system would have to provide and clear in every call.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from math import prod

import jax
from jax import lax

from jaxconv.aot.fusion import Instruction, axes_of, is_max_pool
from jaxconv.aot.program import Environment
from jaxconv.compat import Jaxpr, Var
from jaxconv.jaxpr.interpreter import shape_of, variables
from jaxconv.jaxpr.primitives import record_of

GROUP_BYTES = 16 * 2**20  # of the maps that a layer reads and writes, per group of images
ITEM_BYTES = 4  # of a float32


@dataclass(frozen=True)
class BatchGroup:
    """Instructions that a part of the batch passes through at a time.

    Attributes:
        images: of a part; divides the batch.
        instructions: in order.
    """

    images: int
    instructions: Sequence[Instruction]

    def compute(
        self, environment: Environment, images: set[Var], later: Iterable[Var]
    ) -> Environment:
        """Compute the instructions, a few images at a time.

        Args:
            environment: all values that were computed before.
            images: the variables whose first axis is the batch.
            later: the variables that are read after the group.

        Returns:
            The values of those that the group computes.
        """
        results = {_result(instruction) for instruction in self.instructions}
        read = dict.fromkeys(_read_by(self.instructions))
        inputs = [v for v in read if v in images and v not in results]
        outputs = [v for v in dict.fromkeys(later) if v in results]
        instructions = [instruction.prepare(environment) for instruction in self.instructions]

        def part(arrays: list[jax.Array]) -> list[jax.Array]:
            local = environment | dict(zip(inputs, arrays, strict=True))
            run_instructions(instructions, local)
            return [local[v] for v in outputs]

        parts = [environment[v].reshape(-1, self.images, *shape_of(v)[1:]) for v in inputs]
        arrays = lax.map(part, parts)
        return {v: y.reshape(shape_of(v)) for v, y in zip(outputs, arrays, strict=True)}


def run_instructions(instructions: Iterable[Instruction], environment: Environment) -> None:
    """Compute one instruction after the other.

    Args:
        instructions: in order.
        environment: the values of all variables that they read; their results are added.
    """
    for instruction in instructions:
        results = instruction.compute(environment)
        environment.update(zip(instruction.equations[-1].outvars, results, strict=True))


def run_in_groups(
    instructions: Sequence[Instruction], jaxpr: Jaxpr, environment: Environment
) -> None:
    """Compute all instructions; in groups of images until the images of a batch are combined.

    Args:
        instructions: of the whole trace.
        jaxpr: the trace.
        environment: the values of its constants and arguments; all results are added.
    """
    dependent, moving, constant = set(jaxpr.invars), [], []
    for instruction in instructions:
        if dependent.intersection(_read_by([instruction])):
            dependent.update(instruction.equations[-1].outvars)
            moving.append(instruction)
        else:
            constant.append(instruction)
    run_instructions(constant, environment)
    splitter = _BatchSplitter(jaxpr)
    done = 0
    for group in splitter.groups([*splitter.separable(moving)]):
        done += len(group.instructions)
        later = chain(_read_by(moving[done:]), variables(jaxpr.outvars))
        environment.update(group.compute(environment, splitter.images, later))
    run_instructions(moving[done:], environment)


class _BatchSplitter:
    """Splits the instructions of a trace into groups, as far as images are kept apart.

    Attributes:
        images: the variables whose first axis is the batch.
    """

    def __init__(self, jaxpr: Jaxpr) -> None:
        self.images = set(jaxpr.invars)

    def separable(self, instructions: Iterable[Instruction]) -> Iterator[Instruction]:
        """The instructions before the first that combines images; adds results to ``images``."""
        batches = {shape_of(v)[:1] for v in self.images}
        if len(batches) != 1 or batches & {(), (0,)}:
            return
        for instruction in instructions:
            if not self.keeps_apart(instruction):
                return
            self.images.add(_result(instruction))
            yield instruction

    def read_images(self, instruction: Instruction) -> list[Var]:
        """The maps that an instruction reads."""
        return [v for v in _read_by([instruction]) if v in self.images]

    def keeps_apart(self, instruction: Instruction) -> bool:
        """Whether the first axis is the batch in all maps that are read and computed."""
        first, last = instruction.equations[0], instruction.equations[-1]
        read = self.read_images(instruction)
        if not last.outvars:  # a callback, which takes the whole batch
            return False
        if shape_of(last.outvars[0])[:1] != shape_of(read[0])[:1]:
            return False
        record = record_of(first)
        if record.kind == "convolution":
            return read == [first.invars[0]] and all(a.images == (0,) for a in axes_of(first))
        if is_max_pool(record) and record.window:
            batch = record.window(first)[0]
            return batch.kernel_size == 1 and not any(batch.padding)
        others = [v for v in first.invars if not (isinstance(v, Var) and v in self.images)]
        is_whole = all(shape_of(v) == shape_of(last.outvars[0]) for v in read)
        is_shared = all(shape_of(v)[:1] in ((), (1,)) for v in others)  # the same for all images
        return record.keeps_positions and is_whole and is_shared

    def groups(self, instructions: Sequence[Instruction]) -> Iterator[BatchGroup]:
        """Split where another number of images fits into the cache, and drop whole batches."""
        segments = [
            (min(map(self.images_in_cache, segment)), segment)
            for segment in self.segments(instructions)
        ]
        while segments and segments[-1][0] == shape_of(_result(segments[-1][1][-1]))[0]:
            segments.pop()
        for count, alike in groupby(segments, lambda segment: segment[0]):
            yield BatchGroup(count, [i for _, segment in alike for i in segment])

    def segments(self, instructions: Iterable[Instruction]) -> Iterator[list[Instruction]]:
        """Split where maps become smaller: what passes from group to group is then smallest."""
        segment: list[Instruction] = []
        for instruction in instructions:
            segment.append(instruction)
            largest = max(map(_item_count, self.read_images(instruction)))
            if _item_count(_result(instruction)) < largest:
                yield segment
                segment = []
        if segment:
            yield segment

    def images_in_cache(self, instruction: Instruction) -> int:
        """The largest divisor of the batch whose maps fit into the cache, at least 1."""
        maps = [*self.read_images(instruction), _result(instruction)]
        batch = shape_of(maps[0])[0]
        image_bytes = ITEM_BYTES * sum(map(_item_count, maps)) // batch
        limit = max(GROUP_BYTES, image_bytes)
        return max(n for n in range(1, batch + 1) if batch % n == 0 and n * image_bytes <= limit)


def _read_by(instructions: Iterable[Instruction]) -> Iterator[Var]:
    """The variables that instructions read, but not the results inside an instruction."""
    for instruction in instructions:
        inside = {v for eqn in instruction.equations[:-1] for v in eqn.outvars}
        atoms = (v for eqn in instruction.equations for v in eqn.invars)
        yield from (v for v in variables(atoms) if v not in inside)


def _result(instruction: Instruction) -> Var:
    return instruction.equations[-1].outvars[0]


def _item_count(v: Var) -> int:
    return prod(shape_of(v))
