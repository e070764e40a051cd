"""Formulations are chosen by their conditions, with the reason; without one, lax computes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv as jc
from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels import max_pool, products, registry
from jaxconv.kernels.lowering import replace_primitives, schedule_of_equation
from jaxconv.kernels.registry import DIRECT, Decision, Formulation, SelectionRule
from jaxconv.kernels.winograd_formulations import CONVOLUTION, KERNEL_GRADIENT, NAMES
from tests.support.programs import agree, lowered, normal

SLOW = "stablehlo.convolution"
ORDER = ("NHWC", "HWIO", "NHWC")
X, KERNEL = normal(2, 9, 8, 5), normal(1, 1, 5, 7)


def matches_1x1(operation):
    if operation.params["rhs_dilation"] != (1, 1) or not operation.is_static(jnp.float32):
        return None
    kernel = operation.inputs[1].shape
    order = operation.params["dimension_numbers"]
    is_plain = operation.params["window_strides"] == (1, 1) and order.rhs_spec == (3, 2, 0, 1)
    if not is_plain or kernel[:2] != (1, 1):
        return None
    return Decision(kernel[3] > 4, "a toy for 1x1 kernels with more than 4 filters")


def apply_1x1(lhs, rhs, **params):
    return lhs @ rhs[0, 0]


TOY = Formulation(
    name="matrix product",
    operation="1x1 convolution",
    primitive=conv_general_dilated_p,
    matches=matches_1x1,
    apply=apply_1x1,
    reason="a 1x1 convolution is a matrix product",
    gradients=("1x1 convolution",),
)
OURS = next(
    f for f in registry.formulations(conv_general_dilated_p) if f.operation == products.CONVOLUTION
)


@pytest.fixture
def toy():
    """The toy is registered during a test, in place of our own formulation of 1x1 kernels."""
    registry.unregister_formulation(OURS)
    yield registry.register_formulation(TOY)
    registry.register_formulation(OURS)
    if TOY in registry.formulations(conv_general_dilated_p):
        registry.unregister_formulation(TOY)


def schedules(function, *args):
    """The schedules of all equations of a function."""
    eqns = jax.make_jaxpr(function)(*args).eqns
    return [schedule for eqn in eqns if (schedule := schedule_of_equation(eqn))]


def test_a_formulation_is_chosen_and_tells_its_reason(toy):
    (schedule,) = schedules(jc.conv, X, KERNEL)
    assert schedule.selected is TOY
    assert schedule.formulation == "matrix product"
    assert "a toy" in schedule.reason
    assert SLOW not in lowered(jc.conv, X, KERNEL)
    agree(jax.jit(jc.conv)(X, KERNEL), X @ KERNEL[0, 0])
    (compiled,) = jc.compile(lambda x: jc.conv(x, KERNEL), X).schedules
    assert compiled == schedule


def test_a_formulation_that_declines_tells_why(toy):
    (schedule,) = schedules(jc.conv, X, KERNEL[..., :3])
    assert (schedule.formulation, schedule.selected) == (DIRECT, None)
    assert "a toy" in schedule.reason
    assert SLOW in lowered(jc.conv, X, KERNEL[..., :3])


def test_without_it_lax_computes_again(toy):
    registry.unregister_formulation(TOY)
    assert schedules(jc.conv, X, KERNEL) == []
    # A new function, since JAX keeps the program of the old one.
    assert SLOW in lowered(functools.partial(jc.conv, stride=1), X, KERNEL)


def test_derivatives_are_those_of_lax_where_a_formulation_has_none_for_them(toy):
    def loss(conv, x, kernel):
        return jnp.sum(jnp.tanh(conv(x, kernel)) ** 2)

    def by_lax(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=ORDER)

    @jax.jit
    def gradients(x, kernel):
        return [jax.grad(loss, (1, 2))(conv, x, kernel) for conv in (jc.conv, by_lax)]

    for got, want in zip(*gradients(X, KERNEL), strict=True):
        agree(got, want)


def test_a_name_is_registered_once(toy):
    with pytest.raises(ValueError, match="matrix product for 1x1 convolution is registered twice"):
        registry.register_formulation(dataclasses.replace(TOY, reason="again"))


def test_priority_comes_before_names(toy):
    first = dataclasses.replace(TOY, name="z", priority=9)
    registry.register_formulation(first)
    try:
        assert registry.formulations(conv_general_dilated_p)[0] is first
        assert schedules(jc.conv, X, KERNEL)[0].selected is first
    finally:
        registry.unregister_formulation(first)


def test_a_table_decides_by_its_first_row_that_holds():
    table = (
        SelectionRule(DIRECT, lambda n: n < 2, "too small"),
        SelectionRule("a", lambda n: n < 4, "small"),
        SelectionRule("b", lambda n: True, "large"),
    )
    decisions = [[registry.decide(table, n, name) for name in ("a", "b")] for n in (1, 2, 9)]
    assert decisions == [
        [Decision(False, "too small"), Decision(False, "too small")],
        [Decision(True, "small"), None],
        [None, Decision(True, "large")],
    ]


def conv(x, kernel, **options):
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ORDER, **options}
    return lax.conv_general_dilated(x, kernel, **options)


def kernel_gradient(x, kernel, **options):
    y, pull = jax.vjp(lambda kernel: conv(x, kernel, **options), kernel)
    return pull(y)


def pool(x, size=(1, 2, 2, 1), **options):
    return lax.reduce_window(x, -jnp.inf, lax.max, size, size, "VALID", **options)


def pool_gradient(x, size=(1, 2, 2, 1)):
    return jax.grad(lambda x: pool(x, size).sum())(x)


def pool_tangent(x, size=(1, 2, 2, 1)):
    return jax.jvp(lambda x: pool(x, size), (x,), (x,))[1]


IMAGES, SQUARE = np.zeros((2, 24, 24, 32), np.float32), np.zeros((3, 3, 32, 32), np.float32)
LARGE = np.zeros((8, 32, 32, 32), np.float32)
FEW = "fewer than 16"
# An operation that each first entry takes, and one for each condition that it fails.
ENTRIES = [
    (CONVOLUTION, NAMES[2], conv, (IMAGES, SQUARE)),
    (CONVOLUTION, NAMES[4], conv, (LARGE, SQUARE)),
    (KERNEL_GRADIENT, NAMES[2], kernel_gradient, (IMAGES[:, :4, :4], SQUARE)),
    (KERNEL_GRADIENT, NAMES[4], kernel_gradient, (IMAGES, SQUARE)),
    (max_pool.MAX_POOLING, max_pool.NAME, pool, (IMAGES,)),
    (max_pool.GRADIENT, max_pool.NAME, pool_gradient, (IMAGES,)),
    (max_pool.TANGENT, max_pool.NAME, pool_tangent, (IMAGES,)),
]


def operations(function, *args):
    return {(s.selected.operation, s.formulation) for s in schedules(function, *args) if s.selected}


@pytest.mark.parametrize(("operation", "name", "function", "args"), ENTRIES)
def test_each_first_entry_takes_its_operation(operation, name, function, args):
    assert (operation, name) in operations(function, *args)


FAILS = {
    "few channels": (conv, (IMAGES[..., :15], SQUARE[:, :, :15]), {}, FEW),
    "few pixels": (conv, (IMAGES[:, :5, :5], SQUARE), {}, "so few pixels"),
    "a stride": (conv, (IMAGES, SQUARE), {"window_strides": (1, 2)}, None),
    "a dilation": (conv, (IMAGES, SQUARE), {"rhs_dilation": (2, 1)}, None),
    "few pixels of groups": (
        conv,
        (IMAGES[:, :9, :9], SQUARE[:, :, :16]),
        {"feature_group_count": 2},
        "so few pixels",
    ),
    "the highest precision": (conv, (IMAGES, SQUARE), {"precision": "highest"}, None),
    "another kernel": (conv, (IMAGES, SQUARE[:, :2]), {}, None),
    "no images": (conv, (IMAGES[:0], SQUARE), {}, None),
    "few channels of a gradient": (
        kernel_gradient,
        (IMAGES[..., :15], SQUARE[:, :, :15, :16]),
        {},
        FEW,
    ),
    "a strided gradient": (kernel_gradient, (IMAGES, SQUARE), {"window_strides": (2, 2)}, None),
    "a map of 3x3 pixels": (conv, (IMAGES[:, :4, :4], SQUARE[:2, :2]), {"padding": "VALID"}, None),
    "a large window": (pool, (IMAGES,), {"size": (1, 5, 4, 1)}, "more than 16 elements"),
    "its gradient": (pool_gradient, (IMAGES,), {"size": (1, 5, 4, 1)}, "more than 16 elements"),
    "its tangent": (pool_tangent, (IMAGES,), {"size": (1, 5, 4, 1)}, "more than 16 elements"),
    "a dilated window": (pool, (IMAGES,), {"window_dilation": (1, 2, 2, 1)}, None),
}


@pytest.mark.parametrize("name", FAILS)
def test_each_condition_of_a_first_entry_fails_once(name):
    function, args, options, reason = FAILS[name]
    read = schedules(lambda *args: function(*args, **options), *args)
    last = read[-1] if read else None
    if reason is None:
        assert function is kernel_gradient or last is None
        assert KERNEL_GRADIENT not in {s.selected.operation for s in read if s.selected}
    else:
        assert last.formulation == DIRECT
        assert reason in last.reason


def all_formulations():
    return [f for each in registry._FORMULATIONS.values() for f in each]


def test_the_gradients_of_a_formulation_have_formulations():
    known = {f.operation for f in all_formulations()}
    assert {CONVOLUTION, KERNEL_GRADIENT, max_pool.MAX_POOLING} <= known
    for formulation in all_formulations():
        assert set(formulation.gradients) <= known
        assert formulation.reason


GRADIENTS = {
    CONVOLUTION: (jax.grad(lambda x, k: (conv(x, k) ** 2).sum(), (0, 1)), (LARGE, SQUARE)),
    max_pool.MAX_POOLING: (
        lambda x: (pool_gradient(x), pool_tangent(x)),
        (IMAGES,),
    ),
}


@pytest.mark.parametrize("operation", GRADIENTS)
def test_derivatives_consist_of_the_operations_that_are_listed(operation):
    function, args = GRADIENTS[operation]
    listed = {f.name: f.gradients for f in all_formulations() if f.operation == operation}
    gradients = set(listed.values())
    assert len(gradients) == 1, (
        f"formulations of the operation {operation!r} must list the same gradients, but list "
        f"{listed}: pass the same, or name the operation of the new one differently"
    )
    assert {name for name, _ in operations(function, *args)} == {operation, *gradients.pop()}


def test_a_trace_that_has_cpu_primitives_is_not_changed_again():
    once = replace_primitives(jax.make_jaxpr(conv)(IMAGES, SQUARE))
    twice = replace_primitives(once)
    assert [eqn.primitive for eqn in once.eqns] == [eqn.primitive for eqn in twice.eqns]
    assert once.eqns[0].primitive is not conv_general_dilated_p
