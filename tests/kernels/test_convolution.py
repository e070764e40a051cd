"""Convolutions by Winograd's algorithm: values, gradients, what is computed so, and how exactly."""

import functools
import re

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import jaxconv as jc
from jaxconv.kernels import tiling, winograd_formulations
from jaxconv.kernels.lowering import schedule_of_equation
from jaxconv.kernels.registry import SelectionRule
from jaxconv.kernels.tiling import ConvProblem, Tiling, choose_tiling
from jaxconv.kernels.winograd_formulations import CONVOLUTION, KERNEL_GRADIENT, NAMES
from tests.support import reference
from tests.support.programs import OPTIMIZED, lowered

SLOW = "stablehlo.convolution"
ORDERS = {"NHWC": ("NHWC", "HWIO", "NHWC"), "NCHW": ("NCHW", "HWIO", "NCHW")}


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def by_elements(x, kernel, pads, g):
    """In float64: the convolution, and its gradients in x and kernel in the direction g."""
    x, kernel, g = (np.asarray(a, np.float64) for a in (x, kernel, g))
    framed = np.pad(x, [(0, 0), *pads, (0, 0)])
    h, w = g.shape[1:3]
    y, dx, dk = np.zeros(g.shape), np.zeros(framed.shape), np.zeros(kernel.shape)
    for i, j in np.ndindex(3, 3):
        seen = slice(None), slice(i, i + h), slice(j, j + w)
        y += framed[seen] @ kernel[i, j]
        dx[seen] += g @ kernel[i, j].T
        dk[i, j] = np.einsum("bhwc,bhwk->ck", framed[seen], g)
    inside = (slice(low, n + low) for (low, _), n in zip(pads, x.shape[1:3], strict=True))
    return y, dx[(slice(None), *inside)], dk


def close(got, want, tolerance=3e-6):
    """That the error is small in the mean, and nowhere far larger."""
    error, size = np.asarray(got, np.float64) - want, np.sqrt(np.mean(want**2))
    assert got.shape == want.shape
    assert np.sqrt(np.mean(error**2)) <= tolerance * size
    assert np.abs(error).max() <= 20 * tolerance * size


SAME, NONE = ((1, 1), (1, 1)), ((0, 0), (0, 0))
CASES = [
    # batch, height, width, channels, filters, padding, what it pads, layout
    (1, 17, 19, 16, 24, "SAME", SAME, "NHWC"),
    (2, 16, 16, 20, 16, "VALID", NONE, "NHWC"),
    (5, 1, 1, 16, 600, "SAME", SAME, "NHWC"),
    (3, 2, 2, 96, 17, 1, SAME, "NHWC"),
    (2, 4, 2, 33, 16, ((0, 2), (3, 1)), ((0, 2), (3, 1)), "NHWC"),
    (1, 20, 18, 128, 16, (1, 0), ((1, 1), (0, 0)), "NHWC"),
    (1, 18, 17, 16, 130, ((5, 4), (0, 6)), ((5, 4), (0, 6)), "NHWC"),
    (2, 12, 15, 256, 64, "SAME_LOWER", SAME, "NHWC"),
    (2, 19, 16, 16, 18, 0, NONE, "NCHW"),
    (1, 16, 17, 384, 16, "SAME", SAME, "NCHW"),
    (1, 3, 4, 17, 512, ((9, 8), (7, 7)), ((9, 8), (7, 7)), "NCHW"),
]


def value_and_gradients(case, **options):
    """A case's results by our layer and in float64, and the program that computed them."""
    batch, height, width, channels, filters, padding, pads, layout = case
    x, kernel = normal(batch, height, width, channels), normal(3, 3, channels, filters)
    bias = normal(filters)
    h, w = height + sum(pads[0]) - 2, width + sum(pads[1]) - 2
    g = normal(batch, h, w, filters, seed=2)
    move = (lambda a: a) if layout == "NHWC" else lambda a: jnp.moveaxis(a, -1, 1)
    back = (lambda a: a) if layout == "NHWC" else lambda a: jnp.moveaxis(a, 1, -1)

    def program(x, kernel, bias, g):
        conv = functools.partial(jc.conv, padding=padding, layout=layout)
        y, pull = jax.vjp(lambda x, *a: back(conv(move(x), *a)), x, kernel, bias)
        return y, *pull(g)

    y, dx, dk = by_elements(x, kernel, pads, g)
    want = y + bias, dx, dk, g.astype(np.float64).sum((0, 1, 2))
    program = jax.jit(program).lower(x, kernel, bias, g)
    return program.compile(**options)(x, kernel, bias, g), want, program.as_text()


TILES = [4, 4, 2, 2, 4, 4, 2, 4, 4, 4, 2]


