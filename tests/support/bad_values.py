"""Calls with one argument that makes no sense; run as a script, it prints the raw errors as JSON.

It runs as a script for the reason that ``mistakes.py`` gives. An error is raw if it is not one of
this package, or has no fix.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv as jc


class WithoutRepr:
    """Its ``repr`` fails."""

    def __repr__(self):
        raise RuntimeError


class WithoutLength:
    """It cannot be iterated or compared."""

    __hash__ = None

    def __len__(self):
        raise RuntimeError

    def __iter__(self):
        raise RuntimeError

    def __eq__(self, other):
        raise RuntimeError


BAD = [
    None, True, "", "SAME", "h >", "1/0", "(" * 500, b"SAME", -1, 0, 3, 2**31, 2**63, -(2**63),
    10**5000, 1.5, float("nan"), float("inf"), 1j, [], [[]], (), ((),), {}, {"b": "x"}, {1: 2}, {1},
    range(3), np.zeros((1, 8, 8, 3)), np.zeros((0, 8, 8, 3)), np.zeros(()), np.array([1, 2]),
    np.array("x"), np.array([None]), np.array(["2020-01-01"], "datetime64"), np.ma.masked,
    jnp.zeros((1, 8, 8, 3)), jax.random.key(0), jax.ShapeDtypeStruct((2,), jnp.int32),
    WithoutRepr(), WithoutLength(), object(), int, ..., slice(1), (1, "a"), (1, None),
    ((1, 2), (3,)), iter([1, 2]), np.dtype("float32"), jnp.bfloat16, *jc.sizes("n"),
]  # fmt: skip
X, KERNEL, BIAS = (np.ones(s, np.float32) for s in ((1, 8, 8, 3), (3, 3, 3, 4), (4,)))


def network(x):
    return jc.conv(x, KERNEL)


WINDOW = {"stride": 1, "padding": "SAME", "layout": "NHWC"}
CONV = {**WINDOW, "dilation": 1, "groups": 1}
SUM = {"precision": None, "preferred_element_type": None}
# Calls that are right, of which one argument after the other is replaced.
CALLS = {
    "conv": ((X, KERNEL, BIAS), {**CONV, **SUM}),
    "conv_transpose": ((X, KERNEL, BIAS), {**CONV, **SUM, "output_padding": 0}),
    "conv_shape": ((X.shape, KERNEL.shape), CONV),
    "max_pool": ((X, 2), WINDOW),
    "avg_pool": ((X, 2), {**WINDOW, "count_padding": False}),
    "pool_shape": ((X.shape, 2), WINDOW),
    "global_avg_pool": ((X,), {"layout": "NHWC"}),
    "flatten": ((X,), {}),
    "dense": ((X[0, 0], KERNEL[0, 0], BIAS), {"preferred_element_type": None}),
    "sizes": (("b h",), {"where": "h > 2"}),
    "contract": (("b h w 3 -> b h w 4",), {"where": ""}),
    "check": ((network, "b 8 8 3"), {"returns": "b 8 8 4", "where": None, "timeout": 5}),
    "summary": ((network, "2 8 8 3"), {"where": None, "at": {}, "padded_taps": True}),
    "receptive_field": ((network, "2 8 8 3"), {"layer": 1, "layout": None}),
    "neuron": ((network, X), {"layer": 1, "at": (2, 3), "channel": 0, "image": 0}),
    "feature_maps": ((network,), {"layers": None}),
    "show": (({"conv": X},), {"count": 2, "image": 0, "layout": None}),
    "draw": (
        (network, "2 8 8 3"), {"title": None, "where": None, "at": None, "layout": None}
    ),
    "explore": ((network, X), {"layers": None, "title": None, "layout": "NHWC"}),
    "compile": ((network, X), {"donate": False}),
    "jit": ((network,), {}),
    "VGG": (
        ([(2,)],),
        {"head": None, "classes": 3, "channels": 3, "dropout": 0.5, "batch_norm": False,
         "rngs": nnx.Rngs(0)},
    ),
}  # fmt: skip
REPLACED = {
    "check": (1, "returns", "where", "timeout"),
    "summary": ("where", "at", "padded_taps"),
    "draw": ("title", "where", "at", "layout"),
}


def raw_errors(name):
    """What a function raises for bad values, but for what it should."""
    args, options = CALLS[name]
    for slot in REPLACED.get(name, (*range(len(args)), *options)):
        for bad in BAD:
            given, named = list(args), dict(options)
            (given if isinstance(slot, int) else named)[slot] = bad
            try:
                getattr(jc, name)(*given, **named)
            except (jc.ShapeError, jc.Undecided) as error:
                if isinstance(error, jc.ShapeError) and "Fix: " not in str(error):
                    yield f"{slot}={type(bad).__name__}: {error}"
            except Exception as error:
                yield f"{slot}={type(bad).__name__}: {type(error).__name__}: {error}"


if __name__ == "__main__":
    print(json.dumps({name: [*raw_errors(name)] for name in sys.argv[1:] or CALLS}))
