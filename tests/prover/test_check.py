"""Proofs against tracing size by size, and the verdicts on networks that people write."""

import inspect
import itertools
import json

import islpy as isl
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax import lax

import jaxconv as jc
from experiments.soundness import examine
from jaxconv.source import is_inside_jax


def test_proofs_agree_with_tracing_size_by_size(number):
    row = examine(number, sizes=12)
    assert row["outcome"] == "right", row


def test_most_random_networks_are_decided():
    rows = [examine(number, sizes=0) for number in range(1000, 1012)]
    assert sum(row["decided"] for row in rows) >= len(rows) - 1, rows


def conv(x, size, channels, stride=1, padding="SAME"):
    kernel = jnp.zeros((size, size, x.shape[-1], channels))
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=order)


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def trunk(x):
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = jax.nn.relu(conv(x, 3, channels))
        x = pool(x)
    return x


def bare_head(x):
    x = trunk(x)
    return x.reshape(x.shape[0], -1) @ jnp.zeros((25088, 10))


def join(x):
    return conv(x, 3, 8, 2, "SAME") + conv(x, 3, 8, 2, [(1, 1), (1, 1)])


def u_net(x):
    skips = []
    for _ in range(4):
        skips.append(x)
        x = pool(conv(x, 3, 4))
    for skip in skips[::-1]:
        x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
        x = jnp.concatenate([x, skip], -1)
        x = conv(x, 3, 4)
    return x


def symmetric(x):
    return x + jnp.swapaxes(x, 1, 2)


def patchify(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c)


def stem(x):
    return jc.max_pool(conv(x, 7, 64, 2, [(3, 3), (3, 3)]), 3, stride=2, padding=1)


def flatten_and_dense(x):
    return jc.dense(jc.flatten(jc.max_pool(x, 8)), jnp.zeros((12, 5)))


def strided_gradient(x):
    return jax.grad(lambda k: (jc.conv(x, k, stride=2) ** 2).sum())(jnp.zeros((3, 3, 3, 4)))


VERDICTS = {
    trunk: ("refuted", "h >= 32, w >= 32", "(b, h//32, w//32, 512)"),
    bare_head: (
        "refuted",
        "(32 <= h <= 63, 1568 <= w <= 1599) or (224 <= h <= 255, 224 <= w <= 255) or "
        "(1568 <= h <= 1599, 32 <= w <= 63)",
        "(b, 10)",
    ),
    join: ("proven", "every size", "(b, (h + 1)//2, (w + 1)//2, 8)"),
    u_net: ("refuted", "h and w multiples of 16", "(b, h, w, 4)"),
    patchify: ("refuted", "h and w multiples of 2", "(b, h//2, 2, w//2, 2, 3)"),
    stem: ("proven", "every size", "(b, (h + 3)//4, (w + 3)//4, 64)"),
    flatten_and_dense: (
        "refuted",
        "(8 <= h <= 15, 32 <= w <= 39) or (16 <= h <= 23, 16 <= w <= 23) or "
        "(32 <= h <= 39, 8 <= w <= 15)",
        "(b, 5)",
    ),
    strided_gradient: ("proven", "every size", "(3, 3, 3, 4)"),
}


@pytest.mark.parametrize("function", VERDICTS, ids=lambda f: f.__name__)
def test_verdicts_on_networks_that_people_write(function):
    verdict = jc.check(function, "b h w 3")
    found = verdict.status, str(verdict.accepts), str(verdict.outputs)
    assert found == VERDICTS[function]
    assert verdict.ok == (verdict.status == "proven")