@pytest.mark.parametrize(("case", "tile"), [*zip(CASES, TILES, strict=True)])
def test_values_and_gradients_are_those_of_the_sum_over_windows(monkeypatch, case, tile):
    for table in ("CONVOLUTION_RULES", "KERNEL_GRADIENT_RULES"):
        rules = (SelectionRule(NAMES[tile], lambda problem: True, "as the test says"),)
        monkeypatch.setattr(winograd_formulations, table, rules)
    # Optimising takes most of the time, and changes the rounding of a tile in each case alike.
    options = {"compiler_options": OPTIMIZED} if CASES.index(case) == TILES.index(tile) else {}
    got, want, text = value_and_gradients(case, **options)
    assert SLOW not in text
    for ours, exact in zip(got, want, strict=True):
        close(ours, exact)


def test_the_oracle_agrees_with_loops_over_neurons():
    x, kernel, g = normal(2, 5, 4, 3), normal(3, 3, 3, 2), normal(2, 6, 7, 2)
    options = {"stride": (1, 1), "padding": ((2, 1), (0, 5)), "dilation": (1, 1), "groups": 1}
    y, dx, dk = by_elements(x, kernel, options["padding"], g)
    loops = functools.partial(reference.conv, bias=np.zeros(2), **options)
    np.testing.assert_allclose(y, loops(np.float64(x), np.float64(kernel)), atol=1e-12)
    dot = functools.partial(np.vdot, np.float64(g))
    other_x, other_kernel = normal(*x.shape, seed=4), normal(*kernel.shape, seed=5)
    np.testing.assert_allclose(np.vdot(dx, other_x), dot(loops(np.float64(other_x), kernel)))
    np.testing.assert_allclose(np.vdot(dk, other_kernel), dot(loops(x, np.float64(other_kernel))))


CUT = [
    # limit of a block in bytes, the tiling of a (8, 18, 17, 32) to 48 filters
    (600_000, Tiling(4, 5, 2)),
    (300_000, Tiling(4, 5, 1)),
    (200_000, Tiling(4, 3, 1)),
    (1, Tiling(4, 1, 1)),
]


@pytest.mark.parametrize(("limit", "expected"), CUT)
def test_a_batch_that_is_cut_gives_the_same(monkeypatch, limit, expected):
    monkeypatch.setattr(tiling, "WHOLE_BYTES", 1)
    monkeypatch.setattr(tiling, "BLOCK_BYTES", limit)
    monkeypatch.setattr(tiling, "MIN_TILES", 1)
    assert choose_tiling(ConvProblem(8, 18, 17, 32, 48), 4) == expected
    got, want, text = value_and_gradients((8, 18, 17, 32, 48, "SAME", SAME, "NHWC"))
    assert SLOW not in text
    assert text.count("stablehlo.while") == 3
    for ours, exact in zip(got, want, strict=True):
        close(ours, exact)


def test_images_that_repeat_at_their_border_are_computed_so_too():
    x, kernel = normal(2, 15, 17, 18), normal(3, 3, 18, 16)
    for padding, mode in {"CIRCULAR": "wrap", "REFLECT": "reflect"}.items():
        framed = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode)
        want, *_ = by_elements(framed, kernel, NONE, np.zeros((2, 15, 17, 16)))
        conv = functools.partial(jc.conv, padding=padding)
        assert SLOW not in lowered(conv, x, kernel)
        close(conv(x, kernel), want)


def test_a_transposed_convolution_of_stride_1_is_computed_so_too():
    g, kernel = normal(2, 16, 17, 20), normal(3, 3, 16, 20)
    want = by_elements(np.zeros((2, 16, 17, 16)), kernel, SAME, g)[1]
    swapped = kernel.swapaxes(2, 3)
    assert SLOW not in lowered(jc.conv_transpose, g, swapped)
    close(jc.conv_transpose(g, swapped), want)


LAYOUTS = [
    ("NHWC", "HWIO", "NHWC"),
    ("NCHW", "OIHW", "NCHW"),
    ("NCHW", "HWIO", "NHWC"),
    ("CHWN", "IHWO", "HNWC"),
    ("WNHC", "OWIH", "CWNH"),
]


@pytest.mark.parametrize("orders", LAYOUTS, ids=str)
def test_any_order_of_axes_gives_what_lax_gives(orders):
    x, kernel = (
        np.transpose(a, [plain.index(axis) for axis in order])
        for a, plain, order in zip(
            (normal(2, 14, 13, 16), normal(3, 3, 16, 20)), ("NHWC", "HWIO"), orders[:2], strict=True
        )
    )
    ours, theirs = calls(padding=((1, 2), (0, 0)), dimension_numbers=orders)
    g = normal(*jax.eval_shape(theirs, x, kernel).shape)

    def both(conv):
        return lambda x, kernel, g: (conv(x, kernel), *jax.vjp(conv, x, kernel)[1](g))

    assert SLOW not in lowered(both(ours), x, kernel, g)
    for got, want in zip(
        jax.jit(both(ours))(x, kernel, g), both(theirs)(x, kernel, g), strict=True
    ):
        close(got, np.float64(want), 5e-6)


