"""Batches: the same images in the same order on any number of processes, and again after a stop."""

import json
import threading
import time
from itertools import islice

import numpy as np
import pytest

from experiments.training.images import Source, whole
from experiments.training.pipeline import batches
from experiments.training.recipes import TrainingError

RANDOM = np.random.default_rng(20)
ALONE = {"process": 0, "processes": 1}


@pytest.fixture(scope="module")
def source():
    """60 random images, each with a label of its own, of which every other is of this split."""
    images = RANDOM.integers(0, 256, (60, 5, 4, 3), np.uint8)
    return Source(images, RANDOM.permutation(60).astype(np.int32), np.arange(0, 60, 2))


def dealt(source, count, *, after=0, **options):
    """Labels and images of the first batches."""
    with batches(source, **{"batch": 12, "seed": 3, **ALONE, **options}) as some:
        found = [*islice(some, after, after + count)]
    return [np.stack([batch[name] for batch in found]) for name in ("label", "image")]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("start", [0, 7])
def test_shares_put_together_are_the_batches_of_one_process(source, processes, start):
    expected = dealt(source, 9, seed=start)
    shares = [
        dealt(source, 9, seed=start, process=p, processes=processes) for p in range(processes)
    ]
    for whole_batch, *parts in zip(expected, *shares, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole_batch)


def test_images_come_with_their_labels_in_their_types(source):
    labels, images = dealt(source, 5)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
    assert (images.shape, labels.shape) == ((5, 12, 5, 4, 3), (5, 12))
    for image, label in zip(images.reshape(60, 5, 4, 3), labels.ravel(), strict=True):
        np.testing.assert_array_equal(image, source.images[source.labels == label][0])


def test_each_epoch_has_each_image_once_in_another_order(source):
    labels, _ = dealt(source, 10, batch=15)
    epochs = labels.reshape(5, 30)
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(sorted(source.labels[source.rows]))}
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_what_is_left_over_fills_the_next_batch(source):
    np.testing.assert_array_equal(
        dealt(source, 15, batch=8)[0].ravel(), dealt(source, 8, batch=15)[0].ravel()
    )


def test_seeds_share_no_epoch(source):
    """Not even one seed's second with the next seed's first."""
    orders = {tuple(e) for seed in range(4) for e in dealt(source, 4, batch=30, seed=seed)[0]}
    assert len(orders) == 16


@pytest.mark.parametrize(
    ("before", "after"), [(1, 1), (1, 2), (2, 1), (4, 2)], ids=lambda processes: f"{processes}"
)
def test_a_saved_position_goes_on_exactly_on_any_count_of_processes(source, before, after):
    states = []
    for process in range(before):
        with batches(source, batch=12, seed=5, process=process, processes=before) as some:
            [*islice(some, 7)]
            states.append(json.loads(json.dumps(some.get_state())))
    assert all(state == states[0] for state in states)
    expected, _ = dealt(source, 6, after=7, seed=5)
    found = []
    for process in range(after):
        with batches(source, batch=12, seed=5, process=process, processes=after) as some:
            next(some)
            some.set_state(states[0])
            found.append(np.stack([batch["label"] for batch in islice(some, 6)]))
            assert some.get_state()["batches"] == 13
    np.testing.assert_array_equal(np.concatenate(found, axis=1), expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": 15}, "saved with batch 12, but now has batch 15"),
        ({"seed": 6}, "saved with seed 5, but now has seed 6"),
        ({"batch": 6, "seed": 4}, "saved with batch 12, seed 5, but now has batch 6, seed 4"),
    ],
)
def test_a_position_in_another_order_is_refused(source, change, said):
    with batches(source, batch=12, seed=5, **ALONE) as some:
        state = some.get_state()
    with (
        batches(source, **{"batch": 12, "seed": 5, **ALONE, **change}) as other,
        pytest.raises(TrainingError, match=said),
    ):
        other.set_state(state)


def test_a_position_in_other_data_is_refused(source):
    with batches(source, batch=12, seed=5, **ALONE) as some:
        state = some.get_state()
    with (
        batches(whole(source.images, source.labels), batch=12, seed=5, **ALONE) as other,
        pytest.raises(TrainingError, match="saved with images 30, but now has images 60"),
    ):
        other.set_state(state)


def test_a_batch_that_cannot_be_shared_is_refused(source):
    with pytest.raises(TrainingError, match="batch of 10 images cannot be split over 4 processes"):
        batches(source, batch=10, seed=0, process=0, processes=4)
    with pytest.raises(TrainingError, match="batch of 0 images cannot be split over 1 process"):
        batches(source, batch=0, seed=0, process=0, processes=1)


def test_no_images_are_refused(source):
    empty = Source(source.images, source.labels, np.arange(0))
    with pytest.raises(TrainingError, match="There are no images"):
        batches(empty, batch=4, seed=0, process=0, processes=1)


class Slow(Source):
    def read(self, indices):
        time.sleep(0.05)
        return super().read(indices)


def test_waiting_is_measured_and_reading_goes_on_meanwhile(source):
    slow = Slow(source.images, source.labels, source.rows)
    with batches(slow, batch=12, seed=0, process=0, processes=1) as some:
        next(some)
        assert 0.04 < some.seconds_waited < 1
        time.sleep(0.4)  # two batches or more are read ahead
        before = some.seconds_waited
        next(some), next(some)
        assert some.seconds_waited - before < 0.04


def test_closing_ends_the_thread(source):
    with batches(source, batch=12, seed=0, process=0, processes=1) as some:
        next(some)
        reading = [t for t in threading.enumerate() if "grain-prefetch" in t.name]
        assert reading
    for thread in reading:
        thread.join(5)
    assert not any(thread.is_alive() for thread in reading)
