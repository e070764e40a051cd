"""What stays open: questions without an answer, errors of isl, and the limits of a proof."""

import itertools
import math
import time

import islpy as isl
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from experiments import networks
from jaxconv.prover import explore
from jaxconv.prover.check import explore_sizes
from tests.support.networks import Network
from tests.support.oracle import disagreement
from tests.support.processes import forked


def test_an_error_of_the_set_library_proves_nothing():
    def broken(x):
        raise isl.Error("out of operations")

    verdict = jc.check(broken, "h")
    assert not verdict.ok
    assert not verdict.failures


def test_errors_of_the_users_own_are_failures_and_what_cannot_be_traced_is_open():
    def mine(x):
        if x.shape[1] == 7:
            raise KeyError("seven")
        return x

    verdict = jc.check(mine, "b h w 3")
    assert verdict.accepts == jc.SizeSet.parse("b h w", "h < 7 or h > 7")
    assert [f.message for f in verdict.failures] == ["KeyError: 'seven'"]

    def scaled(x):
        return jnp.zeros(int(x.shape[1] * jnp.e))

    verdict = jc.check(scaled, "b h w 3")
    assert verdict.status == "tested"
    assert not verdict.ok
    assert verdict.notes == (
        "not decided: the code needs int(h*2.718281828459045) as a number, at test_explore.py:43",
        "tried 12 sizes one by one",
    )
    assert verdict.accepts.contains(b=1, h=64, w=64)
    assert verdict.untried.contains(b=1, h=65, w=64)
    assert not verdict.accepts.contains(b=1, h=65, w=64)


