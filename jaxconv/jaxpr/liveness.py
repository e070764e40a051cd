"""The memory that a compiled program takes: when each buffer is needed, and where it is placed.

Kernels run as early as possible, in the order in which what they read becomes ready, as XLA's CPU
backend schedules them. Each value has a buffer from the kernel that writes it to the last one that
reads it; what the program returns has one from the start, which has other values until then. The
others are placed into one block of memory, the largest first. :mod:`jaxconv.jaxpr.fused_kernels`
says what is written. :func:`jaxconv.jaxpr.resources.peak_bytes` is for a jaxpr that is evaluated
equation by equation, where each result is written.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from jaxconv.compat import Jaxpr
from jaxconv.jaxpr.flat_jaxpr import FlatJaxpr
from jaxconv.jaxpr.fused_kernels import FusedKernel, FusedKernels
from jaxconv.jaxpr.interpreter import control_flow


class Buffer(NamedTuple):
    """The memory of a value, and of those that overwrite it.

    Attributes:
        start: when it is written, as a number of a kernel.
        end: when it is read for the last time.
        size: in bytes.
        is_result: whether the program returns it.
    """

    start: int
    end: int
    size: int
    is_result: bool = False

    def meets(self, other: "Buffer") -> bool:
        """Whether both are needed at the same time.

        Args:
            other: another buffer.
        """
        return self.start <= other.end and other.start <= self.end


def compiled_peak(jaxpr: Jaxpr, bytes_of: Callable[[Any], int]) -> int:
    """Estimate the bytes of a compiled program's buffers, without its arguments and constants.

    Args:
        jaxpr: of the program.
        bytes_of: the bytes of a variable.
    """
    flat = FlatJaxpr(jaxpr, bytes_of)
    kernels = scheduled(FusedKernels(flat).kernels)
    buffers = [*lifetimes(kernels, flat)]
    for at, kernel in enumerate(kernels):
        flow = kernel.eqn and control_flow(kernel.eqn)
        inside = [compiled_peak(body.jaxpr, bytes_of) for body in flow.bodies] if flow else []
        buffers.append(Buffer(at, at, max(inside, default=0)))
    results = [one for one in buffers if one.is_result]
    return sum(one.size for one in results) + block_size(not_in_results(buffers, results))


def scheduled(kernels: Sequence[FusedKernel]) -> list[FusedKernel]:
    """Order kernels as a queue that each enters when the last of those that it waits for has run.

    Args:
        kernels: each after those that write what it reads.
    """
    writer = {value: at for at, kernel in enumerate(kernels) for value in kernel.writes}
    waits_for = [{writer[value] for value in kernel.reads} for kernel in kernels]
    readers: list[list[int]] = [[] for _ in kernels]
    for at, writers in enumerate(waits_for):
        for one in writers:
            readers[one].append(at)
    queue = deque(at for at, writers in enumerate(waits_for) if not writers)
    order = []
    while queue:
        done = queue.popleft()
        order.append(kernels[done])
        for at in readers[done]:
            waits_for[at].remove(done)
            if not waits_for[at]:
                queue.append(at)
    return order


def lifetimes(kernels: Sequence[FusedKernel], flat: FlatJaxpr) -> Iterable[Buffer]:
    """Find from when to when each buffer is needed.

    Args:
        kernels: in the order in which they run.
        flat: the sizes and shapes of the values.
    """
    last = {value: at for at, kernel in enumerate(kernels) for value in kernel.reads}
    last |= dict.fromkeys(flat.returned, len(kernels))
    buffers: dict[int, Buffer] = {}
    for at, kernel in enumerate(kernels):
        for value in kernel.writes:
            is_result = value in flat.returned
            buffer = Buffer(at, last.get(value, at), flat.sizes[value], is_result)
            free = (one for one in sorted(kernel.reads) if last[one] == at and one in buffers)
            like = (one for one in free if flat.shapes[one] == flat.shapes[value])
            like = (one for one in like if buffers[one].size == buffer.size)
            overwritten = next(like, None) if kernel.overwrites else None
            if overwritten is not None:
                buffer = buffer._replace(start=buffers.pop(overwritten).start)
            buffers[value] = buffer
    return buffers.values()


def not_in_results(buffers: Iterable[Buffer], results: Iterable[Buffer]) -> list[Buffer]:
    """Let the buffers of results have other values before, and list the values that are not there.

    Args:
        buffers: all of them.
        results: those that the program returns.
    """
    taken = [[one] for one in sorted(results, key=lambda one: one.size)]
    rest = []
    others = [one for one in buffers if not one.is_result and one.size]
    for one in sorted(others, key=lambda one: (-one.size, -one.start)):
        for values in taken:
            if values[0].size >= one.size and not any(map(one.meets, values)):
                values.append(one)
                break
        else:
            rest.append(one)
    return rest


def block_size(buffers: Iterable[Buffer]) -> int:
    """Place buffers into a block, each into the smallest gap that it fits into, the largest first.

    Args:
        buffers: those that are placed.

    Returns:
        The bytes of the block.
    """
    placed: list[tuple[int, Buffer]] = []
    for one in sorted(buffers, key=lambda one: (-one.size, one.start)):
        at, gaps = 0, []
        for other_at, other in sorted(place for place in placed if one.meets(place[1])):
            if other_at - at >= one.size:
                gaps.append((other_at - at, at))
            at = max(at, other_at + other.size)
        placed.append((min(gaps)[1] if gaps else at, one))
    return max((at + one.size for at, one in placed), default=0)