def test_a_common_factor_of_two_products_cancels():
    verdict = jc.check(lambda x: x.reshape(x.shape[0], 36), "b h w")
    pairs = [(h, 36 // h) for h in (1, 2, 3, 4, 6, 9, 12, 18, 36)]
    where = " or ".join(f"h = {h} and w = {w}" for h, w in pairs)
    assert verdict.accepts == jc.SizeSet.parse("b h w", where)
    assert verdict.untried.is_empty()


def test_an_accident_of_a_flatten_is_explained():
    (note, *_) = jc.check(bare_head, "b h w 3").notes
    assert note == (
        "512*(h//32)*(w//32) - 25088 is 0 in 3 ways (h//32 = 1, w//32 = 49; h//32 = 7, w//32 = 7; "
        "h//32 = 49, w//32 = 1), and all are accepted; to keep one, fix the sizes before the "
        "flatten with a contract, or pool to a fixed map."
    )


def test_an_error_of_the_set_library_proves_nothing():
    def broken(x):
        raise isl.Error("out of operations")

    verdict = jc.check(broken, "h")
    assert not verdict.ok
    assert not verdict.failures


def test_a_broadcasting_accident_is_found():
    verdict = jc.check(symmetric, "b h w 3")
    accident = jc.SizeSet.parse("b h w", "w = h or h = 1 or w = 1")
    assert verdict.accepts == accident


VGG16 = {
    None: ("h >= 32 and w >= 32", lambda h, w: (h // 32, w // 32, 512)),
    "dense": ("224 <= h <= 255 and 224 <= w <= 255", lambda h, w: (1000,)),
    "conv": ("h >= 224 and w >= 224", lambda h, w: (h // 32 - 6, w // 32 - 6, 1000)),
}


@pytest.mark.parametrize("head", VGG16)
def test_vgg16_exactly(head):
    model = nnx.eval_shape(lambda: jc.vgg16(head=head))
    where, shape = VGG16[head]
    verdict = jc.check(model, "b h w 3")
    assert verdict.accepts == jc.SizeSet.parse("b h w", where)
    for h, w in [(224, 255), (230, 224)]:
        found = [n if isinstance(n, int) else n.at(b=2, h=h, w=w) for n in verdict.outputs]
        assert found == [2, *shape(h, w)]
    assert jc.check(model, "b h w 3", where=where).ok


def test_a_training_step_is_proven_for_every_batch_size():
    model = jc.VGG([(4, 4), (8,)], head=None, batch_norm=True, rngs=nnx.Rngs(0))
    model.train()
    definition, params, rest = nnx.split(model, nnx.Param, ...)
    optimiser = optax.sgd(0.1, momentum=0.9)

    def step(params, state, x, y):
        def loss(params):
            fresh = jax.tree.map(jnp.asarray, rest)  # the statistics change in this trace
            logits = jc.global_avg_pool(nnx.merge(definition, params, fresh)(x))
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    verdict = jc.check(
        step, params, optimiser.init(params), "b h w 3", "b:int32", where="h >= 4 and w >= 4"
    )
    assert verdict.ok, str(verdict)


def test_a_function_of_an_installed_package_is_no_part_of_jax():
    assert not is_inside_jax(jc.__file__)
    assert is_inside_jax(jax.__file__)
    assert is_inside_jax(lax.__file__)
    verdict = jc.check(jc.max_pool, "b h w c")
    assert verdict.accepts == jc.SizeSet.parse("b h w c", "h >= 2 and w >= 2")


def test_conditions_are_joined_by_commas_or_by_and():
    same = [
        jc.check(lambda x: x, "h w", where=w).accepts for w in ("h >= 3, w < h", "h >= 3 and h > w")
    ]
    assert same[0] == same[1] == jc.SizeSet.parse("h w", "h >= 3 and w < h")


def test_promises():
    pooled = lambda x: jc.max_pool(x, 3, stride=2, padding=1)  # noqa: E731
    assert jc.check(pooled, "b h w 8", returns="b (h+1)//2 (w+1)//2 8").ok
    assert jc.check(pooled, "b h w 8", returns="b ... 8").ok
    assert jc.check(pooled, "b h w 8", returns="_ _ max((w+1)//2,1) _").ok
    wrong = jc.check(pooled, "b h w 8", returns="b h//2 _ 8")
    (failure,) = wrong.failures
    assert failure.message == (
        "for h = 1 the function returns 1 row, the contract says 0 "
        "(axis 1 is (h + 1)//2, not h//2)."
    )
    assert failure.smallest == {"b": 1, "h": 1, "w": 1}
    assert wrong.accepts == jc.SizeSet.parse("b h w", "h mod 2 = 0")
    axes = jc.check(pooled, "b h w 8", returns="b h w")
    assert axes.failures[0].message == (
        "the function returns shape (b, (h + 1)//2, (w + 1)//2, 8), the contract says 3 axes."
    )
    two = jc.check(lambda x, y: (x, {"y": y}), "b h", "b k", returns=("b h", {"y": "b k"}))
    assert two.ok
    assert str(two.outputs) == "((b, h), {'y': (b, k)})"


def test_a_failure_names_the_line_the_reason_and_the_smallest_size():
    verdict = jc.check(u_net, "b h w 3")
    empty, failure = verdict.failures
    first = inspect.getsourcelines(u_net)[1]
    assert empty.message.startswith("a feature map is empty: one of its sides is ")
    assert empty.message.endswith(", which is 0 for h = 1.")
    assert empty.sizes == jc.SizeSet.parse("b h w", "h < 16 or w < 16")
    assert empty.where == f"test_check.py:{inspect.getsourcelines(pool)[1] + 1}"
    assert failure.where == f"test_check.py:{first + 7}"  # where it concatenates
    assert failure.path == __file__
    assert failure.message.startswith("TypeError: Cannot concatenate arrays with shapes")
    assert failure.smallest == {"b": 1, "h": 16, "w": 17}
    assert failure.fix.endswith("nearest to the first failure: b = 1, h = 16, w = 32.")
    assert failure.sizes | empty.sizes == jc.SizeSet.parse("b h w") - verdict.accepts
    data = json.loads(json.dumps(verdict.to_json()))
    assert data["status"] == "refuted"
    assert data["failures"][-1]["smallest"] == failure.smallest


def test_errors_of_the_users_own_are_failures_and_what_cannot_be_traced_is_open():
    def mine(x):
        if x.shape[1] == 7:
            raise KeyError("seven")
        return x

    verdict = jc.check(mine, "b h w 3")
    assert verdict.accepts == jc.SizeSet.parse("b h w", "h < 7 or h > 7")
    assert [f.message for f in verdict.failures] == ["KeyError: 'seven'"]

    verdict = jc.check(lambda x: jnp.zeros(int(x.shape[1])), "b h w 3")
    assert verdict.status == "tested"
    assert not verdict.ok
    assert verdict.notes == (
        "not decided: the code needs h as a number",
        "tried 12 sizes one by one",
    )
    assert verdict.accepts.contains(b=3, h=3, w=3)
    assert verdict.untried.contains(b=3, h=4, w=3)
    assert not verdict.accepts.contains(b=3, h=4, w=3)


UNDECIDED = {
    "a quotient": (lambda x: x.reshape(-1, 12), lambda h, w: h * w % 12 == 0),
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


def test_arguments_may_mix_arrays_specs_and_trees():
    def layer(params, x, scale):
        return jc.conv(x, params["kernel"], params["bias"]) * scale

    params = {"kernel": jnp.ones((3, 3, 3, 8)), "bias": "8"}
    verdict = jc.check(layer, params, "b h w 3", 2.0)
    assert str(verdict) == "proven: accepts every size, returns (b, h, w, 8)"
    verdict = jc.check(lambda x, y: x @ y, "b k m:bfloat16", "b m n:bfloat16", returns="b k n")
    assert verdict.ok


MALFORMED = {
    "h + ": ("b h+ 3", "this is not a formula.\n  b h+ 3\n    ^"),
    "a call": ("b f(h) 3", "make a formula.\n  b f(h) 3\n    ^"),
    "a fraction": ("b h/2 3", "make a formula.\n  b h/2 3\n    ^"),
    "no dtype": ("b h 3:", "must follow the colon.\n  b h 3:\n        ^"),
    "two rests": ("... h ...", "may occur only once.\n  ... h ...\n        ^"),
    "an attribute": ("b h.w", "make a formula.\n  b h.w\n    ^"),
    "no name": ("b mod 3", "'mod' cannot name a size."),
    "a rest as argument": ("... 3", "An argument has _ or ... as a size."),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_spec_gets_a_caret(name):
    spec, message = MALFORMED[name]
    with pytest.raises(jc.SpecError) as error:
        jc.check(lambda x: x, spec)
    assert message in str(error.value)
    assert "Fix: " in str(error.value)


WHERE = {
    "an unknown name": ("k >= 3", "where= names k, but the sizes are b, h."),
    "no comparison": ("h + 3", "a comparison is expected, such as h >= 32."),
    "unequal": ("h != 3", "only < <= == >= > compare sizes."),
    "no condition": ("h >=", "this is not a condition."),
    "a product": ("h*b >= 3", "where= has a product of sizes."),
}


@pytest.mark.parametrize("name", WHERE)
def test_a_malformed_condition_is_refused(name):
    where, message = WHERE[name]
    with pytest.raises(jc.SpecError) as error:
        jc.check(lambda x: x, "b h", where=where)
    assert message in str(error.value)
    with pytest.raises(jc.SpecError) as error:
        jc.sizes("b h", where=where)
    assert message in str(error.value)


def test_an_unknown_name_in_a_promise_is_refused():
    with pytest.raises(jc.SpecError, match="returns= names k, but the arguments have b, h"):
        jc.check(lambda x: x, "b h", returns="b k")


class Down(nnx.Module):
    def __init__(self, rngs):
        self.down = nnx.Conv(3, 4, (3, 3), strides=2, padding="VALID", rngs=rngs)

    def __call__(self, x):
        return self.down(x)


def strided_stem(x):
    return conv(x, 7, 4, 2, [(3, 3), (3, 3)])


def small_windows(x):
    return conv(x, 1, 4, 2, "SAME")


def tokens(x):
    return lax.reduce_window(x.reshape(-1), 0.0, lax.add, (2,), (2,), "VALID")


LOST = {
    "VGG16": (
        lambda: nnx.eval_shape(lambda: jc.vgg16(head=None)),
        ["the window of pool1 does not reach the end of its map, first for h = 32, w = 33; "
         "to use all, pad to sizes with h and w multiples of 32, or crop to them."],
    ),
    "a layer": (
        lambda: Down(nnx.Rngs(0)),
        ["the window of down at test_check.py:LINE does not reach the end of its map, first for "
         "h = 32, w = 32; to use all, pad to sizes with h >= 33, h odd, w >= 33, w odd, or crop "
         "to them."],
    ),
    "padding is no loss": (lambda: strided_stem, []),
    "windows smaller than their stride": (lambda: small_windows, []),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_pixels_that_no_window_sees_are_noted(name):
    make, notes = LOST[name]
    line = inspect.getsourcelines(Down.__call__)[1] + 1
    verdict = jc.check(make(), "b h w 3", where="h >= 32 and w >= 32")
    assert verdict.ok
    assert list(verdict.notes) == [note.replace("LINE", str(line)) for note in notes]


def test_a_pixel_that_is_noted_as_lost_has_no_gradient_and_others_have():
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 4))
    for h in range(5, 12):
        verdict = jc.check(lambda x: jc.conv(x, kernel, stride=2, padding=0), f"1 {h} h 2")
        lost = any("end of its map" in note for note in verdict.notes)
        x = jax.random.normal(jax.random.key(h), (1, h, 9, 2))
        seen = jax.grad(lambda x: (jc.conv(x, kernel, stride=2, padding=0) ** 2).sum())(x)
        assert bool((seen[0, -1] == 0).all()) == (h % 2 == 0)
        assert lost or h % 2


def test_a_window_over_a_flattened_map_is_no_error():
    assert jc.check(tokens, "h w", where="h >= 2").status == "tested"


@pytest.mark.parametrize("mode", ["edge", "mean", "maximum", "reflect"])
def test_nothing_may_be_joined_to_a_map(mode):
    """jnp.pad joins an empty piece to each side that it does not pad."""
    verdict = jc.check(
        lambda x: jnp.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)), mode),
        "b h w 3",
        returns="b h+2 w+2 3",
        where="h >= 2 and w >= 3",
    )
    assert verdict.ok, verdict
    assert jc.check(lambda x: jnp.roll(x, 0, 1), "b h w 3", returns="b h w 3").ok


@pytest.mark.parametrize("end", ["joined", "summed", "returned"])
def test_an_empty_map_is_a_failure_wherever_it_goes(end):
    kernel = jnp.ones((3, 1, 3, 3))
    ends = {
        "joined": lambda x, y: jnp.concatenate([x, y], 1),
        "summed": lambda x, y: jnp.concatenate([x, y.sum((1, 2), keepdims=True) + x], 1),
        "returned": lambda x, y: (x, y),
    }
    with_map = lambda x: ends[end](x, lax.conv_general_dilated(  # noqa: E731
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ))  # fmt: skip
    verdict = jc.check(with_map, "b h w 3")
    assert str(verdict.accepts) == "h >= 3"
    cut = jc.check(lambda x: x[:, 3:].sum(), "b h w 3")
    assert str(cut.accepts) == "h >= 4"
