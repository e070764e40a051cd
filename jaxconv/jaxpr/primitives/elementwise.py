"""Operations that work number by number: arithmetic, activations, comparisons, selections."""

import math
from dataclasses import replace

import jax.numpy as jnp

from jaxconv.compat import JaxprEqn
from jaxconv.jaxpr.axis_field import AxisField, Field, same_fields
from jaxconv.jaxpr.equation import EquationContext
from jaxconv.jaxpr.index_line import (
    less_line,
    product_line,
    same_lines,
    selected_lines,
    sum_line,
)
from jaxconv.jaxpr.primitives.registry import PrimitiveRecord, register, register_rule


def _multiplied(context: EquationContext) -> Field:
    """A constant lets nothing through where it is 0."""
    field = context.elementwise()
    whole = all(map(context.has_no_zero, context.eqn.invars))
    return field if whole else tuple(map(AxisField.loose, field))


ELEMENTWISE = PrimitiveRecord(receptive_field=EquationContext.elementwise)
# What biases, normalisations and activations are made of. The result is still the feature map of
# the layer before it.
IN_PLACE = replace(
    ELEMENTWISE, index_map=lambda index, _: index, keeps_positions=True, keeps_feature_map=True
)
register(
    replace(IN_PLACE, expensive=True),
    *("div", "erf", "exp", "log", "log2", "logistic", "pow", "rsqrt", "sqrt", "tanh"),
)
register(
    IN_PLACE,
    "abs",
    "clamp",
    "integer_pow",
    "min",
    "one_minus_square",
    "sign",
    "square",
    "stop_gradient",
)


@register_rule(replace(IN_PLACE, counting=selected_lines), "select_n")
def _selected(context: EquationContext) -> Field:
    """Where a constant mask selects, a neuron sees one case only."""
    which, *cases = context.fields
    field = context.elementwise()
    known = [case for case in cases if case is not None]
    alike = all(same_fields([known[0]], [case]) for case in known[1:])
    is_mask = context.is_constant(context.eqn.invars[0]) and context.shapes[0]
    exact = which is not None or (alike and (len(known) == len(cases) or not is_mask))
    return field if exact else tuple(map(AxisField.loose, field))


# These do not change the numbers.
CASTS = replace(IN_PLACE, only_moves=True)
register(replace(CASTS, names_value=True), "name")
register(replace(CASTS, builds_padding=True, counting=same_lines), "convert_element_type", "copy")

# Arithmetic that may be fused with a convolution, and of which indices are computed.
ADDITION = replace(IN_PLACE, adds=True)
INDICES = replace(IN_PLACE, builds_padding=True)
register(replace(INDICES, adds=True, combine=jnp.add, increasing=True, counting=sum_line(1)), "add")
register(ADDITION, "add_any")  # of cotangents
register(replace(IN_PLACE, combine=jnp.maximum, increasing=True), "max")
register(replace(INDICES, combine=jnp.subtract, counting=sum_line(-1)), "sub")
register(INDICES, "neg")
register(
    replace(INDICES, receptive_field=_multiplied, combine=jnp.multiply, counting=product_line),
    "mul",
)

# Number by number as well, but what they return is a mask, an integer, or part of a longer
# expression: the feature map of the layer is taken before them.
register(
    ELEMENTWISE,
    *("cos", "sin", "tan"),
    *("ceil", "floor", "round", "rem", "nextafter", "reduce_precision", "imag", "real"),
    *("eq", "ge", "gt", "le", "ne", "is_finite", "not", "or", "xor"),
    *("shift_left", "shift_right_arithmetic", "shift_right_logical"),
)
register(
    replace(ELEMENTWISE, expensive=True),
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cosh", "sinh"),
    *("cbrt", "digamma", "erf_inv", "erfc", "exp2", "expm1", "lgamma", "log1p"),
)
register(replace(ELEMENTWISE, receptive_field=_multiplied), "and")
register(replace(ELEMENTWISE, counting=less_line), "lt")


def _shards(eqn: JaxprEqn) -> list[int]:
    """The devices along the mesh axes that each axis is divided over."""
    sharding = eqn.params["sharding"]
    spec = getattr(sharding, "spec", ())
    sizes = dict(sharding.mesh.shape) if spec else {}
    names = [(axis,) if isinstance(axis, str) else axis for axis in spec]
    return [
        math.prod(sizes.get(name, 1) for name in axis) if isinstance(axis, tuple) else 1
        for axis in names
    ]


register(replace(ELEMENTWISE, shards=_shards), "sharding_constraint")

# A barrier hides from the compiler, and so from us, what is not known while tracing, such as the
# number of a size.
register(
    PrimitiveRecord(receptive_field=lambda context: context.fields, unknown_when_traced=True),
    "optimization_barrier",
)
