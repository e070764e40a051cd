"""Convolutions and pools in 16 bits, computed in float32 and rounded at the end.

Most processors have no arithmetic of 16 bits, and XLA converts each number where it is used. Here
operands are converted once, and the formulations for float32 compute the rest.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.compat import (
    Primitive,
    conv_general_dilated_p,
    reduce_window_max_p,
    reduce_window_sum_p,
    select_and_gather_add_p,
    select_and_scatter_add_p,
)
from jaxconv.kernels.lowering import with_cpu_primitives
from jaxconv.kernels.registry import (
    Decision,
    Formulation,
    Operation,
    register_formulation,
    schedule_of,
)

NAME = "in float32"
HALVES = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))
WIDE = jnp.dtype(jnp.float32)


def matches(operation: Operation) -> Decision | None:
    """Accept operations in 16 bits that have a formulation in float32.

    Args:
        operation: of a primitive that has formulations.
    """
    arrays = (*operation.inputs, operation.output)
    if any(array.dtype not in (*HALVES, WIDE) for array in arrays):
        return None
    if not any(array.dtype in HALVES for array in operation.inputs):
        return None
    *inputs, output = (jax.ShapeDtypeStruct(array.shape, WIDE) for array in arrays)
    params = _wide_params(operation.params)
    schedule = schedule_of(replace(operation, inputs=inputs, output=output, params=params))
    if schedule is None or schedule.selected is None:
        return None
    return Decision(True, f"computed in float32 and rounded: {schedule.reason}")


def _wide_params(params: Any) -> dict[str, Any]:
    """The parameters of the operation whose result is in float32."""
    names = {"preferred_element_type": None} if "preferred_element_type" in params else {}
    return {**params, **names}


def apply(primitive: Primitive, *operands: jax.Array, **params: Any) -> jax.Array:
    """Compute an operation in float32, and round its result.

    Args:
        primitive: of JAX.
        *operands: as it takes them.
        **params: of the primitive.
    """
    types = [jax.typeof(x) for x in operands]
    output: Any = primitive.abstract_eval(*types, **params)[0]
    wide = (x.astype(WIDE) for x in operands)
    y = with_cpu_primitives(partial(primitive.bind, **_wide_params(params)), *wide)
    return y.astype(output.dtype)


for _primitive, _operation in (
    (conv_general_dilated_p, "convolution in 16 bits"),
    (reduce_window_max_p, "max pooling in 16 bits"),
    (reduce_window_sum_p, "sums over windows in 16 bits"),
    (select_and_gather_add_p, "tangent of max pooling in 16 bits"),
    (select_and_scatter_add_p, "gradient of max pooling in 16 bits"),
):
    register_formulation(
        Formulation(
            name=NAME,
            operation=_operation,
            primitive=_primitive,
            matches=matches,
            apply=partial(apply, _primitive),
            reason="each number is converted once, and float32 has fast formulations",
            expands=True,
            priority=-2,  # the formulations of float32 do not take 16 bits
        )
    )
