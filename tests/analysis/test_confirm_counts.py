"""Formulas of MACs and shapes against a plain count over the jaxpr of each size."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import jaxconv as jc
from jaxconv.errors import ValidationError

WIDE, NARROW = jnp.ones((8, 64)), jnp.ones((64, 8))
KERNEL = jnp.ones((3, 3, 3, 4))


@pytest.fixture(autouse=True)
def without_fields(monkeypatch):
    """Tables without receptive fields, which take most of their time: other tests compare those."""

    def fail(*_):
        raise ValidationError([])

    monkeypatch.setattr("jaxconv.analysis.summary.FieldAnalysis", fail)


def counted(jaxpr):
    """The MACs of the products and convolutions of a jaxpr, those on padding too."""
    total = 0
    for eqn in jaxpr.eqns:
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        total += sum(times * counted(inner) for inner in inner_jaxprs(eqn.params.values()))
        shapes = [variable.aval.shape for variable in (*eqn.invars, *eqn.outvars)]
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            total += prod(shapes[2]) * prod(shapes[0][axis] for axis in contracted)
        elif eqn.primitive.name == "conv_general_dilated":
            filters = eqn.params["dimension_numbers"].rhs_spec[0]
            total += prod(shapes[2]) * prod(np.delete(shapes[1], filters).tolist())
    return total


def inner_jaxprs(params):
    for value in params:
        for one in value if isinstance(value, tuple) else (value,):
            if hasattr(one, "eqns") or hasattr(one, "jaxpr"):
                yield getattr(one, "jaxpr", one)


def resized(height, width, method="linear"):
    return lambda x: jax.image.resize(x, (x.shape[0], height(x), width(x), 3), method)


def attention(x):
    scores = jnp.einsum("btc,bsc->bts", x, x)
    return jnp.einsum("bts,bsc->btc", jax.nn.softmax(scores), x)


def scanned(x):
    return lax.scan(lambda carry, _: (jnp.tanh(carry @ jnp.ones((4, 4))), None), x, length=3)[0]


def lora(down, up):
    return lambda x: jnp.einsum("bhc,cr,rd->bhd", x, down, up)


# name: a function, its input, and whether one formula holds for all sizes that remain
FUNCTIONS = {
    "own size": (resized(lambda _: 8, lambda x: x.shape[2]), "b h w 3", True),
    "half": (resized(lambda x: 2 * (x.shape[1] // 2), lambda x: x.shape[2]), "b h w 3", True),
    "nearest": (resized(lambda x: 2 * x.shape[1], lambda _: 9, "nearest"), "b h w 3", True),
    "bilinear": (resized(lambda x: 2 * x.shape[1], lambda x: 2 * x.shape[2]), "b h w 3", False),
    "a side for small images": (
        lambda x: jax.image.resize(x, (x.shape[0], max(x.shape[1], 2), 4), "linear"), "b h 3", False
    ),
    "both sides": (resized(lambda _: 8, lambda _: 6), "b h w 3", False),
    "into a narrow space": (lora(NARROW, WIDE), "b h 64", True),
    "into a wide space": (lora(WIDE, NARROW), "b h 8", False),
    "order of a list": (
        lambda x: jnp.einsum(x, [0, 1, 2], WIDE, [2, 3], NARROW, [3, 4], [0, 1, 4]),
        "b h 8",
        False,
    ),
    "chain": (lambda x: jnp.linalg.multi_dot([x, WIDE, NARROW]), "n 8", False),
    "order given": (
        lambda x: jnp.einsum("nc,cr,rd->nd", x, WIDE, NARROW, optimize=[(0, 1), (0, 1)]),
        "n 8",
        True,
    ),
    "Gram": (lambda x: jnp.einsum("bhc,bhd,de->bce", x, x, jnp.ones((16, 16))), "b h 16", False),
    "attention": (attention, "b t 8", True),
    "scan": (scanned, "n 4", True),
    "convolution": (lambda x: jc.conv(x, KERNEL, stride=2), "b h w 3", True),
    "valid": (lambda x: jc.conv(x, KERNEL, padding="VALID"), "b h w 3", True),
    "gradient": (jax.grad(lambda x: (jc.conv(x, KERNEL) ** 2).sum()), "b h w 3", True),
    "vmap": (jax.vmap(lambda x: jc.conv(x[None], KERNEL)[0]), "b h w 3", True),
}  # fmt: skip


def structs(spec, point):
    shape = [point.get(word) or int(word) for word in spec.split()]
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_formula_gives_a_wrong_number(name):
    fn, spec, has_formula = FUNCTIONS[name]
    table = jc.summary(fn, spec)
    assert (table.macs is not None) == has_formula
    is_by_cases = name == "a side for small images"  # of products: no formula is found for them
    assert bool(table.notes) == (not (has_formula or is_by_cases) or name in ("own size", "half"))
    rng = np.random.default_rng(len(name))
    for largest in (1, 2, 3, 5, 8, 11, 30, 200):
        point = {n: int(rng.integers(1, largest + 1)) for n in table.sizes.names}
        if not table.sizes.contains(**point):
            continue
        image = structs(spec, point)
        want = counted(jax.make_jaxpr(fn)(image).jaxpr)
        exact = jc.summary(fn, image)
        assert exact.macs == want
        assert table.macs is None or value(table.macs, point) == want
        for row, numbers in zip(table.rows, exact.rows, strict=False):
            if row.macs is not None:
                assert value(row.macs, point) == numbers.macs
            if all(side is not None for side in row.output):
                assert [value(n, point) for n in row.output] == [*numbers.output]


def value(formula, point):
    return formula.at(**point) if isinstance(formula, jc.Size) else formula


def test_a_resize_to_its_own_size_is_left_out():
    table = jc.summary(FUNCTIONS["own size"][0], "b h w 3", at={"b": 2, "h": 5, "w": 7})
    assert (str(table.macs), table.totals.macs) == ("24*b*h*w", 24 * 2 * 5 * 7)
    assert not table.sizes.contains(b=2, h=8, w=7)
    assert table.notes == (
        "For h = 8 the layers or their counts differ; pass numbers to see them.",
    )
    assert table.notes[0] in str(table)
    assert table.to_json()["notes"] == [*table.notes]
    with pytest.raises(jc.ShapeError) as caught:
        jc.summary(FUNCTIONS["own size"][0], "b h w 3", at={"b": 2, "h": 8, "w": 7})
    assert str(caught.value) == (
        "summary: for b = 2, h = 8, w = 7 the layers are not those of other sizes.\n"
        "  Fix: pass numbers as sizes, without at=."
    )


@pytest.mark.parametrize("method", ["linear", "cubic", "lanczos3"])
def test_a_resize_is_one_layer(method):
    """Only its MACs have no formula: its shape, and all of what follows, are those of numbers."""
    fn = resized(lambda x: 2 * x.shape[1], lambda x: x.shape[2] + 1, method)

    def network(x):
        return jc.conv(jax.nn.relu(fn(jc.conv(x, KERNEL[..., :3]))), KERNEL)

    point = {"b": 2, "h": 5, "w": 7}
    table, exact = (
        jc.summary(network, "b h w 3", at=point),
        jc.summary(network, structs("b h w 3", point)),
    )
    assert [row.name.partition(" ")[0] for row in table.rows] == ["conv", "resize", "conv"]
    assert [row.output for row in table.numbers] == [row.output for row in exact.rows]
    assert [row.macs for row in table.numbers] == [row.macs for row in exact.rows]
    for row, numbers in zip(table.rows, exact.rows, strict=True):
        assert [value(n, point) for n in row.output] == [*numbers.output]
    assert [row.macs is None for row in table.rows] == [False, True, False]
    assert value(table.activation_bytes, point) == exact.activation_bytes
    image = jax.random.uniform(jax.random.key(0), (2, 5, 7, 3))
    maps = jc.feature_maps(network)(image)
    names = [row.name for row in table.rows]
    assert jnp.allclose(maps[names[1]], jax.nn.relu(fn(maps[names[0]])), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, (2, 3)])
def test_an_adaptive_pool_is_a_layer_for_each_axis(count):
    eqx = pytest.importorskip("equinox")
    key = jax.random.key(0)
    pools = eqx.nn.AdaptiveAvgPool2d(5), eqx.nn.AdaptiveMaxPool2d(count)
    pooled = eqx.nn.Sequential([eqx.nn.Conv2d(3, 4, 3, key=key), *pools])

    def network(x):
        return jax.nn.relu(pooled(x))

    table = jc.summary(network, "3 h w")
    names = [*(f"layers[{name}" for name in ("0]", "1]", "1]#2", "2]", "2]#2"))]
    assert ([row.name for row in table.rows], table.notes) == (names, ())
    for point in ({"h": 7, "w": 8}, {"h": 8, "w": 14}, {"h": 9, "w": 11}, {"h": 12, "w": 7}):
        exact = jc.summary(network, structs("3 h w", point))
        for row, numbers in zip(table.rows, exact.rows, strict=True):
            assert (row.name, row.parameters) == (numbers.name, numbers.parameters)
            assert [value(n, point) for n in row.output] == [*numbers.output]
        assert value(table.activation_bytes, point) == exact.activation_bytes


def test_an_activation_behind_an_adaptive_pool():
    pool = pytest.importorskip("equinox").nn.AdaptiveMaxPool2d((6, 2))
    table = jc.summary(lambda x: jax.nn.relu(pool(x)), "3 h w")
    assert table.rows[-1].output == (3, 6, 2)
    assert not table.notes


def test_a_function_that_has_the_name_of_a_resize():
    @jax.jit
    def _resize(x):
        return jc.conv(checkpoint_name(jax.nn.relu(jc.conv(x, KERNEL[..., :3])), "inner"), KERNEL)

    table = jc.summary(_resize, "b h w 3")
    assert [row.name.partition(" ")[0] for row in table.rows] == ["inner", "conv"]
    assert str(table.macs) == f"{81 + 108}*b*h*w"


def test_two_resizes_of_one_compiled_function():
    up = jax.jit(lambda x: jax.image.resize(x, (x.shape[0], 16, 16, 3), "linear"))
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    rows = jc.summary(lambda x, y: jnp.concatenate([up(x), up(y)], -1), image, image).rows
    assert [row.output for row in rows] == [(1, 16, 16, 3)] * 2 + [(1, 16, 16, 6)]


def test_resizes_to_one_pixel_and_to_two():
    """Several equalities leave out a product each, and two of them together a row."""

    def network(x):
        b, h, w, c = x.shape
        sizes = [(1, 1), (2, w), (h, 2)]
        return [jax.image.resize(x, (b, *size, c), "linear") for size in sizes]

    table = jc.summary(network, "b h w 3")
    assert table.sizes.contains(b=1, h=5, w=7)
    for point in ({"h": 1, "w": 1}, {"h": 2, "w": 5}, {"h": 5, "w": 2}):
        assert not table.sizes.contains(b=3, **point)


def test_an_upsampling_has_numbers_and_no_formula():
    fn = FUNCTIONS["bilinear"][0]
    table = jc.summary(fn, "b h w 3", at={"b": 1, "h": 9, "w": 5})
    assert table.totals.macs == counted(jax.make_jaxpr(fn)(jnp.ones((1, 9, 5, 3))).jaxpr)
    assert "MACs: differs by size = " in str(table)
    (note,) = table.notes
    assert "no formula holds for all sizes" in note
    square = jc.summary(fn, "b h w 3", where="w == h, h >= 2")
    assert not square.notes
    assert square.macs is not None
