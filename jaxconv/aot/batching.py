"""Images in small groups through many layers, rather than all images through one layer.

The maps of a few images stay in the cache from one layer to the next, and the program needs less
memory, which the system would have to fetch and clear in every call.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from math import prod

import jax
from jax import lax

from jaxconv.aot.fusion import Step, axes_of
from jaxconv.aot.program import Values, variables
from jaxconv.compat import Jaxpr, Var
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.primitives import record_of

GROUP_BYTES = 16 * 2**20  # of the maps that a layer reads and writes, for one group of images
NUMBER = 4  # bytes of a float32


@dataclass(frozen=True)
class Group:
    """Steps that so many images go through at a time.

    Attributes:
        images: of a group; divides the batch.
        steps: in order.
    """

    images: int
    steps: Sequence[Step]

    def compute(self, values: Values, images: set[Var], later: Iterable[Var]) -> Values:
        """Compute the steps, a few images at a time.

        Args:
            values: all that was computed before.
            images: the variables whose first axis is the batch.
            later: what is read after the group.

        Returns:
            What is read later.
        """
        made = {_result(step) for step in self.steps}
        taken = [v for v in dict.fromkeys(_read(self.steps)) if v in images and v not in made]
        given = [v for v in dict.fromkeys(later) if v in made]
        steps = [step.prepared(values) for step in self.steps]

        def part(arrays: list[jax.Array]) -> list[jax.Array]:
            local = values | dict(zip(taken, arrays, strict=True))
            run(steps, local)
            return [local[v] for v in given]

        cut = [values[v].reshape(-1, self.images, *shape_of(v)[1:]) for v in taken]
        results = lax.map(part, cut)
        return {v: y.reshape(shape_of(v)) for v, y in zip(given, results, strict=True)}


def run(steps: Iterable[Step], values: Values) -> None:
    """Compute one step after the other."""
    for step in steps:
        values.update(zip(step.equations[-1].outvars, step.compute(values), strict=True))


def run_in_groups(steps: Sequence[Step], jaxpr: Jaxpr, values: Values) -> None:
    """Compute all steps; the first ones in groups, as far as each image goes its own way."""
    moving = [*_moving(steps, jaxpr)]
    run((step for step in steps if not any(step is m for m in moving)), values)
    images = set(jaxpr.invars)
    separate = [*_separate(moving, images)]
    done = 0
    for group in _groups(separate, images):
        done += len(group.steps)
        later = chain(_read(moving[done:]), variables(jaxpr.outvars))
        values.update(group.compute(values, images, later))
    run(moving[done:], values)


def _moving(steps: Iterable[Step], jaxpr: Jaxpr) -> Iterator[Step]:
    """The steps that depend on the arguments."""
    known = set(jaxpr.invars)
    for step in steps:
        if known.intersection(_read([step])):
            known.update(step.equations[-1].outvars)
            yield step


def _separate(steps: Iterable[Step], images: set[Var]) -> Iterator[Step]:
    """The first steps, up to one in which images meet; their results join ``images``."""
    batches = {shape_of(v)[:1] for v in images}
    if len(batches) != 1 or batches & {(), (0,)}:
        return
    for step in steps:
        if not _keeps_apart(step, images):
            return
        images.add(_result(step))
        yield step


def _keeps_apart(step: Step, images: set[Var]) -> bool:
    """Whether the first axis is the batch in all that a step reads and makes of images."""
    first, last = step.equations[0], step.equations[-1]
    read = [v for v in _read([step]) if v in images]
    if shape_of(last.outvars[0])[:1] != shape_of(read[0])[:1]:
        return False
    record = record_of(first)
    if record.kind == "convolution":
        return read == [first.invars[0]] and all(axes.images == (0,) for axes in axes_of(first))
    if record.pooling is not None and record.pooling.name == "max" and record.window:
        batch = record.window(first)[0]
        return batch.kernel_size == 1 and not any(batch.padding)
    others = [v for v in first.invars if not (isinstance(v, Var) and v in images)]
    whole = all(shape_of(v) == shape_of(last.outvars[0]) for v in read)
    return record.keeps_positions and whole and all(_is_one(v) for v in others)


def _is_one(atom: object) -> bool:
    """Whether an operand is the same for all images."""
    return shape_of(atom)[:1] in ((), (1,))


def _groups(steps: Sequence[Step], images: set[Var]) -> Iterator[Group]:
    """Cut steps where another number of images fits into the cache; whole batches are no group."""
    parts = [(min(_fitting(step, images) for step in part), part) for part in _parts(steps, images)]
    while parts and parts[-1][0] == shape_of(_result(parts[-1][1][-1]))[0]:
        parts.pop()
    for size, same in groupby(parts, lambda part: part[0]):
        yield Group(size, [step for _, part in same for step in part])


def _parts(steps: Iterable[Step], images: set[Var]) -> Iterator[list[Step]]:
    """Cut steps where maps have become smaller: what goes from group to group takes least."""
    part: list[Step] = []
    for step in steps:
        part.append(step)
        if _size(_result(step)) < max(_size(v) for v in _read([step]) if v in images):
            yield part
            part = []
    if part:
        yield part


def _fitting(step: Step, images: set[Var]) -> int:
    """How many images' maps fit into the cache."""
    maps = [v for v in (*_read([step]), _result(step)) if v in images]
    batch = shape_of(maps[0])[0]
    image = NUMBER * sum(map(_size, maps)) // batch
    return max(
        n for n in range(1, batch + 1) if batch % n == 0 and n * image <= max(GROUP_BYTES, image)
    )


def _read(steps: Iterable[Step]) -> Iterator[Var]:
    """What steps read, but what they make themselves on the way."""
    for step in steps:
        inside = {v for eqn in step.equations[:-1] for v in eqn.outvars}
        atoms = (v for eqn in step.equations for v in eqn.invars)
        yield from (v for v in variables(atoms) if v not in inside)


def _result(step: Step) -> Var:
    return step.equations[-1].outvars[0]


def _size(v: Var) -> int:
    return prod(shape_of(v))