UNDECIDED = {
    "a quotient": (
        lambda x: x.reshape(x.shape[0] * x.shape[1] // (x.shape[1] + x.shape[0] // 3), -1),
        lambda h, w: h * w // (w + h // 3) > 0 and h * w % (h * w // (w + h // 3)) == 0,
    ),
    "an equality": (
        lambda x: x.reshape(x.shape[0] * x.shape[1]) + jnp.ones(4 * (x.shape[0] // 2)),
        lambda h, w: h > 1 and (h * w == 1 or h * w == 4 * (h // 2)),
    ),
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_a_failure_that_comes_of_an_undecided_question_proves_nothing(name):
    function, fits = UNDECIDED[name]
    verdict = jc.check(function, "h w")
    assert verdict.status != "proven"
    assert any(note.startswith("not decided: ") for note in verdict.notes)
    for h, w in itertools.product(range(1, 15), repeat=2):
        blamed = any(failure.sizes.contains(h=h, w=w) for failure in verdict.failures)
        assert not (fits(h, w) and blamed), (h, w)
        assert not (verdict.accepts.contains(h=h, w=w) and not fits(h, w)), (h, w)


def test_a_proof_that_takes_too_long_gives_up():
    def halving(x):
        while x.shape[0] > 3:
            x = x[::2]
        return x

    start = time.monotonic()
    verdict = jc.check(halving, "h", timeout=2)
    assert time.monotonic() - start < 20  # by default it would be 60 and more
    assert verdict.status == "tested"
    assert any("gave up after " in note for note in verdict.notes)
    assert verdict.accepts.contains(h=3)


def test_no_more_operations_are_allowed_than_there_is_time_for(monkeypatch):
    """A set of 49 parts is cut out of another one in 40 million operations, or 200 seconds."""
    allowed, original = [], explore.bounded

    def bounded(operations):
        allowed.append(operations)
        return original(operations)

    def quotient(x):
        _, h, w = x.shape
        return jnp.zeros(((w // 3) * (h % 4) + 2 * (w - 1) * h) // 49)

    monkeypatch.setattr(explore, "bounded", bounded)
    assert jc.check(quotient, "b h w", timeout=1).status == "tested"
    assert 100_000 <= min(allowed) <= max(allowed) < 400_000


def test_a_retry_that_succeeds_decides_its_own_sizes():
    verdict = jc.check(networks.u_net, "b h w 3")
    assert str(verdict.accepts) == "h and w multiples of 16"
    assert verdict.runs <= 70  # one with formulas for each side of each of 4 levels, and one


def test_what_an_equality_cannot_save_is_traced_again_where_numbers_do_otherwise():
    def joined(x):
        h, w = x.shape
        if type(h) is int and w == h + 1:
            return x
        return jnp.concatenate([x, x.T])

    verdict = jc.check(joined, "h w")
    assert not any(failure.sizes.contains(h=1, w=2) for failure in verdict.failures)
    assert verdict.accepts.contains(h=2, w=2)


def strided(x, layer):
    for _ in range(4):
        x = layer(x)
    return x


KERNEL, POINTWISE = jnp.ones((3, 3, 3, 3)), jnp.ones((1, 1, 3, 3))
STRIDED = {
    "lax": lambda x: networks.conv(x, KERNEL, stride=2),
    "a padding by sizes": lambda x: networks.conv(x, KERNEL, 2, [(1, n % 2) for n in x.shape[1:3]]),
    "conv": lambda x: jc.conv(x, KERNEL, stride=2),
    "pointwise": lambda x: jc.conv(x, POINTWISE, stride=2),
    "max_pool": lambda x: jc.max_pool(x, 3, stride=2, padding="SAME"),
    "avg_pool": lambda x: jc.avg_pool(x, 3, stride=2, padding="SAME"),
}


@pytest.mark.parametrize("name", STRIDED)
@pytest.mark.parametrize("kind", ["forward", "grad", "vmap"])
def test_padding_that_depends_on_the_sizes_splits_nothing(name, kind):
    def network(x):
        return strided(x, STRIDED[name])

    function = {
        "forward": network,
        "grad": jax.grad(lambda x: network(x).sum()),
        "vmap": jax.vmap(network),
    }[kind]
    verdict = jc.check(function, "n b h w 3" if kind == "vmap" else "b h w 3")
    assert (verdict.status, str(verdict.accepts)) == ("proven", "every size")
    assert verdict.runs <= 5


def wider(x):
    return jnp.concatenate([x[:, ::2, ::2]] * 2, axis=-1)


def fitted(x):
    y = wider(x)
    if x.shape != y.shape:
        x = wider(x)
    return x + y


def spatial(x):
    y = wider(x)
    return x if x.shape[1:3] == y.shape[1:3] else y


def test_a_comparison_of_shapes_with_other_channels_splits_nothing():
    verdict = jc.check(fitted, "b h w 3")
    assert verdict.ok
    assert verdict.runs <= 4
    verdict = jc.check(spatial, "b h w 3")
    assert verdict.ok
    network = Network(spatial, ("b h w 3",), None, ())
    points = [{"b": 2, "h": h, "w": w} for h in (1, 2, 3) for w in (1, 2, 3)]
    assert not [point for point in points if disagreement(network, verdict, point)]


def with_pooled_shortcuts(x):
    for _ in range(2):
        strided = networks.conv(x, jnp.ones((3, 3, 3, 3)), 2)
        pooled = networks.pool(jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0))))
        x = strided + pooled[:, x.shape[1] % 2 :]
    return x


def test_sizes_of_one_split_an_addition_only_along_their_own_axis():
    verdict = jc.check(with_pooled_shortcuts, "b h w 3")
    assert verdict.untried.is_empty()
    assert verdict.runs <= MOST_RUNS
    network = Network(with_pooled_shortcuts, ("b h w 3",), None, ())
    points = [{"b": b, "h": h, "w": w} for b in (1, 2) for h in range(1, 10) for w in range(1, 6)]
    assert not [point for point in points if disagreement(network, verdict, point)]


MOST_RUNS = 60


def test_a_product_with_a_remainder_is_decided_by_its_values():
    def heads(x):
        count = x.shape[0] % 3 * (x.shape[0] // 3 + 1)
        return x[:count], x[count:]

    verdict = jc.check(heads, "n", where="n >= 3")
    assert verdict.untried.is_empty()
    network = Network(heads, ("n",), None, (), "n >= 3")
    points = [{"n": n} for n in range(3, 40)]
    assert not [point for point in points if disagreement(network, verdict, point)]


@pytest.mark.parametrize("dilation", [1, 2])
def test_convolutions_that_cut_pixels_off_take_few_traces(dilation):
    """JAX asks in a function of its own whether too many pixels are cut off."""
    kernel = jnp.ones((3, 3, 2, 2))

    def cropped(x):
        order, cut = ("NHWC", "HWIO", "NHWC"), [(-3, 1), (-2, -2)]
        return lax.conv_general_dilated(x, kernel, (1, 1), cut, (dilation,) * 2, (1, 1), order)

    verdict = jc.check(cropped, "b h w 2")
    smallest = {1: "h >= 5 and w >= 7", 2: "h >= 3 and w >= 4"}[dilation]
    assert verdict.accepts == jc.SizeSet.parse("b h w", smallest)
    assert not verdict.notes
    assert verdict.runs < 40


def test_a_note_has_the_whole_sentence_of_a_failure_and_there_is_one_for_a_kind():
    def strict(x):
        if type(x.shape[1]) is not int:
            raise TypeError(f"a side must be an int, but got (b, {x.shape[1]}).")
        return x[:, :3] if x.shape[1] > 5 else x

    verdict = jc.check(strict, "b h")
    notes = [note for note in verdict.notes if "fails for formulas" in note]
    (note,) = notes
    assert note.endswith("(TypeError: a side must be an int, but got (b, h).), but not for numbers")


def test_the_time_limit_holds_while_numbers_confirm_what_a_trace_shows():
    def many_cuts(x):
        time.sleep(0.3 if waits and type(x.shape[1]) is int else 0)
        return [x[:, n:] for n in range(1, 40)]

    waits = False
    assert jc.check(many_cuts, "b h").status == "refuted"  # and JAX has compiled what it needs
    waits, start = True, time.monotonic()
    verdict = jc.check(many_cuts, "b h", timeout=2)
    assert time.monotonic() - start < 6
    assert verdict.status == "tested"
    sets = [verdict.accepts, verdict.untried, *(failure.sizes for failure in verdict.failures)]
    assert all((a & b).is_empty() for a, b in itertools.combinations(sets, 2))


def test_an_equality_that_saves_nothing_splits_no_sizes():
    """Maps of h // 2 and (h + 1) // 2 rows are added: for no batch where they differ."""

    def block(x):
        pooled = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return pooled + x[:, ::2, ::2]

    verdict = jc.check(block, "b h w 3")
    assert verdict.accepts == jc.SizeSet.parse(
        "b h w", "(h mod 2 = 0 or h = 3) and (w mod 2 = 0 or w = 3)"
    )
    assert verdict.runs <= 15  # 46 if each side is split on its own
    verdict = jc.check(lambda x: block(block(block(x))), "b h w 3")
    accepted = " and ".join(f"({n} mod 8 = 0 or {n} = 6 or {n} = 12)" for n in "hw")
    assert verdict.accepts == jc.SizeSet.parse("b h w", accepted)
    assert verdict.untried.is_empty()
    assert verdict.runs <= 36  # a fork, and sizes that fail, for each block


IN_CACHES = """
import jax, jax.numpy as jnp
import jaxconv as jc
from jaxconv.prover.check import explore_sizes

def masked(x):
    return x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape)

for n in range(109, 112):
    jax.eval_shape(masked, jax.ShapeDtypeStruct((n, 3), jnp.float32))
exploration = explore_sizes(masked, "n 3")
assert not exploration.open_regions
assert not any(jc.SizeSet(one.condition).contains(n=110) for one in exploration.deferred)
"""


def test_shapes_in_caches_of_jax_are_no_sizes_to_confirm():
    """JAX compares the static shape of random numbers with those of earlier calls.

    In processes of their own: a cache also compares keys with similar hashes, one in a hundred.
    """
    assert any(forked("-c", IN_CACHES).returncode == 0 for _ in range(3))


def test_no_larger_sizes_are_tried_once_arrays_take_much_memory(monkeypatch):
    def counted(x):
        return jnp.zeros(int(np.sum(np.arange(x.shape[0]) % 2)))

    def sampled():
        return len(explore_sizes(counted, "n").sampled)

    assert sampled() > 4
    peaks = itertools.chain([2**30] * 3, itertools.repeat(2**31))
    monkeypatch.setattr(explore, "_peak_memory", lambda: next(peaks))
    assert sampled() == 2


def test_sweeps_over_irregular_functions_do_not_use_up_the_traces(monkeypatch):
    def numbered(x, cache={}):  # noqa: B006 - which is kept
        cache.setdefault(x.shape, len(cache))
        return x.reshape(-1, 4)

    monkeypatch.setattr(explore, "TRACES", 60)
    verdict = jc.check(numbered, "b h")
    assert verdict.runs > 60
    assert verdict.untried.is_empty()


def in_a_square(x, most=None):
    """The pixels as square maps, as models of patches make them."""
    side = int(math.sqrt(x.shape[1] * x.shape[2]))
    side = side if most is None or side <= most else most
    return x.reshape(-1, side, side, 3)


def in_stripes(x):
    side = x.shape[2] // 4
    count = x.shape[1] // side
    return x[:, : count * side].reshape(x.shape[0], count, side, x.shape[2], 3)


ON_SQUARES = {
    "a root": (lambda x: in_a_square(x[:, ::4, ::4]), "floor((h + 3)/4) = floor((w + 3)/4)", ""),
    "a power": (lambda x: x[:, : int((x.shape[1] * x.shape[2]) ** 0.5)], "h = w", ""),
    "a compared root": (lambda x: in_a_square(x, 7), "h = w and b = 1", "h <= 7 or h mod 7 = 0"),
    "two roots": (lambda x: in_a_square(in_a_square(x)[:, ::2, ::2]), "h = w", ""),
    "a quotient": (in_stripes, "h = w", "w >= 4"),
    "a small quotient": (lambda x: x[:, :: 1 + x.shape[1] // (x.shape[2] + 3)], "h = w", ""),
}


@pytest.mark.parametrize("name", ON_SQUARES)
def test_square_images_are_decided_on_their_own(name):
    function, where, accepted = ON_SQUARES[name]
    verdict = jc.check(function, "b h w 3")
    squares = jc.SizeSet.parse("b h w", where)
    assert (verdict.untried & squares).is_empty()
    assert (verdict.accepts & squares) == jc.SizeSet.parse("b h w", accepted) & squares
    assert verdict.runs <= 60
    network = Network(function, ("b h w 3",), None, ())
    for b, h, w in itertools.product((1, 2), (1, 2, 4, 7, 9, 14, 22), (1, 3, 4, 8, 14, 21, 22)):
        point = {"b": b, "h": h, "w": w}
        if not verdict.untried.contains(**point):
            assert not disagreement(network, verdict, point), point


def in_parts(x, parts):
    """Means over almost equal parts of the pixels, as equinox.nn.AdaptiveAvgPool1d computes."""
    pixels = x.reshape(x.shape[0], -1)
    size = pixels.shape[1]
    longer = size % parts
    if longer == 0:
        return pixels.reshape(x.shape[0], parts, -1).mean(-1)
    end = longer * (size // parts + 1)
    head = pixels[:, :end].reshape(x.shape[0], longer, -1).mean(-1)
    tail = pixels[:, end:].reshape(x.shape[0], -1, size // parts).mean(-1)
    return jnp.concatenate([head, tail], 1)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_parts_of_a_product_of_sizes_are_decided(parts):
    verdict = jc.check(lambda x: in_parts(x, parts), "b h w")
    assert verdict.untried.is_empty()
    for b, h, w in itertools.product((1, 2), range(1, 9), range(1, 9)):
        assert verdict.accepts.contains(b=b, h=h, w=w) == (h * w >= parts)
    assert str(verdict.outputs) == f"(b, {parts})"


def test_factors_that_are_multiples_of_one_another_cancel_without_a_fork():
    def windows(x):
        tokens, count = x.shape[0] * (x.shape[1] // 4) ** 2, (x.shape[1] // 28) ** 2
        return jnp.zeros((tokens // count, count))

    verdict = jc.check(windows, "b h", where="h % 28 <= 3 and h >= 28")
    assert verdict.ok
    assert str(verdict.outputs) == "(49*b, (h//28)*(h//28))"
    assert verdict.runs <= 5
