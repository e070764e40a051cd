"""feature_maps: every name, under the transformations, from a pure function."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

import jaxconv as jc
from tests.support.cnns import with_drawn_kernels


def noise(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    make = lambda: jc.VGG([(4, 5), (6,)], head=None, batch_norm=True, rngs=nnx.Rngs(0))  # noqa: E731
    return with_drawn_kernels(make)


def by_hand(model, x):
    maps = OrderedDict()  # as jit keeps it
    for layer in ("conv1_1", "conv1_2"):
        x = maps[layer] = jax.nn.relu(getattr(model, layer)(x))
    x = maps["pool1"] = jc.max_pool(x)
    x = maps["conv2_1"] = jax.nn.relu(model.conv2_1(x))
    maps["pool2"] = jc.max_pool(x)
    return maps


def same(got, want, names=None):
    assert list(got) == list(names or want)
    for name, value in got.items():
        np.testing.assert_allclose(value, want[name], atol=1e-5)


def test_every_map_in_the_order_of_computation(model):
    x = noise(2, 8, 12, 3)
    same(jc.feature_maps(model)(x), jax.jit(by_hand)(model, x))


def test_only_the_requested_maps_in_the_requested_order(model):
    x = noise(2, 8, 12, 3)
    names = ["pool1", "conv1_1"]
    same(jc.feature_maps(model, names)(x), by_hand(model, x), names)


def test_under_jit_only_the_requested_maps_are_computed(model):
    lowered = jax.jit(jc.feature_maps(model, ["conv1_1"])).lower(noise(2, 8, 12, 3))
    assert lowered.compile().as_text().count("convolution(") <= 1
    everything = jax.jit(jc.feature_maps(model)).lower(noise(2, 8, 12, 3)).as_text()
    assert everything.count("stablehlo.convolution") == 3
    assert lowered.as_text().count("stablehlo.convolution") == 1


def test_under_jit_vmap_and_with_the_model_as_argument(model):
    x = noise(3, 2, 8, 12, 3)
    run = jax.jit(by_hand)
    each = [run(model, image) for image in x]
    want = {name: np.stack([maps[name] for maps in each]) for name in each[0]}
    same(jax.jit(jax.vmap(jc.feature_maps(model)))(x), want)
    maps = nnx.jit(jc.feature_maps(lambda model, x: model(x)))(model, x[0])
    same(maps, each[0])


def test_the_gradient_of_a_map_is_that_of_the_function(model):
    x = noise(1, 8, 12, 3)
    got = jax.jit(jax.grad(lambda x: (jc.feature_maps(model)(x)["conv2_1"] ** 2).sum()))(x)
    want = jax.jit(jax.grad(lambda x: (by_hand(model, x)["conv2_1"] ** 2).sum()))(x)
    np.testing.assert_allclose(got, want, atol=1e-4)
    assert np.abs(want).max() > 1e-3


def test_names_inside_inner_calls_are_found():
    @jax.jit
    def inner(x):
        return checkpoint_name(jnp.sin(x), "sin")

    @jax.checkpoint
    def remat(x):
        return checkpoint_name(jnp.cos(inner(x)), "cos")

    @jax.custom_jvp
    def own(x):
        return checkpoint_name(jnp.exp(x), "exp")

    own.defjvp(lambda x, t: (own(*x), t[0]))
    x = noise(3)
    maps = jax.jit(jc.feature_maps(lambda x: own(remat(x))))(x)
    same(maps, {"sin": np.sin(x), "cos": np.cos(np.sin(x)), "exp": np.exp(np.cos(np.sin(x)))})


def test_a_name_given_twice_is_numbered():
    def twice(x):
        return checkpoint_name(checkpoint_name(x + 1, "map") * 2, "map")

    x = noise(3)
    same(jc.feature_maps(twice)(x), {"map": x + 1, "map#2": 2 * x + 2})


def test_a_call_without_names_keeps_its_own_gradient():
    @jax.custom_jvp
    def own(x):
        return x

    own.defjvp(lambda x, t: (x[0], 7.0 * t[0]))
    maps = jc.feature_maps(lambda x: checkpoint_name(own(x), "y"))
    assert jax.grad(lambda x: maps(x)["y"])(1.0) == 7.0


def test_an_unknown_name_is_refused_with_the_known_ones_nearest_first(model):
    with pytest.raises(jc.ShapeError) as error:
        jc.feature_maps(model, ["conv21"])(noise(1, 8, 8, 3))
    assert str(error.value) == (
        "feature_maps: layers is 'conv21', which is not valid.\n"
        "  Fix: set layers= to one of 'conv2_1', 'conv1_1', 'conv1_2', 'pool1', 'pool2'."
    )


def test_maps_of_a_scan_are_stacked():
    """As those of a loop over the layers, and with their gradient."""
    kernels = noise(3, 3, 3, 2, 2)

    def scanned(x):
        def step(x, kernel):
            return checkpoint_name(jnp.tanh(jc.conv(x, kernel)), "block"), (x * 2, kernel[0])

        x, _ = jax.lax.scan(step, x, kernels)
        return checkpoint_name(jc.conv(x, kernels[0]), "last")

    def looped(x):
        each = []
        for kernel in kernels:
            x = jnp.tanh(jc.conv(x, kernel))
            each.append(x)
        return {"block": jnp.stack(each), "last": jc.conv(x, kernels[0])}

    x = noise(1, 5, 6, 2)
    same(jc.feature_maps(scanned)(x), jax.jit(looped)(x))
    first = lambda maps: (maps["block"][0] * maps["last"]).sum()  # noqa: E731
    got = jax.jit(jax.grad(lambda x: first(jc.feature_maps(scanned)(x))))(x)
    want = jax.jit(jax.grad(lambda x: first(looped(x))))(x)
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_maps_inside_a_scan_inside_a_scan_that_runs_backwards():
    def outer(x):
        def inner(total, y):
            return checkpoint_name(total + y, "sum"), total

        def step(total, row):
            total, _ = jax.lax.scan(inner, total, row, reverse=True)
            return total * 2, total

        return jax.lax.scan(step, 0.0, x)

    x = noise(3, 4)
    want, total = np.zeros((3, 4)), 0.0
    for i in range(3):
        for j in reversed(range(4)):
            want[i, j] = total = total + x[i, j]
        total *= 2
    same(jc.feature_maps(outer)(x), {"sum": want})


def test_the_maps_of_a_scanned_function():
    """feature_maps may itself be the body of a scan."""
    images = noise(4, 1, 5, 6, 3)
    kernel = noise(3, 3, 3, 2)
    maps = jc.feature_maps(lambda x: checkpoint_name(jc.conv(x, kernel), "map"))
    _, got = jax.lax.scan(lambda carry, x: (carry, maps(x)), 0, images)
    want = {"map": jnp.stack([jc.conv(x, kernel) for x in images])}
    same(got, want)


@pytest.mark.parametrize("kind", ["while", "cond"])
def test_a_name_without_one_value_is_refused(kind):
    step = lambda x: checkpoint_name(x + 1, "inside")  # noqa: E731
    functions = {
        "while": lambda x: jax.lax.while_loop(lambda x: x < 9, step, x),
        "cond": lambda x: jax.lax.cond(x > 3, step, lambda x: x, x),
    }
    outside = lambda x: checkpoint_name(functions[kind](x), "outside")  # noqa: E731
    with pytest.raises(jc.ShapeError) as error:
        jc.feature_maps(outside, ["inside"])(1.0)
    assert str(error.value) == (
        "feature_maps: 'inside' is inside a while loop or a branch, where it has no single value.\n"
        "  Fix: return it from there, and name it outside."
    )
    same(jc.feature_maps(outside)(2.0), {"outside": functions[kind](2.0)})


class Plain(nnx.Module):
    """A network of nnx that names nothing."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.head = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.norm(self.stem(x))).mean((1, 2)))


