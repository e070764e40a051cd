"""Receptive fields: golden numbers, and gradients on random networks."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

import jaxconv as jc
from jaxconv.analysis.receptive_field import analyze_fields
from tests.support.networks import network
from tests.support.oracle import names_of, outcome, value
from tests.support.visible_pixels import hull, seen

# Size and stride of VGG16's layers.
GOLDEN = {
    "conv1_1": (3, 1), "conv1_2": (5, 1), "pool1": (6, 2), "conv2_1": (10, 2),
    "conv2_2": (14, 2), "conv3_3": (40, 4), "conv4_3": (92, 8), "conv5_3": (196, 16),
    "pool5": (212, 32), "fc6": (404, 32), "fc7": (404, 32),
}  # fmt: skip


def noise(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("spec", ["1 256 320 3", "b h w 3"])
def test_golden_numbers_of_vgg16(spec):
    model = nnx.eval_shape(lambda: jc.vgg16(head="conv"))
    found = analyze_fields(model, spec, where=None if spec[0] == "1" else "h >= 224 and w >= 224")
    assert len(found.names()) == 21
    for name, (size, stride) in GOLDEN.items():
        field = found.field(name)
        assert (field.size, field.stride) == ((size, size), (stride, stride)), name
        assert field.exact
    assert found.field("conv5_3").offset == (-90, -90)


def test_behind_a_flatten_a_neuron_sees_the_whole_image():
    model = nnx.eval_shape(lambda: jc.vgg16(head="dense"))
    field = jc.receptive_field(model, "1 224 224 3", layer="fc6")
    assert (field.map, field.box(), field.exact) == ((), ((0, 224), (0, 224)), True)
    assert field.short() == "whole image"
    assert str(field) == "fc6: whole image, the same for each neuron"
    assert (field.size, field.offset) == ((404, 404), (-90, -90))


KERNEL = np.ones((3, 3, 3, 3), np.float32)


def squeezed(x):
    x = jc.conv(x, KERNEL, stride=2)
    return x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True))


def first_rows(x):
    return jc.conv(x, KERNEL)[:, :5, :5].mean((1, 2))


def attention(x):
    tokens = jc.conv(x, KERNEL, stride=4).reshape(x.shape[0], -1, 3)
    return jax.nn.softmax(tokens @ tokens.transpose(0, 2, 1)) @ tokens


def enlarged(x):
    for _ in range(2):
        size = (1, 2 * x.shape[1], 2 * x.shape[2], 3)
        x = jc.conv(jax.image.resize(x, size, "cubic"), KERNEL)
    return x


# What tables and texts say of the last layer, for an image of 32 x 36 and for all sizes.
TEXTS = {
    squeezed: (
        ("whole image", "whole image, the same for each neuron"),
        ("at most whole image", "at most whole image, the same for each neuron"),
    ),
    first_rows: (
        ("6", "6 x 6 pixels, the same for each neuron"),
        ("min(h, 6)xmin(w, 6)", "min(h, 6) x min(w, 6) pixels, the same for each neuron"),
    ),
    attention: (
        ("<=31x35", "at most 31 x 35 pixels, the same for each neuron"),
        ("at most whole image", "at most whole image, the same for each neuron"),
    ),
    enlarged: (
        ("7", "7 x 7 pixels; box() tells which"),
        ("at most whole image", "at most whole image, the same for each neuron"),
    ),
}


@pytest.mark.parametrize("fn", TEXTS)
@pytest.mark.parametrize("spec", ["1 32 36 3", "1 h w 3"])
def test_a_text_claims_no_more_than_is_known(fn, spec):
    short, text = TEXTS[fn][spec == "1 h w 3"]
    named = lambda x: checkpoint_name(fn(x), "last")  # noqa: E731
    field = jc.receptive_field(named, spec, layer="last")
    assert (field.short(), str(field)) == (short, f"last: {text}")


def test_a_layer_that_happens_to_see_a_small_image_keeps_its_size():
    model = nnx.eval_shape(lambda: jc.vgg16(head=None))
    field = jc.receptive_field(model, "1 64 75 3", layer="pool5")
    assert field.box(1, 1) == ((0, 64), (0, 75))
    assert field.short() == "212/32"


def test_offsets_under_same_padding_are_formulas():
    """The padding of a strided convolution depends on the size; so does what each neuron sees."""
    kernel = noise(3, 3, 3, 2)
    fn = lambda x: jc.conv(x, kernel, stride=2)  # noqa: E731
    field = jc.receptive_field(fn, "b h w 3", layer=1)
    assert str(field.map[0]) == "(h + 1)//2"
    for h, w in [(7, 12), (8, 5), (1, 2), (30, 31)]:
        exact = jc.receptive_field(fn, f"1 {h} {w} 3", layer=1)
        assert tuple(n.at(h=h, w=w) for n in field.offset) == exact.offset
        assert exact.offset == (-(h % 2), -(w % 2))
        got = [
            n if isinstance(n, int) else n.at(h=h, w=w) for ends in field.box(0, 0) for n in ends
        ]
        assert got == [n for ends in exact.box(0, 0) for n in ends]


class Linear:
    """Makers of layers without activations, whose kernels are random."""

    def __init__(self, seed):
        self.dice = np.random.default_rng(seed)

    def numbers(self, low, high):
        return tuple(self.dice.integers(low, high, 2).tolist())

    def one(self, *options):
        return options[self.dice.integers(len(options))]

    def kernel(self, x, *size, filters=2):
        return jnp.asarray(self.dice.normal(size=(*size, x.shape[-1], filters)), jnp.float32)

    def conv(self, x):
        kernel = self.kernel(x, *self.numbers(1, 5))
        padding = self.one("SAME", (self.numbers(0, 3), self.numbers(0, 3)))
        dilation, stride = self.numbers(1, 3), self.numbers(1, 4)
        return jc.conv(x, kernel, padding=padding, dilation=dilation, stride=stride)

    def transposed(self, x):
        kernel = self.kernel(x, *self.numbers(1, 5))
        return jc.conv_transpose(x, kernel, stride=self.numbers(1, 4))

    def pool(self, x):
        return jc.avg_pool(x, self.numbers(1, 4), stride=self.numbers(1, 4), padding="SAME")

    def skip(self, x):
        return x + jc.conv(x, self.kernel(x, 3, 3, filters=x.shape[-1]))

    def branches(self, x):
        low = jc.conv(x, self.kernel(x, 1, 3))
        high = jc.conv(x, self.kernel(x, 5, 1), dilation=2)
        together = jnp.concatenate([low, high, x], -1)
        return together @ self.kernel(together)

    def resize(self, x):
        b, h, w, c = x.shape
        return jax.image.resize(x, (b, 2 * h, w + 3, c), self.one("nearest", "linear"))

    def turn(self, x):
        return self.one(x[:, ::-1], x.swapaxes(1, 2), x[:, 1:, ::2], jnp.repeat(x, 2, 1))

    def pad(self, x):
        mode = self.one("wrap", "reflect", "edge", "constant")
        return jnp.pad(x, ((0, 0), (1, 2), (2, 0), (0, 0)), mode)

    def scan(self, x):
        kernels = jnp.stack([self.kernel(x, 3, 2, filters=x.shape[-1]) for _ in range(3)])
        return jax.lax.scan(lambda x, k: (jc.conv(x, k), None), x, kernels)[0]

    def excite(self, x):
        return x + 2 * x.mean((1, 2), keepdims=True)


MAKERS = ("conv", "conv", "conv", "transposed", "pool", "skip", "branches", "resize", "turn", "pad",
          "scan", "excite")  # fmt: skip


def run(seed, x):
    """The random network of this number."""
    make = Linear(seed)
    for name in [make.one(*MAKERS) for _ in range(4)]:
        x = getattr(make, name)(x)
    return checkpoint_name(x, "last")


def first_that_takes(shape, chosen):
    """The first network from a number on of which no map is empty."""
    for turn in range(100):
        fn = functools.partial(run, [chosen, turn])
        if jc.check(fn, " ".join(map(str, shape))).ok:
            return fn
    raise AssertionError("no network takes this size")


def test_the_gradient_reaches_exactly_the_box(number):
    """A neuron depends on the first and last row and column of its box, and on none outside.

    The box of each place along either axis is compared, those at the borders too.
    """
    shape = (1, 13, 16, 2)
    fn = first_that_takes(shape, number)
    field = jc.receptive_field(fn, "1 13 16 2", layer="last", layout="NHWC")
    made = jax.eval_shape(fn, jax.ShapeDtypeStruct(shape, jnp.float32)).shape
    image = jnp.asarray(noise(*shape))
    assert field.map in (made[1:3], made[2:0:-1])
    turned = field._field[0].axis == 2
    slope = jax.jit(jax.grad(lambda x, y, z: (fn(x)[0, y, z] * noise(made[-1])).sum()))
    places = [(y, min(y, made[2] - 1)) for y in range(made[1])]
    places += [(min(z, made[1] - 1), z) for z in range(made[2])]
    for y, z in places:
        got = hull(np.asarray(slope(image, y, z)) != 0)[1:3]
        box = field.box(*((z, y) if turned else (y, z)))
        assert list(box) == got if field.exact else covers(box, got), (y, z)
    assert field.exact or number in INEXACT or number >= KNOWN


def covers(box, got):
    return all(
        ends == (0, 0) or (first <= ends[0] and ends[1] <= end)
        for (first, end), ends in zip(box, got, strict=True)
    )


# Branches join there of which one sees nothing but padding; looked at for the first 40 networks.
INEXACT, KNOWN = (1, 8, 10, 11, 13, 14, 20, 21, 29), 40


def test_nothing_outside_the_box_has_a_gradient(number):
    """Networks of every kind, with activations, attention, models of other libraries."""
    dice = np.random.default_rng(number)
    fn, shape = next(filter(None, (taken(100 * number + turn, dice) for turn in range(100))))
    found = analyze_fields(fn, " ".join(map(str, shape)))
    refs = found.networks.regions[0].network.maps()
    plain = [name for name in found.names() if not inside_loop(refs[name])]
    for name in plain[-1:]:
        field = found.field(name)
        place = [None] * len(refs[name].var.aval.shape)
        for axis, size in zip(axes(field), field.map, strict=True):
            place[axis] = int(dice.integers(size))
        at = [place[axis] for axis in axes(field)]
        image = jax.ShapeDtypeStruct(shape, jnp.float32)
        got = hull(seen(fn, [image], name, place))[1:-1]
        assert covers(field.box(*at), got), name


SIDES = (6, 8, 9, 12, 15, 16)


def taken(number, dice):
    """The random network of a number, and a shape of images that it takes; None if none is found.

    A function of the images alone, which has gradients.
    """
    made = network(number)._replace(returns=None)
    names, images = names_of(made.specs), ("b", "batch", "images")
    for _ in range(12):
        point = {name: 1 if name in images else int(dice.choice(SIDES)) for name in names}
        first, *rest = [tuple(value(n, point) for n in spec.split()) for spec in made.specs]
        fn = functools.partial(call, made.fn, [noise(*shape) for shape in rest])
        if outcome(made, point) is not None and has_gradients(fn, first):
            return fn, first
    return None


def call(fn, rest, x):
    return fn(x, *rest)


def has_gradients(fn, shape):
    """Loops of an unknown length have none, and neither has JAX for some pools."""
    total = lambda x: sum(leaf.sum() for leaf in jax.tree.leaves(fn(x)))  # noqa: E731
    try:
        jax.eval_shape(jax.grad(total), jax.ShapeDtypeStruct(shape, jnp.float32))
    except (ValueError, NotImplementedError):
        return False
    return True


def inside_loop(ref):
    return any(call.primitive.name in ("scan", "while", "cond") for call in ref.calls)


def axes(field):
    return list(dict.fromkeys(r.axis for r in field._field if r.axis is not None))


def test_a_skip_connection_sees_both_branches():
    def network(x):
        low = jc.conv(x, jnp.ones((3, 3, 2, 2)), padding=((2, 0), (2, 0)))
        high = jc.conv(x, jnp.ones((3, 3, 2, 2)), padding=((0, 2), (0, 2)))
        return checkpoint_name(low + high, "sum")

    field = jc.receptive_field(network, "b h w 2", layer="sum")
    assert (field.size, field.offset, field.stride) == ((5, 5), (-2, -2), (1, 1))
    assert field.box(4, 7, clip=False) == ((2, 7), (5, 10))


def test_upsampling_has_a_stride_below_one():
    fn = lambda x: jc.conv_transpose(x, jnp.ones((2, 3, 1, 1)), stride=(2, 3))  # noqa: E731
    field = jc.receptive_field(fn, "b h w 1", layer=1)
    assert field.stride == (Fraction(1, 2), Fraction(1, 3))
    assert (field.size, field.short()) == ((1, 1), "1/0.5x0.33")
    assert jc.receptive_field(fn, "1 4 5 1", layer=1).box(3, 13) == ((1, 2), (4, 5))


def test_an_axis_that_is_summed_up_has_no_places():
    kernel = noise(3, 3, 2, 4)
    rows = lambda x: checkpoint_name(jc.conv(x, kernel).mean(2), "rows")  # noqa: E731
    field = jc.receptive_field(rows, "1 9 7 2", layer="rows")
    assert field.map == (9,)
    assert field.box(0) == ((0, 2), (0, 7))
    formula = jc.receptive_field(rows, "b h w 2", layer="rows")
    assert (formula.size[0], str(formula.size[1])) == (3, "w + 2")


@pytest.mark.parametrize("layout", ["NCHW", "CHW", "NCW", "HWC", "DHWC"])
def test_other_layouts(layout):
    """The same box as with the channels last, of the same numbers."""
    sizes = {"N": 2, "C": 3, "D": 6, "H": 9, "W": 8}
    shape = [sizes[letter] for letter in layout]
    spatial = [letter for letter in layout if letter not in "NC"]
    order = [*(["N"] if "N" in layout else []), *spatial, "C"]
    kernel = noise(*[3] * len(spatial), 3, 4)
    batched = {1: "NWC", 2: "NHWC", 3: "NDHWC"}[len(spatial)]

    def network(x):
        x = x.transpose([layout.index(letter) for letter in order])
        x = x if "N" in layout else x[None]
        return checkpoint_name(jc.conv(x, kernel, stride=2, padding=1, layout=batched), "map")

    spec = " ".join(map(str, shape))
    field = jc.receptive_field(network, spec, layer="map", layout=layout)
    assert jc.receptive_field(network, spec, layer="map") == field  # read off the convolution
    assert field.image == tuple(sizes[letter] for letter in spatial)
    assert field.box(*[1] * len(spatial)) == ((1, 4),) * len(spatial)


def test_channels_that_see_different_pixels_are_no_more_exact_when_one_is_picked():
    def network(x):
        wide = jnp.concatenate([jc.conv(x, noise(5, 5, 2, 1)), x], -1)
        mixed = checkpoint_name(jc.conv(wide, noise(1, 1, 3, 2)), "mixed")
        return mixed, checkpoint_name(jc.conv(wide[..., 1:], noise(1, 1, 2, 2)), "some")

    found = analyze_fields(network, "1 9 9 2")
    assert (found.field("mixed").exact, found.field("mixed").size) == (True, (5, 5))
    assert (found.field("some").exact, found.field("some").short()) == (False, "<=5/1")


def test_a_neuron_that_sees_only_padding_sees_nothing():
    fn = lambda x: jc.conv(jnp.pad(x, ((0, 0), (4, 0), (0, 0), (0, 0))), noise(3, 3, 1, 1))  # noqa: E731
    field = jc.receptive_field(fn, "1 6 6 1", layer=1)
    assert (field.box(0, 3), field.box(3, 3)) == (((0, 0), (0, 0)), ((0, 1), (2, 5)))


def test_a_function_may_draw_random_numbers():
    key = jax.random.key(0)
    fn = lambda x: jc.conv(x, jax.random.normal(key, (3, 3, 1, 1)))  # noqa: E731
    assert jc.receptive_field(fn, "1 6 6 1", layer=1).box(2, 2) == ((1, 4), (1, 4))


def plain(x, kernel):
    return checkpoint_name(jc.conv(x, kernel), "map") + kernel.sum()


WRONG = {
    "an unknown layer": (
        lambda: jc.receptive_field(plain, "1 8 9 3", noise(3, 3, 3, 2), layer="mp"),
        "receptive_field: layer is 'mp', which is not valid.\n  Fix: set layer= to one of 'map'.",
    ),
    "a number of no layer": (
        lambda: jc.receptive_field(plain, "1 8 9 3", noise(3, 3, 3, 2), layer=9),
        "receptive_field: layer is 9, which is not a layer.\n"
        "  Fix: pass its name, or its number, 1 to ",
    ),
    "a layer of weights alone": (
        lambda: jc.receptive_field(
            lambda x, k: (x, jc.conv(k, k, padding="VALID")), "1 8 9 3", noise(3, 3, 3, 3), layer=1
        ),
        " does not depend on the image.\n  Fix: name a layer that does.",
    ),
    "another layout": (
        lambda: jc.receptive_field(plain, "1 8 9 3", noise(3, 3, 3, 2), layer=1, layout="HWC"),
        "receptive_field: the image has 4 axes, (1, 8, 9, 3), not 'HWC'.\n"
        "  Fix: pass layout= with a letter for each of them: N, C, and any other for one with "
        "pixels, such as 'NHWC'.",
    ),
    "no image": (
        lambda: jc.receptive_field(lambda x: x @ noise(3, 4), "b 3", layer=1),
        "receptive_field: the image has 2 axes, (b, 3).\n  Fix: pass layout= with a letter for "
        "each of them: N, C, and any other for one with pixels, such as 'NW'.",
    ),
    "a place outside": (
        lambda: jc.receptive_field(plain, "1 8 9 3", noise(3, 3, 3, 2), layer="map").box(8, 0),
        "box: 8, 0 is not a position in map, whose map is 8 x 9.\n"
        "  Fix: pass 2 whole numbers, each 0 to 7, 0 to 8.",
    ),
    "one number too few": (
        lambda: jc.receptive_field(plain, "1 8 8 3", noise(3, 3, 3, 2), layer="map").box(-1),
        "box: -1 is not a position in map, whose map is 8 x 8.\n"
        "  Fix: pass 2 whole numbers, each 0 to 7.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_the_fix(case):
    call, want = WRONG[case]
    with pytest.raises(jc.ShapeError) as error:
        call()
    assert want in str(error.value)
