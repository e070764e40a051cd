"""Masks of NumPy over positions that count, with sizes as with numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.symbolic.masks import Line
from tests.support.networks import Network
from tests.support.oracle import disagreement

PROGRAMS = {
    "a remainder": lambda x: x[:, np.arange(x.shape[1]) % 2 == 0],
    "another remainder": lambda x: x[:, np.arange(x.shape[1]) % 5 == 3],
    "no such remainder": lambda x: x[:, np.arange(x.shape[1]) % 3 == 3],
    "a negative divisor": lambda x: x[:, np.arange(x.shape[1]) % -3 == -1],
    "of rows": lambda x: x[np.arange(len(x)) % 3 == 1],
    "not a remainder": lambda x: x[:, np.arange(x.shape[1]) % 2 != 1],
    "other remainders": lambda x: x[:, np.arange(x.shape[1]) % 3 != 1],
    "inverted": lambda x: x[:, ~(np.arange(x.shape[1]) % 2 == 0)],
    "inverted by NumPy": lambda x: x[:, np.logical_not(np.arange(x.shape[1]) < 3)],
    "truth": lambda x: x[..., (np.arange(x.shape[1]) % 2).astype(bool)],
    "truth of more remainders": lambda x: x[..., (np.arange(x.shape[1]) % 3).astype(bool)],
    "a bit": lambda x: x[:, (np.arange(x.shape[1]) & 1) == 1],
    "bits of an array": lambda x: x + (np.arange(x.shape[1]) & jnp.arange(x.shape[1])),
    "two bits": lambda x: x[:, (np.arange(x.shape[1]) & 2) == 2],
    "below": lambda x: x[:, np.arange(x.shape[1]) < 3],
    "below a size": lambda x: x[:, np.arange(x.shape[1]) < x.shape[0] // 2],
    "at most": lambda x: x[:, np.arange(x.shape[1]) <= 3],
    "above": lambda x: x[:, np.arange(x.shape[1]) > x.shape[1] - 4],
    "at least": lambda x: x[:, np.arange(x.shape[1]) >= 4],
    "below a float": lambda x: x[:, np.arange(x.shape[1]) < 2.5],
    "from a start": lambda x: x[:, np.arange(2, x.shape[1] + 2) % 3 == 0],
    "from a size": lambda x: x[:, np.arange(x.shape[0], x.shape[0] + x.shape[1]) % 3 == 0],
    "from a size, bounded": lambda x: x[:, np.arange(x.shape[0], sum(x.shape)) < 6],
    "in steps": lambda x: x[:, np.arange(1, 2 * x.shape[1], 2) % 6 == 3],
    "in steps that share a factor": lambda x: x[:, np.arange(0, 4 * x.shape[1], 4) % 6 == 3],
    "in steps, bounded": lambda x: x[:, np.arange(1, 3 * x.shape[1], 3) >= 8],
    "of a small type": lambda x: x[:, np.arange(x.shape[1], dtype=np.uint8) % 3 == 0],
    "downwards": lambda x: x[:, np.arange(x.shape[1], 0, -1) % 2 == 0],
    "of another axis": lambda x: x[:, np.arange(x.shape[0]) % 2 == 0],
    "of an array of JAX": lambda x: x[:, jnp.arange(x.shape[1]) % 2 == 0],
    "written": lambda x: x.at[:, np.arange(x.shape[1]) % 2 == 0].set(0),
    "counted": lambda x: x[:, : int(np.sum(np.arange(x.shape[1]) % 4 == 1))],
    "counted by its method": lambda x: x[:, : (np.arange(x.shape[1]) < 5).sum()],
    "counted by count_nonzero": lambda x: jnp.ones(np.count_nonzero(np.arange(x.shape[1]) > 2)),
    "summed along an axis": lambda x: x.sum(1) + (np.arange(x.shape[1]) % 2 == 0).sum(axis=0),
    "positions": lambda x: x[:, np.flatnonzero(np.arange(x.shape[1]) % 3 == 2)],
    "positions of each axis": lambda x: x[:, np.nonzero(np.arange(x.shape[1]) % 3 == 2)[0]],
    "positions by where": lambda x: x[:, np.where(np.arange(x.shape[1]) >= 2)[0]],
    "a choice by where": lambda x: jnp.where(np.arange(x.shape[1]) % 2 == 0, x, 0),
    "as numbers": lambda x: x * (np.arange(x.shape[1]) % 2 == 0),
    "returned": lambda x: (np.arange(x.shape[1]) % 2 == 0, np.arange(x.shape[1])),
    "in a jitted function": jax.jit(lambda x: x[:, np.arange(x.shape[1]) % 4 == 0]),
    "under vmap": jax.vmap(lambda row: row[np.arange(row.shape[0]) % 4 == 2]),
    "in a gradient": jax.grad(lambda x: x[:, np.arange(x.shape[1]) % 2 == 1].sum()),
    "beside an index": lambda x: x[0, np.arange(x.shape[1]) % 2 == 1],
}
UNDECIDED = {"a negative divisor", "other remainders", "truth of more remainders", "two bits"}
UNDECIDED |= {"below a float", "of a small type", "downwards", "inverted by NumPy"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_verdicts_on_masks_are_those_of_numbers(name):
    network = Network(PROGRAMS[name], ("b n",), returns=None, layers=())
    verdict = jc.check(network.fn, *network.specs)
    points = [{"b": b, "n": n} for b in (1, 5) for n in range(1, 14)]
    decided = [point for point in points if not verdict.untried.contains(**point)]
    assert not any(disagreement(network, verdict, point) for point in decided)
    assert (decided == points) == (name not in UNDECIDED)


def test_positions_of_remainders_and_bounds_are_those_of_numpy():
    def listed(positions):
        return [positions.first + positions.step * i for i in range(positions.count)]

    rng = np.random.default_rng(0)
    for first, step, count, divisor in rng.integers([-9, 1, 0, 1], [9, 8, 14, 9], (99, 4)).tolist():
        line, numbers = Line(first, step, count), first + step * np.arange(count)
        for rest in range(divisor):
            found = listed(line.with_remainder(rest, divisor))
            assert found == np.flatnonzero(numbers % divisor == rest).tolist()
        for bound in range(-12, 12):
            below, others = map(listed, line.below(bound))
            assert below == np.flatnonzero(numbers < bound).tolist()
            assert others == np.flatnonzero(numbers >= bound).tolist()