def test_layers_without_names_are_maps_too():
    model = Plain(nnx.Rngs(3))
    x = noise(2, 6, 7, 3)
    stem = nnx.relu(model.norm(model.stem(x)))
    maps = jc.feature_maps(model)(x)
    assert [*maps] == [row.name for row in jc.summary(model, "b h w 3").rows]
    reduction = [*maps][1]
    assert reduction.startswith("mean (test_feature_maps.py:")
    same(maps, {"stem": stem, reduction: stem.mean((1, 2)), "head": model(x)})
    same(jc.feature_maps(model, [3, "stem", 1])(x), {"head": model(x), "stem": stem})


@pytest.mark.parametrize("head", ["dense", "conv"])
def test_a_result_without_a_name_is_a_map_only_on_request(head):
    """As the logits of VGG, whose maps all have names."""
    model = nnx.eval_shape(lambda: jc.vgg16(head=head))
    graph, state = nnx.split(model)
    call = lambda state, x: nnx.merge(graph, state)(x)  # noqa: E731
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    maps = jax.eval_shape(jc.feature_maps(call), state, image)
    assert [*maps][-3:] == ["pool5", "fc6", "fc7"]
    asked = jax.eval_shape(jc.feature_maps(call, ["fc8"]), state, image)
    assert asked["fc8"].shape == {"dense": (1, 1000), "conv": (1, 1, 1, 1000)}[head]


