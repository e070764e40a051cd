"""Loops that add numbers to variables, with sizes as with numbers."""

import itertools

import jax
import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv.prover import explore
from tests.support.networks import Network
from tests.support.oracle import disagreement


def down_to(x):
    n = x.shape[1]
    while n > 7:
        n -= 2
    return x[:, :n]


def down_to_a_size(x):
    b, n = x.shape
    while n >= b:
        n = n - 1
    return jnp.pad(x, ((0, 0), (0, 20)))[:, : n + 3]


def up_to(x):
    n = 0
    while n < x.shape[1]:
        n += 8
    return jnp.pad(x, [(0, 0), (0, n - x.shape[1])])


def up_by_a_number(x, step=3):
    n = 1
    while not_yet := n <= x.shape[1]:
        n += step
    return x[:, : n - not_yet]


def by_a_number(x, step=3):
    n = 1
    while n <= x.shape[1]:
        n += step
    return jnp.zeros(n)


def counted(x):
    n, turns, rest = x.shape[1], 0, 100
    while 3 <= n:  # noqa: SIM300 - the size is on the right
        n -= 3
        turns += 1
        rest = rest - 2
    return jnp.zeros((n + 1, turns + 1, rest + x.shape[1]))


def towards_each_other(x):
    low, high = 0, x.shape[1]
    while low < high:
        low += 1
        high -= 2
    return jnp.zeros((low, high + 5))


def with_an_else(x):
    n = x.shape[1]
    while n > 6:
        n = n - 2
        if n == 6:
            break
    else:
        x = x[:, :2]
    return x


def with_breaks(x):
    n, count = x.shape[1], 0
    while n != 3:
        if count > 5:
            break
        n -= 1
        count += 1
        if n < -4:
            break
    return jnp.zeros((n + 5, count + 1))


def with_a_break_before(x):
    n = 0
    while n < 20:
        if n >= x.shape[1]:
            break
        n += 3
    return jnp.zeros(n)


def within_a_loop(x):
    n = x.shape[1]
    for _ in range(3):
        while n > x.shape[0]:
            n -= 4
        n += 5
    return jnp.zeros(n + 2)


def twice(x):
    n = x.shape[1]
    while n > 4:
        n -= 3
    while n < 9:
        n += 4
    return jnp.zeros(n)


def without_need(x):
    n = 1
    while n * n < x.shape[1]:
        n += 1
    return x + jnp.float32(n)


def by_products(x):
    n = 1
    while 2 * n * (n + 3) <= x.shape[1]:
        n += 1
    return x, n


def by_a_multiple_of_a_size(x):
    n = 1
    while n * x.shape[0] < x.shape[1]:
        n += 1
    return x


def of_a_product(x):
    n = x.shape[1]
    while n * 2 > 9:
        n -= 1
    return x[:, :n]


def in_a_jitted_function(x):
    @jax.jit
    def inner(x):
        n = x.shape[1]
        while n > 5:
            n -= 5
        return x[:, :n]

    return inner(x)


def with_an_effect(x):
    n, seen = x.shape[1], []
    while n > 2:
        n -= 1
        seen.append(n)
    return jnp.zeros(len(seen) + 1)


def asking_an_iterator(x):
    n, numbers = x.shape[1], itertools.count()
    while n > next(numbers):
        n -= 1
    return jnp.zeros((n + 1, next(numbers)))


def with_a_variable_of_an_inner_function(x):
    n = x.shape[1]

    def half():
        return n // 2

    while n > 3:
        n -= 1
    return x[:, : half() + 1]


def with_a_step_that_changes(x):
    n, step = x.shape[1], 1
    while n > 2:
        n -= step
        step += 1
    return jnp.zeros(n + 20)


def needed(x):
    n = 1
    while n * n < x.shape[1]:
        n += 1
    return x[:, :n]


DECIDED = (
    down_to, down_to_a_size, up_to, by_a_number, counted, towards_each_other, with_an_else,
    with_breaks, with_a_break_before, within_a_loop, twice, without_need, by_products, of_a_product,
    in_a_jitted_function,
)  # fmt: skip
OTHERS = (
    up_by_a_number, with_an_effect, asking_an_iterator, with_a_variable_of_an_inner_function,
    with_a_step_that_changes, needed, by_a_multiple_of_a_size,
)  # fmt: skip


@pytest.mark.parametrize("fn", DECIDED + OTHERS, ids=lambda fn: fn.__name__)
def test_verdicts_on_loops_are_those_of_numbers(fn, monkeypatch):
    monkeypatch.setattr(explore, "TRACES", 60)
    network = Network(fn, ("b n",), returns=None, layers=())
    verdict = jc.check(fn, "b n")
    points = [{"b": b, "n": n} for b in (1, 6) for n in (*range(1, 18), 50, 51)]
    decided = [point for point in points if not verdict.untried.contains(**point)]
    assert not any(disagreement(network, verdict, point) for point in decided)
    assert verdict.untried.is_empty() or fn in OTHERS
