"""Slices with a stride and gathers at sizes that are formulas, against the same at numbers."""

import jax.numpy as jnp
import pytest
from jax.ad_checkpoint import checkpoint_name

import jaxconv as jc

KERNEL = jnp.ones((3, 3, 1, 1))
SIZES = {"h": 64, "w": 72}


def merged(x):
    parts = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
    return jnp.concatenate(parts, -1).sum(-1, keepdims=True)


READS = {
    "a stride along both axes": lambda x: x[:, 1::3, ::2],
    "patches that are merged": merged,
    "patches that are merged twice": lambda x: merged(jc.conv(merged(x), KERNEL)),
    "take": lambda x: jnp.take(x, jnp.arange(0, x.shape[1], 2), axis=1),
    "take, half as many": lambda x: jnp.take(x, 2 * jnp.arange(x.shape[2] // 2) + 1, axis=2),
    "arrays as indices": lambda x: x[:, jnp.arange(0, x.shape[1], 2)][
        :, :, jnp.arange(1, x.shape[2], 2)
    ],
    "one axis is a number": lambda x: x[:, :40][:, ::2, ::2],
    "indices minus one": lambda x: x[:, jnp.arange(1, x.shape[1] - 1) - 1],
    "cut off": lambda x: x[:, 2:-1, 1:],
}
UNKNOWN = {
    "squares": lambda x: jnp.take(x, jnp.arange(4) ** 2, axis=1),
    "clipped": lambda x: jnp.take(x, 2 * jnp.arange(x.shape[1]), axis=1, mode="clip"),
    "filled": lambda x: jnp.take(x, 2 * jnp.arange(x.shape[1]), axis=1, fill_value=0),
    "from the end": lambda x: jnp.take(x, -1 - jnp.arange(x.shape[1]), axis=1),
    "of few bits": lambda x: jnp.take(x, jnp.arange(x.shape[1]).astype("int8"), axis=1),
    "wrapped": lambda x: jnp.take(x, jnp.arange(x.shape[1]) + 3, axis=1, mode="wrap"),
}


def field(read, spec):
    def fn(x):
        return checkpoint_name(jc.conv(read(jc.conv(x, KERNEL)), KERNEL) * 2, "out")

    return jc.receptive_field(fn, spec, layer="out", where=WHERE if "h" in spec else None)


WHERE = "h % 8 == 0 and w % 8 == 0 and h >= 64 and w >= 64"


def number(side):
    return int(eval(str(side), {"min": min, "max": max} | SIZES))


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_formulas_say_what_numbers_say(read):
    formulas, numbers = field(read, "b h w 1"), field(read, "1 64 72 1")
    assert formulas.exact
    assert (formulas.size, formulas.stride) == (numbers.size, numbers.stride)
    assert tuple(map(number, formulas.map)) == numbers.map
    for at in ((5, 5), (6, 4)):  # far from the border of all maps
        box = tuple(tuple(map(number, interval)) for interval in formulas.box(*at))
        assert box == numbers.box(*at)


@pytest.mark.parametrize("read", UNKNOWN.values(), ids=UNKNOWN)
def test_other_indices_are_not_guessed(read):
    formulas = field(read, "b h w 1")
    assert str(formulas).startswith("out: at most ")
    assert str(formulas.size[0]) == "h + 2"  # all rows that the first convolution sees
