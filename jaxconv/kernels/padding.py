"""Convolutions that pad one end of an axis and crop the other end.

XLA reads memory outside the image in such a convolution on a CPU (jax 0.10.2). They occur in the
gradients of convolutions whose padding is larger than their kernel. The image is padded first.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels.lowering import with_cpu_primitives
from jaxconv.kernels.problem import read_problem
from jaxconv.kernels.registry import Decision, Formulation, Operation, register_formulation

CONVOLUTION = "convolution that pads and cuts"


def matches(operation: Operation) -> Decision | None:
    """Accept convolutions whose padding has both signs along an axis.

    Args:
        operation: of the convolution primitive.
    """
    p = read_problem(operation)
    if p is None or p.is_dilated or not any(low * high < 0 for low, high in p.pads):
        return None
    return Decision(True, "XLA reads memory outside the image if one end is padded and one cropped")


def apply(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Pad the images, and convolve them without padding.

    Args:
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    amounts = dict(zip(params["dimension_numbers"].lhs_spec[2:], params["padding"], strict=True))
    x = lax.pad(lhs, np.float32(0), [(*amounts.get(i, (0, 0)), 0) for i in range(lhs.ndim)])
    options = params | {"padding": ((0, 0),) * len(amounts)}
    return with_cpu_primitives(partial(conv_general_dilated_p.bind, **options), x, rhs)


register_formulation(
    Formulation(
        name="padding first",
        operation=CONVOLUTION,
        primitive=conv_general_dilated_p,
        matches=matches,
        apply=apply,
        reason="`lax` may return wrong values",
        priority=1,
    )
)