def test_functions_of_parameters_and_of_keywords():
    params = {"kernel": noise(3, 3, 3, 2), "bias": noise(2)}

    def network(params, x, *, slope, training=False):
        y = jc.conv(x, params["kernel"], params["bias"])
        return jnp.where(y > 0, y, slope * y), training

    x = noise(1, 5, 6, 3)
    for given in ((params, x, False), (params, x)):
        maps = jc.feature_maps(lambda p, x, t=True: network(p, x, slope=0.1, training=t))(*given)
        (got,) = maps.values()
        np.testing.assert_allclose(got, network(params, x, slope=0.1)[0], atol=1e-5)
    (got,) = jc.feature_maps(network)(params, x, slope=0.3).values()
    np.testing.assert_allclose(got, network(params, x, slope=0.3)[0], atol=1e-5)


def test_without_jit_only_the_requested_maps_are_computed():
    computed = []

    def late(x):
        computed.append(1)
        return x

    def network(x):
        x = checkpoint_name(x + 1, "early")
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return checkpoint_name(jax.pure_callback(late, shape, x), "late")

    x = noise(3)
    same(jc.feature_maps(network, "early")(x), {"early": x + 1})
    assert not computed
    same(jc.feature_maps(network, "late")(x), {"late": x + 1})
    assert computed == [1]


@pytest.mark.parametrize("row", [0, 6, -2])
def test_a_number_of_no_layer_is_refused(model, row):
    with pytest.raises(jc.ShapeError) as error:
        jc.feature_maps(model, row)(noise(1, 8, 8, 3))
    assert str(error.value) == (
        f"feature_maps: layers is {row}, which is not a layer.\n"
        "  Fix: pass its name, or its number, 1 to 5."
    )


def test_a_call_with_names_inside_keeps_its_own_gradient():
    @jax.custom_vjp
    def straight(x):
        return checkpoint_name(jnp.round(x), "rounded")

    straight.defvjp(lambda x: (straight(x), None), lambda _, g: (g,))

    @jax.custom_jvp
    def steep(x):
        return checkpoint_name(x + 1, "more")

    steep.defjvp(lambda x, t: (steep(*x), 100 * t[0]))
    f = lambda x: checkpoint_name(2 * steep(straight(x)), "out")  # noqa: E731
    maps = jc.feature_maps(f)
    assert {n: float(v) for n, v in maps(1.3).items()} == {"rounded": 1, "more": 2, "out": 4}
    assert jax.grad(lambda x: maps(x)["out"])(1.3) == jax.grad(f)(1.3) == 200.0


def test_a_name_like_a_number_of_another_does_not_hide_it():
    def three(x):
        return checkpoint_name(checkpoint_name(checkpoint_name(x, "a#2") + 1, "a") + 1, "a")

    assert {n: float(v) for n, v in jc.feature_maps(three)(0.0).items()} == {
        "a#2": 0, "a": 1, "a#3": 2
    }  # fmt: skip


def test_one_name_may_be_given_alone(model):
    x = noise(1, 8, 8, 3)
    same(jc.feature_maps(model, "pool1")(x), by_hand(model, x), ["pool1"])
