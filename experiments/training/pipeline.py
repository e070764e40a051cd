"""Infinite batches with Grain, in the same order for any number of processes."""

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
    """One process's share of each batch: an infinite iterator whose position can be saved.

    A thread reads ahead. :meth:`close`, or leaving a ``with`` block, ends it.

    Attributes:
        seconds_waited: total time for which ``next`` has blocked.
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
        """Return the position as JSON: the same in each process, for any number of processes."""
        return {"batches": self._iterator.get_state()["next_index"], **self._order}

    def set_state(self, state: dict[str, int]) -> None:
        """Continue from a position.

        Args:
            state: what :meth:`get_state` returned.

        Raises:
            TrainingError: it belongs to batches in another order.
        """
        if odd := [name for name, value in self._order.items() if state[name] != value]:
            differs = ", ".join(f"{name} {state[name]:,}" for name in odd)
            now = ", ".join(f"{name} {self._order[name]:,}" for name in odd)
            raise TrainingError(
                f"The run was saved with {differs}, but now has {now}, so other images would "
                "follow. Fix: resume it with the same data, or start a new run."
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
    """Yield shuffled images forever, each once per epoch, in a different order in each epoch.

    Args:
        source: the images.
        batch: images per step, over all processes. The remainder of an epoch is part of the first
            batch of the next.
        seed: seed of the order.
        process: number of this process, from 0.
        processes: number of processes.

    Returns:
        An iterator of ``{"image": uint8 (b, h, w, c), "label": int32 (b,)}``, where b is
        ``batch // processes``. The shares, concatenated in the order of the processes, do not
        depend on the number of processes.

    Raises:
        TrainingError: there are no images, or the batch cannot be split evenly.
    """
    if batch < 1 or batch % processes:
        raise TrainingError(
            f"A batch of {batch} images cannot be split over {processes} "
            f"process{'es' * (processes > 1)}. Fix: pass --data.batch a multiple of {processes}."
        )
    if not len(source):
        raise TrainingError("There are no images to train with. Fix: add some to the data set.")
    return Batches(source, batch=batch, seed=seed, process=process, processes=processes)


def _order(count: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from ascending positions in the infinite order to image indices.

    Grain's own shuffle looks up one position at a time, which takes 50 us for small data sets.
    """

    @functools.lru_cache(maxsize=2)
    def epoch(number: int) -> np.ndarray:
        return np.random.default_rng([seed, number]).permutation(count)

    def images(places: np.ndarray) -> np.ndarray:
        first, last = places[0] // count, places[-1] // count
        epochs = np.concatenate([epoch(number) for number in range(first, last + 1)])
        return epochs[places - first * count]

    return images