KERNEL = (3, 3, 32, 32)
PROGRAMS = {
    "values": lambda conv: conv,
    "gradients": lambda conv: jax.grad(lambda *a: (conv(*a) ** 2).sum(), (0, 1)),
    "forward": lambda conv: lambda x, k: jax.jvp(conv, (x, k), (x + 1, k * 2)),
    "second derivatives": lambda conv: jax.jacfwd(
        lambda s, x, k: jax.grad(lambda k: (conv(x * s, k) ** 2).sum())(k)
    ),
    "a batch of batches": lambda conv: lambda x, k: jax.vmap(conv, (0, None))(x[None], k),
}


def operands(kind, dtype=jnp.float32):
    x, kernel = jnp.zeros((2, 24, 24, 32), dtype), jnp.zeros((3, 3, 32, 32), dtype)
    return (dtype(1), x, kernel) if kind == "second derivatives" else (x, kernel)


def calls(**options):
    """The same convolution by us and by lax."""
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ORDERS["NHWC"],
               **options}  # fmt: skip
    return [
        functools.partial(conv, **options)
        for conv in (jc.conv_general_dilated, lax.conv_general_dilated)
    ]


def convolutions(text):
    """Those of a program, whatever their order and the names of their results."""
    return sorted(re.sub(r"%\w+", "%", line) for line in text.splitlines() if SLOW in line)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_on_other_platforms_the_program_is_that_of_lax(kind):
    ours, theirs = (PROGRAMS[kind](conv) for conv in calls())
    args = operands(kind)
    assert SLOW not in lowered(ours, *args)
    for platform in ("cuda", "tpu"):
        got, want = (lowered(f, *args, platform=platform) for f in (ours, theirs))
        assert SLOW in want
        # A batch of derivatives may bring its axes into another order in between.
        same = convolutions if kind == "second derivatives" else str
        assert same(got) == same(want)


def test_one_export_for_all_platforms_runs_here():
    x, kernel = normal(1, 17, 19, 16), normal(3, 3, 16, 24)
    exported = jax.export.export(jax.jit(jc.conv), platforms=["cpu", "cuda", "tpu"])(x, kernel)
    text = exported.mlir_module()
    assert SLOW in text
    assert "stablehlo.case" in text
    again = jax.export.deserialize(exported.serialize())
    close(again.call(x, kernel), by_elements(x, kernel, SAME, np.zeros((1, 17, 19, 24)))[0])


OTHERS = {
    "strides": {"window_strides": (1, 2)},
    "dilated kernel": {"rhs_dilation": (2, 1)},
    "batch groups": {"batch_group_count": 2},
    "wide": {"kernel": (3, 5, 32, 32)},
    "few filters": {"kernel": (3, 3, 32, 8)},
    "highest": {"precision": "highest"},
    "HIGHEST": {"precision": lax.Precision.HIGHEST},
    "highest for one": {"precision": ("default", "highest")},
    "float32": {"precision": "float32"},
}


# The gradients of these kernels have formulations.
VALUES_ONLY = {"strides", "dilated kernel", "batch groups", "wide"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (n, k)
        for n in OTHERS
        for k in ("values", "gradients")
        if k == "values" or n not in VALUES_ONLY
    ],
)
def test_what_is_not_known_how_is_left_to_lax(name, kind):
    options = dict(OTHERS[name])
    dtype, shape = jnp.float32, options.pop("kernel", KERNEL)
    args = jnp.zeros((2, 24, 24, 32), dtype), jnp.zeros(shape, dtype)
    ours, theirs = (PROGRAMS[kind](conv) for conv in calls(**options))
    want = lowered(theirs, *args)
    assert SLOW in want
    assert lowered(ours, *args) == want


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", ["dilated kernel", "wide", "batch groups"])
def test_gradients_of_other_platforms_are_those_of_lax(name, platform):
    options = dict(OTHERS[name])
    args = jnp.zeros((2, 24, 24, 32)), jnp.zeros(options.pop("kernel", KERNEL))
    ours, theirs = (PROGRAMS["gradients"](conv) for conv in calls(**options))
    assert lowered(ours, *args, platform=platform) == lowered(theirs, *args, platform=platform)


def test_other_precisions_are_computed_fast():
    for precision in (None, "default", "high", lax.Precision.HIGH, ("default", "high")):
        ours, _ = calls(precision=precision)
        assert SLOW not in lowered(ours, *operands("values"))


