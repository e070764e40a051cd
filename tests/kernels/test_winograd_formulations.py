"""Which formulation computes layers that everyone knows, and why."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxconv.kernels import few_channels, winograd_formulations
from jaxconv.kernels.lowering import schedule_of_equation
from jaxconv.kernels.registry import DIRECT
from jaxconv.kernels.tiling import ConvProblem
from jaxconv.kernels.winograd_formulations import (
    CONVOLUTION,
    CONVOLUTION_RULES,
    KERNEL_GRADIENT,
    KERNEL_GRADIENT_RULES,
    NAMES,
)

FEW = "fewer than 16 channels or filters"
TINY = "as large as the map"
KERNEL = "transforming the kernel in each call"
TILES = "few tiles"
FEWEST = "the fewest multiplications"
SUMS = "long sums that share their transforms"

VGG16 = {  # side of the maps, channels, filters
    "conv1_1": (224, 3, 64),
    "conv1_2": (224, 64, 64),
    "conv2_1": (112, 64, 128),
    "conv2_2": (112, 128, 128),
    "conv3_1": (56, 128, 256),
    "conv3_2": (56, 256, 256),
    "conv4_1": (28, 256, 512),
    "conv4_2": (28, 512, 512),
    "conv5_1": (14, 512, 512),
}
OF_VGG16 = [  # layer, batch, prepared, tile, reason
    *(("conv1_1", batch, True, 0, FEW) for batch in (1, 8, 32)),
    *(("conv1_2", batch, False, 4, FEWEST) for batch in (1, 8, 32)),
    *(("conv2_2", batch, True, 4, FEWEST) for batch in (1, 8, 32)),
    *(("conv3_1", batch, False, 4, FEWEST) for batch in (1, 8, 32)),
    *(("conv3_2", batch, True, 4, FEWEST) for batch in (1, 8, 32)),
    ("conv4_1", 1, False, 2, TILES),
    ("conv4_2", 1, True, 2, TILES),
    ("conv4_1", 8, True, 4, FEWEST),
    ("conv4_2", 32, False, 4, FEWEST),
    ("conv5_1", 1, False, 0, KERNEL),
    ("conv5_1", 1, True, 2, TILES),
    ("conv5_1", 8, False, 4, FEWEST),
    ("conv5_1", 32, True, 4, FEWEST),
]
OTHERS = [
    (ConvProblem(8, 4, 4, 64, 64), 2, TINY),
    (ConvProblem(8, 5, 5, 64, 64), 0, KERNEL),
    (ConvProblem(11, 5, 5, 64, 64), 2, TILES),
    (ConvProblem(8, 4, 17, 64, 64), 2, TILES),
    (ConvProblem(1, 17, 17, 64, 64), 2, TILES),
    (ConvProblem(1, 17, 17, 64, 64, is_prepared=True), 2, TILES),
    (ConvProblem(1, 44, 44, 64, 64, is_prepared=True), 2, TILES),
    (ConvProblem(1, 45, 45, 64, 64, is_prepared=True), 4, FEWEST),
    (ConvProblem(8, 32, 32, 15, 64), 0, FEW),
    (ConvProblem(8, 32, 32, 64, 15), 0, FEW),
    (ConvProblem(8, 32, 32, 16, 16), 4, FEWEST),
    (ConvProblem(1, 1, 1, 512, 512), 2, TINY),
]


def chosen(rules, problem, tile, reason):
    """That the first row that holds names this tile (0: direct), for this reason."""
    rule = next(rule for rule in rules if rule.holds(problem))
    assert reason in rule.reason
    assert rule.formulation == NAMES.get(tile, DIRECT)


def layer_problem(name, batch, **options):
    side, channels, filters = VGG16[name]
    return ConvProblem(batch, side, side, channels, filters, **options)


@pytest.mark.parametrize(("name", "batch", "prepared", "tile", "reason"), OF_VGG16)
def test_a_layer_of_vgg16_is_computed_by_this_tile(name, batch, prepared, tile, reason):
    problem = layer_problem(name, batch, is_prepared=prepared)
    chosen(CONVOLUTION_RULES, problem, tile, reason)


@pytest.mark.parametrize("batch", [1, 8, 32])
@pytest.mark.parametrize("name", VGG16)
def test_the_gradient_of_a_kernel_of_vgg16_is_computed_by_this_tile(name, batch):
    tile, reason = (0, FEW) if name == "conv1_1" else (4, SUMS)
    if (name, batch) in {("conv4_2", 1), ("conv5_1", 1)}:
        tile, reason = 2, "few tiles and a large kernel"
    chosen(KERNEL_GRADIENT_RULES, layer_problem(name, batch), tile, reason)


@pytest.mark.parametrize(("case", "tile", "reason"), OTHERS, ids=str)
def test_other_layers_are_computed_by_this_tile(case, tile, reason):
    chosen(CONVOLUTION_RULES, case, tile, reason)


@pytest.mark.parametrize("table", ["CONVOLUTION_RULES", "KERNEL_GRADIENT_RULES"])
def test_some_row_always_holds_and_has_a_reason_of_its_own(table):
    rules = getattr(winograd_formulations, table)
    assert rules[-1].holds(ConvProblem(1, 1, 1, 1, 1))
    assert all(rule.formulation in (DIRECT, *NAMES.values()) and rule.reason for rule in rules)
    assert len({rule.reason for rule in rules}) == len(rules)


def equations(function, *shapes):
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.make_jaxpr(function)(*args).eqns


@pytest.mark.parametrize(("name", "batch", "prepared", "tile", "reason"), OF_VGG16)
def test_sizes_are_read_off_an_equation(name, batch, prepared, tile, reason):
    side, channels, filters = VGG16[name]

    def conv(x, kernel):
        order = ("NCHW", "OIHW", "NHWC")
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=order)

    (eqn,) = equations(conv, (batch, channels, side, side), (filters, channels, 3, 3))
    schedule = schedule_of_equation(eqn, is_prepared=prepared)
    if name == "conv1_1":
        assert schedule.formulation == few_channels.NAME
    else:
        assert schedule.formulation == NAMES.get(tile, DIRECT)
        assert reason in schedule.reason
        assert tile == 0 or schedule.selected.operation == CONVOLUTION


@pytest.mark.parametrize("name", VGG16)
def test_sizes_of_a_kernel_gradient_are_read_off_an_equation(name):
    side, channels, filters = VGG16[name]

    def gradient(x, kernel, g):
        order = ("NHWC", "HWIO", "NHWC")
        conv = lambda k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=order)  # noqa: E731
        return jax.linear_transpose(conv, kernel)(g)

    shapes = (3, side, side, channels), (3, 3, channels, filters), (3, side, side, filters)
    schedules = filter(None, map(schedule_of_equation, equations(gradient, *shapes)))
    (schedule,) = schedules
    others = {"conv1_1": "products of columns", "conv5_1": NAMES[2]}
    assert schedule.formulation == others.get(name, NAMES[4])
    assert name == "conv1_1" or schedule.selected.operation == KERNEL_GRADIENT
