"""Batches without end, by Grain: the same images in the same order on any number of processes."""

import functools
import sys
import time
from collections.abc import Callable

import grain
import numpy as np

from experiments.training.images import Source
from experiments.training.recipes import TrainingError

Batch = dict[str, np.ndarray]


class Batches:
    """One process's share of each batch: an iterator without end whose position can be saved.

    A thread reads ahead; :meth:`close`, or leaving a ``with``, ends it.

    Attributes:
        seconds_waited: how long ``next`` has blocked so far, in all.
    """

    def __init__(
        self, source: Source, *, batch: int, seed: int, process: int, processes: int
    ) -> None:
        self.seconds_waited = 0.0
        self._order = {"images": len(source), "batch": batch, "seed": seed}
        order, own = _order(len(source), seed), batch // processes
        mine = process * own + np.arange(own)

        def share(step: int) -> Batch:
            images, labels = source.read(order(step * batch + mine))
            return {"image": images, "label": labels}

        steps = grain.MapDataset.range(sys.maxsize // batch).map(share)
        ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
        self._iterator = iter(steps.to_iter_dataset(ahead))

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        batch = next(self._iterator)
        self.seconds_waited += time.perf_counter() - start
        return batch

    def get_state(self) -> dict[str, int]:
        """The position, as JSON can hold it: the same for each process and each count of them."""
        return {"batches": self._iterator.get_state()["next_index"], **self._order}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on where :meth:`get_state` was called.

        Raises:
            TrainingError: it was called on batches of another order.
        """
        if odd := [name for name, value in self._order.items() if state[name] != value]:
            differs = ", ".join(f"{name} {state[name]:,}" for name in odd)
            now = ", ".join(f"{name} {self._order[name]:,}" for name in odd)
            raise TrainingError(
                f"The run was saved with {differs}, but now has {now}: other images would follow. "
                "Fix: resume it with the same data, or begin a new run."
            )
        self._iterator.set_state({"next_index": state["batches"]})

    def close(self) -> None:
        """End the thread that reads ahead."""
        self._iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def batches(source: Source, *, batch: int, seed: int, process: int, processes: int) -> Batches:
    """Deal out shuffled images without end, each once an epoch, each epoch in another order.

    Args:
        source: the images.
        batch: images a step, over all processes; what is left over at the end of an epoch fills
            the first batch of the next.
        seed: decides the order.
        process: which process this is, from 0.
        processes: how many there are.

    Returns:
        An iterator of ``{"image": uint8 (b, h, w, c), "label": int32 (b,)}``, where b is
        ``batch // processes``; put together in the order of the processes, the shares are the same
        whatever their count.

    Raises:
        TrainingError: there are no images, or a batch cannot be shared evenly.
    """
    if batch < 1 or batch % processes:
        raise TrainingError(
            f"A batch of {batch} images cannot be shared by {processes} "
            f"process{'es' * (processes > 1)}. Fix: pass --data.batch a multiple of {processes}."
        )
    if not len(source):
        raise TrainingError("There are no images to train with. Fix: add some to the data set.")
    return Batches(source, batch=batch, seed=seed, process=process, processes=processes)


def _order(count: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function from places in the endless order, ascending, to the images there.

    Grain's own shuffle asks for one place at a time, and takes 50 us for it where images are few.
    """

    @functools.lru_cache(maxsize=2)
    def epoch(number: int) -> np.ndarray:
        return np.random.default_rng([seed, number]).permutation(count)

    def images(places: np.ndarray) -> np.ndarray:
        first, last = places[0] // count, places[-1] // count
        epochs = np.concatenate([epoch(number) for number in range(first, last + 1)])
        return epochs[places - first * count]

    return images
