"""Traps: functions that do otherwise for a formula than for a number. Never a wrong answer.

To add one, write a line in ``EXACT`` with the condition on the sizes that it accepts, or in
``NEVER_WRONG`` where it may stay undecided. Every verdict is compared with tracing size by size.
"""

import collections
import contextlib
import copy
import dataclasses
import enum
import functools
import itertools
import linecache
import math
import operator
import pprint
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxconv as jc
from tests.support.networks import Network
from tests.support.oracle import disagreement, grid, names_of

POINTS = 24  # sizes at which a verdict is compared


def at_least(n, x):
    if x.shape[1] < n:
        raise ValueError("too small")
    return x


class Kind(enum.Enum):
    SMALL = 14
    LARGE = 28


def of_kind(x):
    try:
        return x[:, : Kind(x.shape[1]).value // 2]
    except ValueError:
        return x


@functools.cache
def half(n):
    return n // 2


def matched(x):
    match x.shape[1]:
        case 7:
            return x[:, :3]
        case 14.0 | 28:
            return x[:, :5]
        case _:
            return x


def first_of_a_set(x):
    n = at_least(17, x).shape[1] + 5
    return jnp.zeros(next(iter({n, 6})))  # the hash of 95 is that of 7 in a set of 8 places


def met_first(x):
    for n in {x.shape[1], 5}:
        if n > 6:
            return x
        if n < 6:
            raise ValueError("too small")
    return x


def odd_of_three(x):
    x = x - x[2:]  # fits for three images
    n = x.shape[1]
    return x[:, :2] if type(n) is int and n > 8 else x


def named(x):
    if x.shape[1] <= 3:
        raise ValueError(f"{x.shape[1]} is too small: {x.shape[1] / 3:.2f}")
    return x


def wrapper(x):
    return x[:, :2] if x.shape[1] in {7, 14} else x


def convert_to_index(x):
    return x[:, :2] if x.shape[1] in {7, 14} else x


def added(x):
    seen = set()
    for n in x.shape:
        seen.add(n)
    return x[:, :2] if 14 in seen else x


def grouped(x):
    groups = collections.defaultdict(list)
    for n in (*x.shape, 28):
        groups[n % 2].append(n)
    return jnp.zeros(len(groups[0]) + 1)


def typed(source):
    """The function f of a source that was typed into Python."""
    scope = {"jnp": jnp, "lax": lax}
    exec(compile(source, "<stdin>", "exec"), scope)
    return scope["f"]


@functools.singledispatch
def third(n):
    raise TypeError(f"not a number: {n}")


@third.register
def _(n: int):
    return n // 3


def is_int(x):
    match x.shape[1]:
        case int():
            return x[:, :2]
        case _:
            raise TypeError("not an int")


def listed_errors(x):
    errors = []
    if x.shape[1] % 3:
        errors.append(f"{x.shape[1]} of " + ", ".join(str(n) for n in x.shape))
    if errors:
        raise ValueError("; ".join(errors))
    return x


@dataclasses.dataclass
class Grid:
    size: int

    def __str__(self):
        return f"a grid of {self.size}, {self!r}"


Point = collections.namedtuple("Point", "x")


def described_in_an_error(x):
    if x.shape[1] % 3:
        raise ValueError(f"not for {Grid(x.shape[1])} or {Point(x.shape[1])}")
    return x


def chained_errors(x):
    try:
        assert x.shape[1] % 3 == 0, f"bad sizes: {x.shape}"
    except AssertionError as error:
        raise ValueError(f"not for this layer: {error}") from error
    return x


def named_in_a_helper(x):
    def name(n):
        return f"h{n}"

    return x[:, :2] if name(x.shape[1]) == "h14" else x


def read_from_an_error(x):
    try:
        if x.shape[1] > 3:
            raise ValueError(f"{x.shape[1]} is too large")
    except ValueError as error:
        return x[:, :2] if str(error).startswith("14 ") else x
    return x


def passes_an_error_on(x):
    try:
        return x + jnp.ones(14)
    except IndexError:
        return x


def root_or_row(x):
    try:
        math.sqrt(x.shape[1] - 28)
    except ValueError:
        return x[:, :1]
    return x


def bits_of(x):
    for i in range(x.shape[1].bit_length()):
        x = x + i
    return at_least(5, x)


def of_two_rows(x):
    x = x[:, :2]
    return jnp.stack([x[:, ::2], x[:, 1::2]]).sum(0)


def repeated(x):
    for i in range(x.shape[1] // 8):
        x = x.at[:, i].set(0.0) * i
    return at_least(12, x)


def by_newton(x):
    root = x.shape[1] / 2.5
    for _ in range(60):
        root = 0.5 * (root + x.shape[1] / root)
    return x * root


def doubled(function):
    """A function of a number that occurs 2**60 times in how it is computed."""

    def program(x):
        number = function(x.shape[1])
        for _ in range(60):
            number = number + number
        return x * (1 / number) if x.shape[1] != 5 else x

    return program


def doubled_side(x):
    number = math.sqrt(x.shape[1])
    for _ in range(60):
        number = number * 0.25 + number * 0.25
    return jnp.zeros(int(number) % 3)


def by_its_sign(x):
    slope = (x.shape[1] * 0.1 - 0.3) / x.shape[0]  # 3*0.1 is above 0.3
    return x[:, :1] if slope > 0 else x[:, 1:]


def emptied(x):
    x = jnp.minimum(x, x[:, 3:])  # of one row and of none, which is none
    return x[:, : x.shape[0] + 1]  # of no row: for numbers, JAX leaves the slice out


def summed(x):
    total = 0
    for row in x:
        total = total + row
    return total


def strided(x):
    for i in range(x.shape[1] - 1, 0, -2):
        x = x + x[:, i : i + 1] if i else x
    return x


def quartered(x):
    while x.shape[1] > 1:
        x = x[:, : (x.shape[1] + 3) // 4]
    return x


def after_the_first_row(x):
    rows = x.T[:-1]
    _, later = lax.scan(lambda c, row: (c + row, c), x[:, 0], rows[1:])
    return jnp.concatenate([x[:, :1].T, later])


def resized(x):
    return [jax.image.resize(x, (x.shape[0], n), "linear") for n in (3, 5, 7, 9, 11)]


def odd_and_even(x, *, axis=1):
    """The sum of the columns of odd and of even numbers, which fit, or are one."""
    even = [slice(None)] * axis + [slice(None, None, 2)]
    odd = [slice(None)] * axis + [slice(1, None, 2)]
    return x[tuple(even)] + x[tuple(odd)]


def caught_misfit(x):
    try:
        return odd_and_even(x)
    except TypeError:
        return x[:, :3]


def pad_to_even(n):
    if n % 2 == 0:
        return (0, 0)
    return (0, 1)


def two_or_three(n):
    if n % 2 == 0:
        return 2
    return 3


def noted(notes, n):
    notes.append(n)
    return 1 if n % 2 else 2


def number_of_notes(x):
    notes = []
    noted(notes, x.shape[1])
    noted(notes, x.shape[1] + 1)
    return x[:, : len(notes)]


CALLS = {"all": 0, "odd": 0}


def counted(n):
    CALLS["all"] += 1
    if n % 2:
        CALLS["odd"] += 1
    return 3 if n % 2 else 2


def number_of_calls(x):
    CALLS.update(all=0, odd=0)
    counted(x.shape[1])
    return x[:, : CALLS["all"] + CALLS["odd"]]


def swallowed_order(n):
    try:
        large = n > 3
    except:  # noqa: E722 - that is the trap
        large = True
    return 3 if large else 1


def not_for_thirds(n):
    if n % 3 == 0:
        raise ValueError("a multiple of 3")
    return n // 3


def ones_for(n):
    return (1,) if n % 2 else (1, 1)


def is_large(n):
    return n > 5


def area(b, h):
    return b * h if h > b else h


def gap(b, h):
    if h > b:
        return h - b
    return b - h + 1


class Padder:
    def __init__(self, step):
        self.step = step

    def missing(self, n, *, least=3):
        if n < least:
            return least - n
        for step in [self.step]:
            rest = n % step
        return step - rest if rest else 0


MESH = AbstractMesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def sharded(function, inputs, outputs):
    return jax.shard_map(function, mesh=MESH, in_specs=inputs, out_specs=outputs)


# A function of an array with the spec "b h", and the h that it accepts.
MANY = "h <= 67108864"  # the largest size that is examined
EXACT = {
    # Quotients of two formulas that take few values, and of a product by a number.
    "a pool of a part": (lambda x: jnp.zeros(x.shape[1] // (x.shape[1] // 5 + 1) + 1), ""),
    "a falling quotient": (lambda x: jnp.zeros(9 + (3 - 4 * x.shape[1]) // (x.shape[1] + 1)), ""),
    # Polynomials of one size.
    "a square by its half": (
        lambda x: jnp.zeros((x.shape[0], x.shape[1], x.shape[1])).reshape(
            x.shape[0], (x.shape[1] + 1) // 2, -1
        ),
        "h = 1 or h mod 2 = 0",
    ),
    "a square by a multiple": (
        lambda x: jnp.zeros(x.shape[1] ** 2).reshape(-1, x.shape[1] // 4 * 4),
        "h mod 4 = 0 or h = 6",
    ),
    "a square by a size less a number": (
        lambda x: jnp.zeros(x.shape[1] ** 2).reshape(-1, x.shape[1] - 3),
        "h = 4 or h = 6 or h = 12",
    ),
    "a quotient of one size": (lambda x: jnp.zeros(x.shape[1] ** 2 // (x.shape[1] + 3) + 1), ""),
    "a square above a multiple": (
        lambda x: x if x.shape[1] ** 2 > 28 * (x.shape[1] // 3) else x[:, :2],
        "",
    ),
    "a step of a part": (lambda x: x[:, :: max(1, x.shape[1] // 10)], ""),
    "every fourth": (lambda x: jnp.concatenate([x.ravel(), jnp.zeros(9)])[::4], ""),
    "a third of all": (lambda x: x.ravel()[: x.size // 3], "b >= 3 or h >= 3 or b >= 2 and h >= 2"),
    "padded to a multiple": (
        lambda x: jnp.pad(x.ravel(), (0, -x.size % 4)).reshape(-1, 4),
        "",
    ),
    "padded to a multiple of a half": (
        lambda x: jnp.pad(x.ravel(), (0, -(x.size // 2) % 3)),
        "",
    ),
    "a remainder by a large number": (lambda x: jnp.zeros(x.size % 17 + 1), ""),
    "a remainder by a small number": (lambda x: jnp.zeros(x.size % 5 + 1), ""),
    "a remainder by less than 0": (lambda x: jnp.zeros(3 - x.size % -3), ""),
    "a multiple of a large number": (lambda x: x if x.size % 28 else x[:, :1], ""),
    "bits of a product": (lambda x: x * (x.size & x.shape[1]) * (x.shape[1] >> x.shape[0]), ""),
    # A size compared with a number that is not an int.
    "above a root": (lambda x: x if x.shape[1] > 50**0.5 else x[:, :1], ""),
    "above a float of 32 bits": (lambda x: x if x.shape[1] >= np.float32(7.3) else x[:, :1], ""),
    "a quotient by a float": (lambda x: x if divmod(x.shape[1], 2.5)[0] > 2 else x[:, :1], ""),
    "equal to a float": (lambda x: x[:, :3] if x.shape[1] == 224 / 16 else x, ""),
    "in floats": (lambda x: x[:, :3] if x.shape[1] in (7.0, 14.0) else x, ""),
    "in an array": (lambda x: x[:, :3] if x.shape[1] in np.array([14, 28]) else x, ""),
    "any of an array": (
        lambda x: x[:, :3] if np.any(np.array([14, 28]) == x.shape[1]) else x,
        "",
    ),
    "above a float": (lambda x: x[:, :3] if x.shape[1] > 19.0 else x, ""),
    "half above a float": (lambda x: x[:, :3] if x.shape[1] / 2 > 9.5 else x, ""),
    "a quotient that is whole": (
        lambda x: x if x.shape[1] / 6 == x.shape[1] // 6 else x[:, :1],
        "",
    ),
    "a third": (lambda x: x[:, :3] if x.shape[1] / 3 == 7 / 3 else x, ""),
    "a ratio": (lambda x: x[:, :1] if x.shape[0] / x.shape[1] > 1.5 else x, ""),
    "a decimal ratio": (lambda x: x[:, :1] if x.shape[0] / x.shape[1] > 1.333 else x, ""),
    "a root above a number": (lambda x: x[:, :3] if x.shape[1] ** 0.5 > 3.5 else x, ""),
    "infinity": (lambda x: x if x.shape[1] < math.inf else x[:, :0], ""),
    "not a number": (lambda x: x[:, :1] if x.shape[1] >= math.inf - math.inf else x, ""),
    # A size looked up.
    "in a set": (wrapper, ""),
    "in a set, in a function called as one of JAX": (convert_to_index, ""),
    "in a dict": (lambda x: {7: x[:, :2]}.get(x.shape[1], x), ""),
    "in an Enum": (of_kind, ""),
    "matched": (matched, ""),
    "cached": (lambda x: x[:, : half(x.shape[1])], "h >= 2"),
    "a set that equals a set": (
        lambda x: x[:, :2] if frozenset(x.shape) == frozenset((2, 28)) else x,
        "",
    ),
    "a dict from keys": (lambda x: jnp.zeros(len(dict.fromkeys([*x.shape, 28]))), ""),
    "added to a set": (added, ""),
    "grouped by the rest": (grouped, ""),
    "in a list": (lambda x: x[:, : [4, 8].index(x.shape[1]) + 1], "h = 4 or h = 8"),
    "in a typed set": (typed("def f(x):\n    return x[:, :2] if x.shape[1] in {7, 14} else x"), ""),
    "typed": (typed("def f(x):\n    assert x.shape[1] % 2 == 0\n    return x"), "h mod 2 = 0"),
    # Numbers that are computed from a size, followed by what fails for small sizes.
    "int of a float": (lambda x: at_least(5, x[:, : int(x.shape[1] * 0.5)]), "h >= 10"),
    "int of an int": (lambda x: at_least(12, x[:, : int(x.shape[1])]), "h >= 12"),
    "a ceiling": (lambda x: x[:, : math.ceil(x.shape[1] / 2)], ""),
    "NumPy's ceiling": (lambda x: x[:, : int(np.ceil(x.shape[1] / 3))], ""),
    "rounded": (lambda x: x[:, : round(x.shape[1] / 2)], "h >= 2"),
    "rounded up from a quarter": (lambda x: x[:, : round(x.shape[1] / 4 + 0.5)], ""),
    "a float of a size": (lambda x: x[:, : int(float(x.shape[1]) / 4)], "h >= 4"),
    "a root of NumPy": (lambda x: at_least(12, x / np.sqrt(x.shape[1])), "h >= 12"),
    "a divisor in common": (lambda x: x[:, : math.gcd(x.shape[1], 12)], ""),
    "an array of NumPy": (lambda x: at_least(12, x + np.arange(x.shape[1])), "h >= 12"),
    "its length": (lambda x: x[:, : len(np.zeros(x.shape[1])[::2])], ""),
    "the product of a shape": (lambda x: x.reshape(int(np.prod(x.shape))), ""),
    "a triangle": (lambda x: x @ np.tri(x.shape[1]), ""),
    "bits": (
        lambda x: x[:, : (x.shape[1] & 6) + (x.shape[1] | 1) // 2 + (x.shape[1] ^ 5) // 4],
        "",
    ),
    "a power of two": (
        lambda x: at_least(12, x if x.shape[1] & (x.shape[1] - 1) == 0 else x[:, :9]),
        " or ".join(f"h = {2**i}" for i in range(4, 31)),
    ),
    "a number over a size": (lambda x: jnp.zeros(64 // x.shape[1]), "h <= 64"),
    "sizes in the result": (lambda x: (x, x.shape), ""),
    "sizes in a message": (named, "h > 3"),
    # Indices, loops of JAX, and its functions.
    "an index": (lambda x: at_least(12, x)[:, x.shape[1] // 2], "h >= 12"),
    "an index set": (lambda x: x.at[:, x.shape[1] // 2].set(0.0), ""),
    "a dynamic slice": (
        lambda x: lax.dynamic_slice_in_dim(at_least(12, x), x.shape[1] // 4, x.shape[1] // 2, 1),
        "h >= 12",
    ),
    "a loop of JAX": (
        lambda x: lax.fori_loop(0, x.shape[1] // 2, lambda _, y: y * 2, at_least(12, x)),
        "h >= 12",
    ),
    "a scan of a length": (
        lambda x: lax.scan(lambda c, _: (c + 1, c), x, None, length=x.shape[1])[1],
        "",
    ),
    "a scan of what may be empty": (
        lambda x: lax.scan(lambda c, r: (c + r, r), x[:, 0], (x[:, 1:] - x[:, :-1]).T)[0],
        "",
    ),
    "stacked by a scan of what may be empty": (
        lambda x: lax.scan(lambda c, r: (c + r, r), x[:, 0], x[:, 1:].T)[1],
        "h >= 2",
    ),
    "a scan of nothing beside the first row": (after_the_first_row, ""),
    "a root by Newton's method": (by_newton, ""),
    "a sum of itself": (doubled(lambda h: 1 / math.sqrt(h)), ""),
    "a complex sum of itself": (doubled(lambda h: (h - 5) ** 0.5), ""),
    "a sum of itself in NumPy": (doubled(lambda h: 1 / np.sqrt(h)), ""),
    "a scan of what is computed of nothing": (
        lambda x: lax.scan(lambda c, r: (c + r, None), x[:, 0], jnp.exp(x[:, 1:]).T)[0],
        "",
    ),
    "what is cut and not used": (lambda x: (x, x[:, 3:] * 2)[0], ""),
    "what is computed of nothing and not used": (lambda x: jnp.exp(x[:, 3:]).shape[0], "h >= 4"),
    "a map of which only the shape is used": (
        jax.jit(lambda x: jnp.minimum(x[:, 2:], x[:, 2:][:, :]).shape),
        "h >= 3",
    ),
    "a scan beside what needs numbers": (
        lambda x: lax.scan(lambda c, r: (c, r), x[:, 1:].max(), x[:, 1:].T)[0],
        "h >= 2",
    ),
    "an einsum": (lambda x: jnp.einsum("bh,k->bhk", at_least(12, x), jnp.ones(5)), "h >= 12"),
    "a squeeze after a pool": (
        lambda x: jnp.squeeze(jc.avg_pool(at_least(12, x)[..., None, None], (2, 1)), 3),
        "h >= 12",
    ),
    "resized five times": (resized, ""),
    "padded around": (lambda x: jnp.pad(x, ((0, 0), (2, 2)), mode="wrap"), ""),
    "padded by a remainder": (lambda x: jnp.pad(x, ((0, 0), (2, -x.shape[1] % 4))), ""),
    # Loops over sizes: all turns after the first leave the same shapes.
    "repeated": (repeated, "h >= 12"),
    "summed row by row": (summed, ""),
    "quartered until one is left": (quartered, "h <= 67108864"),
    "a range of one length": (
        lambda x: [x[:, n - 1 :] for n in range(x.shape[1], x.shape[1] + 2)],
        None,
    ),
    # Numbers of floats that are not exact.
    "a decimal part": (lambda x: at_least(7, x[:, : int(x.shape[1] * 0.7)]), "h >= 10"),
    "a decimal ceiling": (lambda x: x[:, : math.ceil(x.shape[1] * 0.3)], ""),
    "a decimal rounded": (lambda x: jnp.zeros(round(x.shape[1] * 0.35) + 1), ""),
    "a decimal rounded to no digits": (lambda x: x[:, : int(round(x.shape[1] * 0.85, 0))], ""),
    "a digit after the point": (lambda x: x[:, :3] if round(x.shape[1] / 7, 1) > 2.1 else x, ""),
    "a quotient by a decimal": (lambda x: jnp.zeros(int(x.shape[1] / 0.7 - 0.4)), ""),
    "a width": (lambda x: jnp.zeros(max(8, int(x.shape[1] * 0.35 + 4) // 8 * 8)), ""),
    "a power of two above": (lambda x: jnp.zeros(1 << (x.shape[1] - 1).bit_length()), MANY),
    "padded to a power of two": (
        lambda x: jnp.pad(row := x[0, :40], (0, 2 ** math.ceil(math.log2(len(row))) - len(row))),
        "",
    ),
    "padded to a power of two by NumPy": (
        lambda x: jnp.pad(row := x[0, :40], (0, int(2 ** np.ceil(np.log2(row.size))) - row.size)),
        "",
    ),
    "a power of two by its logarithm": (
        lambda x: row if math.log2((row := x[0, :40]).size).is_integer() else x[:0],
        "h <= 2 or h = 4 or h = 8 or h = 16 or h = 32",
    ),
    "a power of two by its bits": (
        lambda x: row if (n := (row := x[0, :40]).size) == 1 << (n.bit_length() - 1) else x[:0],
        "h <= 2 or h = 4 or h = 8 or h = 16 or h = 32",
    ),
    "a root of a number below 0": (
        lambda x: x[:, : int(math.sqrt(min(x.shape[1] - 3, 40))) + 1],
        "h >= 3",
    ),
    "a logarithm of 0": (lambda x: x[:, : int(math.log2(min(x.shape[1] - 1, 9))) + 1], "h >= 2"),
    "divided by 0": (lambda x: x[:, : 12 // (x.shape[1] - 4) + 20], "h != 4"),
    "a remainder by 0": (lambda x: x[:, : 12 % (x.shape[1] - 4) + 9], "h != 4"),
    "shifted by a number below 0": (lambda x: x[:, : 1 << min(x.shape[1] - 3, 4)], "h >= 3"),
    "a step of 0": (lambda x: x[:, :: max(x.shape[1] - 3, 0)], "h >= 4"),
    "emptied before a whole slice": (emptied, "h = 4"),
    "the sign of a quotient": (by_its_sign, "h >= 2"),
    "a mean of very many": (
        lambda x: (jnp.tile(x, 999).mean() * jnp.ones((3, x.shape[1]))) @ np.tri(x.shape[1]),
        "",
    ),
    "NumPy's decimal": (lambda x: jnp.zeros(int(np.ceil(x.shape[1] * 1.1))), ""),
    "a negative decimal": (lambda x: x[:, int(x.shape[1] * -0.29) - 1 :], ""),
    # Numbers whose value does not matter, or takes few values.
    "a root that is not used": (lambda x: (int(x.shape[1] ** 0.5), at_least(5, x))[1], "h >= 5"),
    "a root of what may be negative": (root_or_row, ""),
    "close to a number": (lambda x: x[:, :3] if math.isclose(x.shape[1], 28) else x, ""),
    "a logarithm": (lambda x: x[:, : int(np.log2(x.shape[1]))], "2 <= h <= 134217727"),
    "the number of bits": (bits_of, "5 <= h <= 134217727"),
    "an element of a list": (lambda x: x[:, [2, 3, 1][x.shape[1] - 4] :], "4 <= h <= 6 or h = 3"),
    "a letter": (lambda x: x + ord("abcdefgh"[x.shape[1]]), "h <= 7"),
    "in a set of a range": (lambda x: x if x.shape[1] in frozenset(range(7)) else x[:, :2], ""),
    "a text": (lambda x: x[:, :3] if f"{x.shape[1]}" in ("7", "14", "014") else x, ""),
    "two texts": (lambda x: x[:, :1] if str(x.shape[1]) == str(x.shape[0]) else x, ""),
    "the number of digits": (lambda x: x[:, 2 : 2 + len(str(x.shape[1]))], "3 <= h <= 99999999"),
    "a text of an element": (lambda x: x[:, :3] if repr(x.shape[1]) == "14" else x, ""),
    "the text of an object in a message": (described_in_an_error, "h mod 3 = 0"),
    "texts in a message": (listed_errors, "h mod 3 = 0"),
    "a text in the error of an error": (chained_errors, "h mod 3 = 0"),
    "an int from a text": (lambda x: x[:, : int(str(x.shape[1])) // 2], "h >= 2"),
    "by its type": (lambda x: x[:, : third(x.shape[1])], "h >= 3"),
    "matched by its type": (is_int, ""),
    # Functions of JAX that refuse symbolic sizes.
    "a permutation": (
        lambda x: jax.random.permutation(jax.random.key(0), at_least(5, x), 1),
        "h >= 5",
    ),
    "an associative scan": (
        lambda x: lax.associative_scan(jnp.add, at_least(5, x), axis=1),
        "h >= 5",
    ),
    "as many sections": (
        lambda x: jnp.split(x, x.shape[1] // 3, axis=1)[-1],
        "h mod 3 = 0 or h = 4 or h = 5 or h = 8",
    ),
    "padded by its half": (
        lambda x: jnp.pad(at_least(5, x), ((0, 0), (x.shape[1] // 2, x.shape[1])), mode="reflect"),
        "h >= 5",
    ),
    "a Hann window": (lambda x: x * jnp.hanning(at_least(5, x).shape[1]), "h >= 5"),
    "the size of a mapped axis": (
        lambda x: jax.vmap(lambda row: row / lax.psum(1, "i"), axis_name="i")(at_least(5, x)),
        "h >= 5",
    ),
    "mapped over two sizes": (lambda x: jax.vmap(jnp.add)(x, jnp.ones((12, 1))), "b = 12"),
    "an einsum with weights": (
        lambda x: jnp.einsum("bh,hk->bk", x, jnp.ones((28, 4))),
        "h = 1 or h = 28",
    ),
    "a window of a third": (
        lambda x: jc.max_pool(x[..., None, None], (x.shape[1] // 3, 1)),
        "h >= 3",
    ),
    # Meshes of devices, and collectives.
    "a batch over devices": (sharded(lambda x: x * 2, P("data"), P("data")), "b mod 4 = 0"),
    "both sides over devices": (
        sharded(lambda x: x[:, :3], P("data", "model"), P("data", "model")),
        "b mod 4 = 0 and h mod 2 = 0",
    ),
    "one side over all devices": (
        sharded(lambda x: lax.psum(x.sum(0), "data"), P(("data", "model")), P("model")),
        "b mod 8 = 0",
    ),
    "a scattered sum": (
        sharded(
            lambda x: lax.psum_scatter(x, "data", scatter_dimension=1, tiled=True),
            P("data"),
            P(None, "data"),
        ),
        "b mod 4 = 0 and h mod 4 = 0",
    ),
    "all to all": (
        jax.vmap(lambda row: lax.all_to_all(row, "i", 0, 0), axis_name="i"),
        "h = b",
    ),
    "a neighbour": (
        jax.vmap(lambda row: lax.ppermute(row, "i", [(0, 1), (1, 0)]), axis_name="i"),
        "b = 2",
    ),
    "gathered": (
        jax.vmap(lambda row: lax.all_gather(row, "i", tiled=True), axis_name="i"),
        "",
    ),
    # What fails, and what is passed on.
    "an error that is passed on": (passes_an_error_on, "h = 1 or h = 14"),
    "a set of shapes": (of_two_rows, "h >= 2"),
    # Products of sizes.
    "a product above a number": (lambda x: x[:, :1] if x.shape[0] * x.shape[1] > 20 else x, ""),
    "elements above a number": (lambda x: x[:, :1] if x.size > 20 else x, ""),
    "a product divided": (
        lambda x: x.reshape(-1, 6),
        "h mod 6 = 0 or (b mod 2 = 0 and h mod 3 = 0) or (b mod 3 = 0 and h mod 2 = 0) or "
        "b mod 6 = 0",
    ),
    "divided by one less than twice a side": (
        lambda x: (x[:, :, None] * jnp.ones(42)).reshape(x.shape[0], 2 * x.shape[1] - 1, -1),
        "h <= 2 or h = 4 or h = 11",
    ),
    "divided by a side and a batch": (
        lambda x: (x[:, :, None] * jnp.ones(6)).reshape(-1, x.shape[0] * (x.shape[1] - 1)),
        "2 <= h <= 4 or h = 7",
    ),
    "what remains of a division by a side and a batch": (
        lambda x: jnp.zeros(x.size % (x.shape[0] * (x.shape[1] - 1)) + 1),
        "h >= 2",
    ),
    "a quotient by a negative factor": (
        lambda x: jnp.zeros(12 + ((1 - x.shape[1]) * 7) // ((1 - x.shape[1]) * x.shape[0])),
        "h >= 2",
    ),
    "a square": (lambda x: x.reshape(x.shape[0], x.shape[0]), "h = b"),
    "an unlikely map": (lambda x: x.reshape(65536, 65536)[:1], None),
    # Cases of a function of numbers, which are computed at once.
    "a padding by cases": (
        lambda x: jnp.pad(x, ((0, 0), pad_to_even(x.shape[1]))).reshape(x.shape[0], -1, 2),
        "",
    ),
    "a padding by cases, twice": (
        lambda x: jnp.pad(x, (pad_to_even(x.shape[0]), pad_to_even(x.shape[1]))).reshape(-1, 4),
        "",
    ),
    "cases that are decided one at a time": (
        lambda x: x.reshape(x.shape[0], -1, two_or_three(x.shape[1])),
        "h mod 2 = 0 or h mod 3 = 0",
    ),
    "cases that change an argument": (number_of_notes, ""),
    "cases that change a global": (number_of_calls, ""),
    "cases that catch all errors": (lambda x: x[:, : swallowed_order(x.shape[1])], ""),
    "a case that fails": (lambda x: x[:, : not_for_thirds(x.shape[1])], "h > 3 and h mod 3 > 0"),
    "cases of other structures": (lambda x: x.reshape(*x.shape, *ones_for(x.shape[1])), ""),
    "cases that are a truth value": (lambda x: x[:, :5] if is_large(x.shape[1]) else x, ""),
    "cases with products": (lambda x: jnp.zeros(area(*x.shape)), ""),
    "cases of two sizes": (lambda x: jnp.zeros(gap(*x.shape)), ""),
    "cases of a method": (
        lambda x: jnp.pad(x, ((0, 0), (0, Padder(4).missing(x.shape[1], least=4)))).reshape(-1, 4),
        "",
    ),
    # Sides that are equal, or 1, for a part of the sizes.
    "sides that fit": (odd_and_even, "h mod 2 = 0 or h = 3"),
    "two sides that fit": (
        lambda x: odd_and_even(odd_and_even(x), axis=0),
        "(h mod 2 = 0 or h = 3) and (b mod 2 = 0 or b = 3)",
    ),
    "sides that fit twice": (
        lambda x: odd_and_even(odd_and_even(x)),
        "h mod 4 = 0 or h = 3 or h = 6",
    ),
    "sides that fit, in a gradient": (
        jax.grad(lambda x: jnp.sum(odd_and_even(x) ** 2)),
        "h mod 2 = 0 or h = 3",
    ),
    "sides that fit, in a map": (
        jax.vmap(lambda x: odd_and_even(x, axis=0)),
        "h mod 2 = 0 or h = 3",
    ),
    "three sides that fit": (
        lambda x: lax.betainc(x[:, ::2], x[:, 1::2], x[:, :2]),
        "h = 2 or h = 3 or h = 4",
    ),
    "a misfit that is caught": (caught_misfit, "h >= 2"),
    "an empty piece and one column": (
        lambda x: jnp.concatenate([x, x[:, 5:6] + x[:, 3:4]], axis=1),
        "",
    ),
    "rows and columns": (lambda x: x[:, :1] + x[:1, : x.shape[0]], "h >= 1"),
    "a product of sides": (lambda x: x.reshape(-1) + x[0], "b = 1 or h = 1"),
    # JAX compares the shapes as a set, in which 3 has another hash than a size.
    "stacked on a number": (lambda x: jnp.stack([x, jnp.zeros((x.shape[0], 3))]), "h = 3"),
    "a square of a number": (
        lambda x: jnp.diag_indices_from(jnp.zeros((3, x.shape[1])))[0],
        "h = 3",
    ),
    "a number stacked on it": (lambda x: jnp.stack([jnp.zeros((7, 3)), x]), "b = 7 and h = 3"),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_trap_is_decided_and_right(name):
    function, accepted = EXACT[name]
    verdict = jc.check(function, "b h")
    assert verdict.untried.is_empty(), verdict
    if accepted is not None:
        assert verdict.accepts == jc.SizeSet.parse("b h", accepted), verdict
    compare(function, ("b h",), verdict)


def compare(function, specs, verdict):
    """Compare a verdict with tracing, at small sizes and around the numbers of the traps."""
    network = Network(function, tuple(specs), None, ())
    special = [{"b": 2, "h": n} for n in (7, 14, 16, 28, 64, 90, 180)] if specs == ("b h",) else []
    for point in [*grid(names_of(specs), POINTS), *special]:
        if all(n >= 1 for n in sides(specs, point)) and not verdict.untried.contains(**point):
            assert not disagreement(network, verdict, point), (point, str(verdict))


def swallowed(function):
    try:
        return function()
    except Exception:
        return 3


def rows(x):
    return x.shape[0]


def swallowed_number(x):
    n = 3
    with contextlib.suppress(TypeError):
        n = int(rows(x))
    return jnp.zeros(n)


def swallowed_split(x):
    try:
        large = rows(x) > 3
    except:  # noqa: E722 - that is the trap
        large = True
    return x if large else x[:1]


def swallowed_mismatch(x, y):
    try:
        return x + y
    except (TypeError, ValueError):
        return jnp.concatenate([x, y])


def swallowed_reshape(x):
    try:
        return x.reshape(4, -1)
    except TypeError:
        return x


def empty_for_formulas_only(x):
    n = rows(x)
    if isinstance(n, int):
        return x
    jnp.zeros(n - 5)
    raise ValueError("not for formulas")


def one_place_two_operations(x, y):
    for step in (functools.partial(jnp.add, y), functools.partial(jnp.dot, jnp.ones(5))):
        x = step(x)
    return x


def loop(body, after="", before=""):
    """A function with a loop over a size, written as text to a file that Python can show."""
    name = f"<loop {len(linecache.cache)}>"
    text = f"def f(x, h=None):\n    h = x.shape[1]\n    {before or 'y = x[:, :1]'}\n"
    text += f"    for i in range(h):\n        {body}\n    return {after or 'x'}\n"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    scope = {"jnp": jnp, "counts": {"turns": 0}, "itertools": itertools}
    exec(compile(text, name, "exec"), scope)
    return scope["f"]


# Turns of a loop that are not alike, though the variables may be.
LOOPS = {
    "an index": loop("x = x[:, :2] if i == 5 else x"),
    "a bound": loop("x = x[:, :1] if i > 3 else x"),
    "a counter": loop("n += 1", "jnp.zeros(n)", "n = 0"),
    "an iterator": loop("x = x[:, : next(numbers)]", "x", "numbers = iter([9, 9, 9, 5, 1])"),
    "a count": loop("x = x[:, : 9 - next(n)]", "x", "n = itertools.count()"),
    "a global": loop("counts['turns'] += 1", "jnp.zeros(counts['turns'])", "counts['turns'] = 0"),
    "a list": loop("y.append(x)", "jnp.stack(y)", "y = []"),
    "two that are exchanged": loop("x, y = y, x"),
    "three that are exchanged": loop("x, y, z = y, z, x", "x", "y, z = x[:, :1], x[:, :2]"),
    "a shape": loop("x = x[:, 1:] if x.shape[1] > 1 else x"),
    "a shape of its own": loop("x = x[:, i // 9 :]"),
    "a previous index": loop("x, p = (x[:, :1] if p == 4 else x), i", "x", "p = 0"),
    "a name": loop("x = x[:, : {'0': 7, '1': 6, '2': 5}.get(f'{i}', 4)]"),
    "an end": loop("if i == 3: break", "jnp.zeros(i + 1)"),
    "a last index": loop("pass", "jnp.zeros(i + 1)", "i = 0"),
    "a loop": loop("x = x + sum(x[:, j : j + 1] for j in range(i % 2))"),
    "a comprehension": loop("x = x + len([x for j in range(h)])"),
    "an object": loop("y.n += 1", "jnp.zeros(y.n)", "y = type('Y', (), {})(); y.n = 0"),
    "a class": loop("y.n += 1", "jnp.zeros(y.n)", "y = type('Y', (), {'n': 0})"),
}
NEVER_WRONG = {
    "the first of a set": (first_of_a_set, "b h"),
    "the last of a set": (lambda x: jnp.zeros({x.shape[1], 9}.pop()), "b h"),
    "a set as a shape": (lambda x: jnp.zeros(tuple(set(x.shape))), "b h"),
    "what a loop over a set meets first": (met_first, "b h"),
    "a side that is a sum of itself": (doubled_side, "b h"),
    "decimal parts below zero": (  # where -90 * 0.7 is above -63
        lambda x: jnp.zeros(int((x.shape[1] - 100) * 0.7) + 100),
        "b h",
    ),
    "a square that falls and grows": (
        lambda x: x if (x.shape[1] * 0.3 - 7.1) ** 2.0 > 4 else x[:, :1],
        "b h",
    ),
    "all bits of a product": (  # which has more than 32 for large images
        lambda x: x * (x.size & (x.size - 1)) * (x.size >> x.shape[0]),
        "b h",
    ),
    "an associative scan of maxima": (
        lambda x: lax.associative_scan(jnp.maximum, at_least(6, x), axis=1),
        "n n",
    ),
    "a large side, for three images": (odd_of_three, "b h"),
    "empty pieces that fit": (
        lambda x: jnp.concatenate([x, x[3:] * x[3 : 3 + x.shape[0] // 2]]),
        "h w",
    ),
    "a swallowed number": (swallowed_number, "h"),
    "a swallowed comparison": (swallowed_split, "h"),
    "a swallowed mismatch": (swallowed_mismatch, "h", "w"),
    "a swallowed reshape": (swallowed_reshape, "h"),
    "a map that is empty for formulas only": (empty_for_formulas_only, "h"),
    "two operations at one place": (one_place_two_operations, "h", "w"),
    "a set": (lambda x: x if rows(x) in {3, 4} else x[:1], "h"),
    "a dict": (lambda x: {3: x}.get(rows(x), x[:1]), "h"),
    "the type of a size": (lambda x: x if isinstance(rows(x), int) else x[:1], "h"),
    "an equality of products": (
        lambda x: x if math.prod(x.shape) == sum(x.shape) else x[None],
        "h w",
    ),
    "an equality of types": (lambda x, y: x if x.aval == y.aval else x[None], "h", "w"),
    "a set of shapes": (lambda x, y: jnp.stack([x, y]), "h", "w"),
    "a scan over two": (
        lambda x, y: lax.scan(lambda c, ab: (c, ab[0] * ab[1]), 0.0, (x, y))[1],
        "h",
        "w",
    ),
    "a branch within jax": (lambda x: jnp.packbits(x > 0), "h"),
    "a rest of zero": (lambda x: lax.map(lambda y: y + 1, x, batch_size=3), "h"),
    "no symbolic sizes allowed": (lambda x: lax.associative_scan(jnp.add, x), "h"),
    "reflected": (lambda x: jnp.pad(x, 3, mode="reflect"), "h"),
    "all ones squeezed": (jnp.squeeze, "h w"),
    "a factor that may be 0": (
        lambda x: jnp.zeros(x.shape[0] * (x.shape[1] - 3) // (x.shape[1] - 3)),
        "h w",
    ),
    "minus one and a number": (lambda x: x.reshape(-1, 6), "h w"),
    "minus one and a size": (lambda x: x.reshape(x.shape[0], -1, 4), "h w"),
    "a window of the size": (lambda x: jc.avg_pool(x, (x.shape[1] // 2, 1)), "1 h 2 1"),
    "a float": (lambda x: x[: int(rows(x) / 2)], "h"),
    "a power": (lambda x: x * rows(x) ** -0.5 + rows(x) ** 2, "h"),
    "a root": (lambda x: x / np.sqrt(rows(x)), "h"),
    "a ceiling": (lambda x: x[: math.ceil(rows(x) / 2)], "h"),
    "bits": (lambda x: x[: (rows(x) & 3) + (rows(x) >> 1) + (rows(x) << 1)], "h"),
    "a distance": (lambda x: x[: abs(rows(x) - 3) + round(rows(x))], "h"),
    "an einsum": (lambda x: jnp.einsum("bh,hk->bk", x, jnp.ones((3, 4))), "b h"),
    "less than nothing": (lambda x: x, "h-5"),
    "an overflow": (lambda x: jnp.zeros(3, jnp.int32) + x.shape[0] * x.shape[1], "b h"),
    # Texts that a size is joined into, which Python compares without asking.
    "a name": (lambda x: x[:, : {"h14": 1, "h7": 2}.get(f"h{x.shape[1]}", 3)], "b h"),
    "a name in a helper": (named_in_a_helper, "b h"),
    "a sum of texts": (lambda x: x[:, :2] if "h" + str(x.shape[1]) == "h14" else x, "b h"),
    "the length of a text": (lambda x: jnp.zeros(len(",".join(map(str, x.shape)))), "b h"),
    "the text of a shape": (lambda x: x[:, :2] if str(x.shape) == "(1, 14)" else x, "b h"),
    "a padded text": (lambda x: x[:, :2] if str(x.shape[1]).zfill(3) == "014" else x, "b h"),
    "a percent sign": (lambda x: jnp.zeros(int(("%d,%d" % x.shape)[2:])), "b h"),  # noqa: UP031
    "a text in a text": (lambda x: x[:, :2] if str(x.shape[1]) in "7 14" else x, "b h"),
    "a text of a template": (
        lambda x: x[:, :2] if string.Template("h$h").substitute(h=x.shape[1]) == "h14" else x,
        "b h",
    ),
    "a text that is printed nicely": (
        lambda x: x[:, :2] if pprint.pformat(x.shape) == "(1, 14)" else x,
        "b h",
    ),
    "a message that is read": (read_from_an_error, "b h"),
    "a copy": (lambda x: x[:, :2] if copy.deepcopy(x.shape) == x.shape else x, "b h"),
    "in a set of the shape": (lambda x: x[:, :2] if 14 in {*x.shape, 90} else x, "b h"),
    "a hash": (lambda x: x[:, :1] if hash(x.shape[1]) == hash(6) else x, "b h"),
    "a decimal factor": (lambda x: x[:, : int(x.shape[1] * 0.7) + 1], "b h"),
    "a float of 32 bits": (lambda x: x[:, : int(np.float32(x.shape[1]) * 0.7) + 1], "b h"),
    "a whole root": (
        lambda x: x[:, 1:].reshape(x.shape[0], int((x.shape[1] - 1) ** 0.5), -1),
        "b h",
    ),
    "a quotient of sizes": (lambda x: jnp.zeros(x.shape[0] // x.shape[1]), "b h"),
    "a remainder of sizes": (lambda x: x if x.shape[0] % x.shape[1] == 0 else x[:1], "b h"),
    "a list of rows": (lambda x: jnp.zeros(swallowed(lambda: len(list(x[0])))), "b h"),
    "a split": (lambda x: swallowed(lambda: jnp.split(x, x.shape[1], axis=1)[0]), "b h"),
    "sections": (lambda x: jnp.split(x, x.shape[1] // 4, axis=1)[0], "b h"),
    "a loop over a size": (lambda x: sum(x[:, i] for i in range(x.shape[1] // 8)) + x[:, 8], "b h"),
    **{f"a loop of {name}": (function, "b h") for name, function in LOOPS.items()},
}


@pytest.mark.parametrize("name", NEVER_WRONG)
def test_no_trap_leads_to_a_wrong_answer(name):
    function, *specs = NEVER_WRONG[name]
    compare(function, tuple(specs), jc.check(function, *specs))


# Numbers without a value for some sizes, which nothing asks for; and the sizes that have one.
UNDEFINED = {
    "a power of a remainder": (lambda b, h: (h % 2) ** -0.5, "h mod 2 = 1"),
    "a whole power": (lambda b, h: (h % 2) ** -1, "h mod 2 = 1"),
    "a power of math": (lambda b, h: math.pow(h % 3, -2), "h mod 3 >= 1"),
    "a power of a difference": (lambda b, h: (h - b + 5) ** -0.5, "b != h + 5"),
    "a large power": (lambda b, h: float(h) ** 200, "h <= 34"),
    "a power of two": (lambda b, h: 2.0 ** (h - 5), "h <= 1028"),
    "a power of a half": (lambda b, h: 0.5 ** (h - 1200), "h >= 177"),
    "a power of nothing": (lambda b, h: 0.0 ** (h - 3), "h >= 3"),
    "a root": (lambda b, h: 1 / (math.sqrt(h) - 2), "h != 4"),
    "the power of a root": (lambda b, h: 1 / (h**0.5 - 2), "h != 4"),
    "a root of NumPy": (lambda b, h: 1 / (np.sqrt(h) - 2), ""),
    "a sum of roots": (lambda b, h: 1 / (math.sqrt(h) + math.sqrt(b) - 2), "b >= 2 or h >= 2"),
    "a constant": (lambda b, h: math.sqrt(2) / (h - 2), "h != 2"),
    "a whole quotient": (lambda b, h: 0.1 // (h - 2), "h != 2"),
    "a remainder": (lambda b, h: 0.123456789 % (h - 2), "h != 2"),
    "divmod": (lambda b, h: divmod(b, h / 7 - 2), "h != 14"),
    "an embedding": (lambda b, h: math.exp(-math.log(10000) / (h // 2 - 1)), "h = 1 or h >= 4"),
    "a vanishing exponential": (lambda b, h: 1 / math.exp(-h / 7), "h <= 5215"),
    "an exponential": (lambda b, h: math.exp(h * 100), "h <= 7"),
    "a hyperbolic cosine": (lambda b, h: math.cosh(3 - h), "h <= 713"),
    "a logarithm": (lambda b, h: math.log(h % 3), "h mod 3 >= 1"),
    "a logarithm to a base": (lambda b, h: 2 * math.log(b, h), "h >= 2"),
    "a logarithm of one more": (lambda b, h: math.log1p(-(h % 2)), "h mod 2 = 0"),
    "an angle": (lambda b, h: math.acos(h / 3), "h <= 3"),
    "a hyperbolic angle": (lambda b, h: math.atanh(1 / h), "h >= 2"),
    "a remainder of math": (lambda b, h: math.fmod(b, h % 2), "h mod 2 = 1"),
    "a factorial": (lambda b, h: (math.factorial(h - 3), None)[1], "h >= 3"),
    "combinations": (lambda b, h: (math.comb(5, h - 3), None)[1], "h >= 3"),
    "the gamma function": (lambda b, h: math.gamma(h % 3), "h mod 3 >= 1"),
    "an infinite number": (lambda b, h: (int(h * 1e307), None)[1], "h <= 17"),
    "an infinite exponential": (lambda b, h: (math.floor(np.exp(h)), None)[1], "h <= 709"),
    "a logarithm of NumPy": (lambda b, h: (round(np.log(h)), None)[1], ""),
    "a complex number": (lambda b, h: (h - 5) ** 0.5, ""),
    "a root of a complex number": (lambda b, h: ((h - 5) ** 0.5 + 1) ** 0.5, ""),
    "a softmax": (lambda b, h: 1 / (1 + math.exp(-h)), ""),
}


@pytest.mark.filterwarnings("ignore:(divide by zero|overflow) encountered:RuntimeWarning")
@pytest.mark.parametrize("name", UNDEFINED)
def test_a_number_is_computed_even_if_nothing_asks_for_it(name):
    number, accepted = UNDEFINED[name]

    def function(x):
        return x, number(*x.shape)

    verdict = jc.check(function, "b h")
    assert verdict.untried.is_empty(), verdict
    assert verdict.accepts == jc.SizeSet.parse("b h", accepted), verdict
    failed = [failure.sizes for failure in verdict.failures]
    assert functools.reduce(operator.or_, failed, verdict.accepts) == jc.SizeSet.parse("b h")
    network = Network(function, ("b h",), None, ())
    for b, h in itertools.product((1, 2, 7), (*range(1, 16), 34, 35, 176, 177, 711, 714, 1029)):
        assert not disagreement(network, verdict, {"b": b, "h": h})


def test_a_number_that_is_complex_is_one_for_jax():
    verdict = jc.check(lambda x: jnp.floor(x * (50 - x.shape[1]) ** 0.5), "b h")
    assert verdict.accepts == jc.SizeSet.parse("b h", "h <= 50")
    assert "complex" in verdict.failures[0].message


LARGE_INTEGERS = {
    "a factorial": lambda b, h: math.factorial(h),
    "combinations": lambda b, h: math.comb(2 * h, h),
    "a sum of roots": lambda b, h: int(h**0.5) ** 9 + int(b**0.5),
    "a remainder": lambda b, h: int(h**0.5) ** 9 % (int(b**0.5) + 2**40),
    "small numbers": lambda b, h: (int(h**0.5) + int(b**0.5)) % 2**20 + int(h**0.5).bit_length(),
}


@pytest.mark.parametrize("name", LARGE_INTEGERS)
def test_an_integer_that_is_returned_fits_in_32_bits(name):
    def function(x):
        return x, LARGE_INTEGERS[name](*x.shape)

    verdict = jc.check(function, "b h")
    assert (name == "small numbers") == verdict.untried.is_empty()
    network = Network(function, ("b h",), None, ())
    for b, h in itertools.product((1, 2, 7), (1, 12, 13, 17, 18, 100, 121, 122, 400)):
        is_open = verdict.untried.contains(b=b, h=h)
        assert is_open or not disagreement(network, verdict, {"b": b, "h": h})


def test_a_function_that_may_have_no_value_is_open():
    verdict = jc.check(lambda x: (x, math.ldexp(x.shape[1], x.shape[0])), "b h")
    assert "whether ldexp(h, b) is a number" in verdict.notes[0]
    assert not verdict.untried.is_empty()


# Containers whose keys are the sizes of a shape, in which one side is a large number.
OF_SHAPES = {
    "dict.fromkeys": lambda x: len(dict.fromkeys(x.shape)),
    "fromkeys of a dict": lambda x: len({}.fromkeys(x.shape)),
    "OrderedDict.fromkeys": lambda x: len(collections.OrderedDict.fromkeys(x.shape)),
    "a union": lambda x: len(set().union(x.shape)),
    "a set of a generator": lambda x: len(set(n // 1 for n in x.shape)),  # noqa: C401
    "a set of a list": lambda x: len(set(sorted(x.shape))),  # noqa: C414
    "pairs": lambda x: len(dict(zip(x.shape, "ab", strict=True))),
    "leaves": lambda x: len(set(jax.tree.leaves(x.shape))),
    "a counter": lambda x: collections.Counter(x.shape)[x.shape[0]],
    "a set comprehension": lambda x: len({n for n in x.shape}),  # noqa: C416
    "a dict comprehension": lambda x: {n: i for i, n in enumerate(x.shape)}[x.shape[0]] + 1,
    "a condition": lambda x: len({n for n in x.shape if n > 3}) + 1,
    "multiples": lambda x: len({n * i for i, n in enumerate([*x.shape, 5], 1)}),
    "remainders": lambda x: len({n % 500: 1 for n in x.shape}),
}


@pytest.mark.parametrize("name", OF_SHAPES)
def test_a_key_is_compared_with_the_numbers_of_the_shape_that_it_is_from(name):
    def function(x):
        return jnp.zeros(OF_SHAPES[name](x))

    verdict = jc.check(function, "b 417")
    assert verdict.untried.is_empty(), verdict
    network = Network(function, ("b 417",), None, ())
    for b in (1, 3, 4, 15, 416, 417, 418, 834, 917):
        assert not disagreement(network, verdict, {"b": b}), (b, verdict)


def test_a_union_is_of_the_numbers_of_both_shapes():
    def function(x, y):
        return jnp.zeros(len(set(x.shape) | set(y.shape)))

    verdict = jc.check(function, "b h", "b 417")
    network = Network(function, ("b h", "b 417"), None, ())
    for b, h in itertools.product((1, 416, 417), repeat=2):
        point = {"b": b, "h": h}
        assert verdict.untried.contains(**point) or not disagreement(network, verdict, point)


def test_an_iterator_that_the_code_reads_is_not_read_to_find_its_keys():
    def function(x):
        sizes = iter(x.shape)
        return jnp.zeros(len({n for n in sizes if n > 0}) + len([*sizes]))

    assert "the code needs b as a number" in jc.check(function, "b 417").notes[0]


def times_if_it_fits(x):
    try:
        return x * (10**6 * x.shape[1])
    except OverflowError:
        return x[:, :2]


# Numbers of sizes that JAX computes with in 32 bits, and for which of these sizes that is decided.
OVERFLOWS = {
    "a product": (
        lambda x: jnp.zeros(3, jnp.int32) + x.shape[0] * x.shape[1],
        "b <= 46340, h <= 46340 or b > 46340, h > 46340",
    ),
    "a mean": (
        lambda x: x.sum() / (x.shape[0] * x.shape[1]),
        "b <= 46340, h <= 46340 or b > 46340, h > 46340",
    ),
    "a cube": (lambda x: x * x.shape[1] ** 3, ""),
    "a multiple": (lambda x: x - (5 - 10**6 * x.shape[1]), ""),
    "a sum": (lambda x: x + (x.shape[0] * x.shape[1] + x.shape[1]), "b <= 32767, h <= 32767"),
    "a difference": (lambda x: x + (x.shape[0] * x.shape[1] - 9 * x.shape[0]), "b <= 99, h <= 99"),
    "a negative factor": (
        lambda x: x * (x.shape[0] * (x.shape[1] - 60_000)),
        "b <= 999, 20000 <= h, h <= 99999",
    ),
    "a root": (lambda x: x * int(np.sqrt(x.shape[1]) * 1e7), ""),
    "a float": (lambda x: x * float(x.shape[0] * x.shape[1]), ""),
    "an array": (lambda x: x * jnp.asarray(x.shape[0] * x.shape[1], jnp.float32), ""),
    "an error that is caught": (times_if_it_fits, ""),
}


@pytest.mark.parametrize("name", OVERFLOWS)
def test_a_number_that_overflows_is_an_error_exactly_where_it_is_one_with_numbers(name):
    function, decided = OVERFLOWS[name]
    verdict = jc.check(function, "b h")
    batches = (1, 2, 20_000, 46_340, 46_341, 99_999)
    sides = (1, 2, 1290, 1291, 2147, 2148, 20_000, 46_117, 46_340, 46_341, 65_536, 99_999)
    known = (
        "(" + decided.replace(", ", " and ").replace(" or ", ") or (") + ")" if decided else "True"
    )
    for b, h in itertools.product(batches, sides):
        is_known = not verdict.untried.contains(b=b, h=h)
        assert is_known or not eval(known, {}, {"b": b, "h": h}), (b, h, str(verdict))
        if is_known:
            point = {"b": b, "h": h}
            network = Network(function, ("b h",), None, ())
            assert not disagreement(network, verdict, point), (point, str(verdict))


def test_a_note_says_which_sizes_a_mesh_divides_into_equal_parts():
    sharding = NamedSharding(MESH, P("data", ("model",)))
    verdict = jc.check(lambda x: lax.with_sharding_constraint(x, sharding), "b h")
    assert verdict.ok
    (note,) = verdict.notes
    assert "divides b over 4 devices, unequally for some sizes, first for b = 1, h = 1;" in note
    assert "pass sizes with b a multiple of 4, h a multiple of 2." in note
    narrowed = jc.check(
        lambda x: lax.with_sharding_constraint(x, sharding), "b h", where="b % 8 == 0, h % 4 == 0"
    )
    assert narrowed.ok
    assert narrowed.notes == ()


def test_what_fails_after_a_reshape_that_does_not_fit_is_decided():
    def tokens(x):
        x = x.reshape(x.shape[0], x.shape[1] // 14, 14)
        if x.shape[1] % 3:
            raise ValueError("not a multiple of 3")
        return x[:, :, 13]

    verdict = jc.check(tokens, "b h")
    assert verdict.untried.is_empty(), verdict
    assert verdict.accepts == jc.SizeSet.parse("b h", "h mod 42 = 0")
    compare(tokens, ("b h",), verdict)


def test_a_map_is_not_empty_because_another_is():
    """JAX leaves out the update for c < 3, and the sizes at its border fail in the split."""

    @jax.checkpoint
    def cut_after_an_update(x):
        x = x.at[:, : x.shape[3] // 3].set(1.0)
        return jnp.split(x, [x.shape[2] // 2], axis=1)[1]

    verdict = jc.check(cut_after_an_update, "2 h w c")
    assert verdict.untried.is_empty(), verdict
    assert verdict.accepts == jc.SizeSet.parse("h w c", "2 <= w and w < 2*h")
    compare(cut_after_an_update, ("2 h w c",), verdict)


def sides(specs, point):
    return [eval(axis, {}, dict(point)) for spec in specs for axis in spec.split()]


def test_what_is_decided_in_spite_of_a_trap():
    for name in ("a set of shapes", "a scan over two", "bits", "minus one and a size"):
        function, *specs = NEVER_WRONG[name]
        assert jc.check(function, *specs).untried.is_empty(), name
    assert jc.check(jax.nn.relu, "h-5").accepts == jc.SizeSet.parse("h", "h >= 6")