@pytest.mark.parametrize("kind", ["values", "gradients", "forward"])
def test_the_highest_precision_of_a_whole_program_is_kept(kind):
    args = operands(kind)
    ours, theirs = (PROGRAMS[kind](conv) for conv in calls())
    with jax.default_matmul_precision("highest"):
        assert lowered(ours, *args) == lowered(theirs, *args)
    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", "float32")
    try:
        assert lowered(ours, *args) == lowered(theirs, *args)
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    assert SLOW not in lowered(ours, *args)


def test_double_precision_is_left_to_lax_and_single_is_not():
    with jax.enable_x64(True):
        ours, theirs = calls()
        double = operands("values", jnp.float64)
        assert lowered(ours, *double) == lowered(theirs, *double)
        for kind in ("values", "gradients", "forward"):
            ours, _ = (PROGRAMS[kind](conv) for conv in calls())
            single = operands(kind)
            assert SLOW not in lowered(ours, *single)
            for leaf in jax.tree.leaves(jax.eval_shape(ours, *single)):
                assert leaf.dtype == jnp.float32


def unplaced(text):
    """A program without the places in the source that it comes from."""
    text = re.sub(r"(?m)^#loc.*\n", "", text)
    return re.sub(r" ?loc\((#loc\w*|\"[^\"]*\"(\(#loc\w*\))?)\)", "", text)


def test_symbolic_sizes_are_left_to_lax():
    b, h = jax.export.symbolic_shape("b, h", constraints=["h >= 3"])
    x = jax.ShapeDtypeStruct((b, h, 24, 32), jnp.float32)
    kernel = jax.ShapeDtypeStruct(KERNEL, jnp.float32)
    for kind in ("values", "gradients"):
        ours, theirs = (PROGRAMS[kind](conv) for conv in calls())
        got, want = (jax.export.export(jax.jit(f))(x, kernel).mlir_module() for f in (ours, theirs))
        assert SLOW in want
        assert unplaced(got) == unplaced(want)


def test_shapes_are_still_proven_for_all_sizes():
    def net(x):
        return jc.max_pool(jc.conv(x, jnp.zeros((3, 3, 16, 32)), padding="VALID"))

    verdict = jc.check(net, "b h w 16", returns="b h//2-1 w//2-1 32")
    assert verdict.accepts == jc.SizeSet.parse("b h w", "h >= 4 and w >= 4")


@pytest.mark.parametrize("layer", [nnx.Conv, flax.linen.Conv], ids=["nnx", "linen"])
def test_convolutions_of_flax_take_it(layer):
    x = normal(2, 17, 18, 16)
    options = {"kernel_size": (3, 3), "padding": "SAME"}

    def made(**more):
        if layer is nnx.Conv:
            return nnx.Conv(16, 24, **options, **more, rngs=nnx.Rngs(1))
        module = flax.linen.Conv(24, **options, **more)
        return module.bind(module.init(jax.random.key(1), x))

    plain, ours = made(), made(conv_general_dilated=jc.conv_general_dilated)
    assert SLOW in lowered(plain.__call__, x)
    assert SLOW not in lowered(ours.__call__, x)
    close(ours(x), np.float64(plain(x)), 1e-5)


def test_a_schedule_can_be_read_off_a_trace():
    jaxpr = jax.make_jaxpr(PROGRAMS["gradients"](calls()[1]))(*operands("gradients"))
    schedules = [*filter(None, map(schedule_of_equation, jaxpr.eqns))]
    operations = [schedule.selected.operation for schedule in schedules]
    assert operations == [CONVOLUTION, KERNEL_GRADIENT, CONVOLUTION]
    assert {schedule.formulation for schedule in schedules} == {"F(2x2, 3x3)", "F(4x4, 3x3)"}
    assert schedule_of_equation(jaxpr.eqns[0], is_prepared=True) is not None


SMALL_WINDOWS = {  # of images, and what is a gradient among those that make a map of 3x3
    "1x2": ((16, 3, 4, 32), (1, 2, 32, 24), "VALID", False),
    "2x2": ((16, 4, 4, 32), (2, 2, 32, 24), "VALID", False),
    "5x5": ((16, 7, 7, 32), (5, 5, 32, 24), "VALID", True),
    "2x2 padded": ((16, 2, 2, 32), (2, 2, 32, 24), ((1, 1), (1, 1)), True),
}


@pytest.mark.parametrize(
    ("x", "window", "padding", "taken"), SMALL_WINDOWS.values(), ids=SMALL_WINDOWS
)
def test_small_windows_are_left_to_lax(x, window, padding, taken):
    x, kernel = normal(*x), normal(*window)
    plain = lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=LAYOUTS[0])
    assert plain.shape[1:3] == (3, 3)
    ours = functools.partial(jc.conv, padding=padding)
    assert (SLOW in lowered(ours, x, kernel)) is not taken
    close(ours(x, kernel), np.float64(plain), 1e-5)
