"""Convolutions of images with few channels, such as colours, as sums of shifted products.

A matrix product would sum over the few channels of a window. Here each pixel and channel that a
window sees is multiplied by the weights of all filters at once, which are the last axis.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax

from jaxconv.compat import conv_general_dilated_p
from jaxconv.kernels.depthwise import sum_products
from jaxconv.kernels.problem import (
    images_last,
    kernel_last,
    read_problem,
    result_of,
    result_size,
)
from jaxconv.kernels.registry import (
    DIRECT,
    Decision,
    Formulation,
    Operation,
    SelectionRule,
    decide,
    register_formulation,
)
from jaxconv.kernels.taps import Sliding, elements

NAME = "shifted products"
CONVOLUTION = "convolution of few channels"
MAX_CHANNELS = 4
MAX_PRODUCTS = 32  # per result
MIN_FILTERS = 16  # a vector of the processor
MIN_PRODUCTS = 2**26  # multiplications of all results
MAX_AXES = 2  # volumes are convolved as images

RULES: Sequence[SelectionRule] = (
    SelectionRule(
        DIRECT,
        lambda p: p.filters < MIN_FILTERS,
        "with few filters, too, there are no vectors to multiply",
    ),
    SelectionRule(
        DIRECT,
        lambda p: prod(p.window) * p.channels > MAX_PRODUCTS,
        "so many products per result, as in 7x7 windows, are faster as one matrix product",
    ),
    SelectionRule(
        DIRECT,
        lambda p: p.products < MIN_PRODUCTS,
        "with vectors of 256 bits, so few multiplications take less time in `lax`",
    ),
    SelectionRule(
        NAME,
        lambda _: True,
        "each number is multiplied by the weights of all filters at once",
    ),
)


def matches(operation: Operation) -> Decision | None:
    """Accept convolutions with few channels and small windows.

    Args:
        operation: of the convolution primitive.
    """
    p = read_problem(operation)
    if p is None or p.groups > 1 or p.batch_groups > 1 or p.is_dilated:
        return None
    if p.channels > MAX_CHANNELS or prod(p.window) == 1 or len(p.size) > MAX_AXES:
        return None
    if prod(p.window) > prod(p.map):  # the gradient of a kernel, whose window is the map
        return None
    return decide(RULES, p, NAME)


def convolve(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    """Compute a convolution of images with few channels.

    Args:
        lhs: the images, as the primitive takes them.
        rhs: the kernel, likewise.
        **params: of the primitive.
    """
    x, kernel = images_last(lhs, params), kernel_last(rhs, params)
    *window, channels, filters = kernel.shape
    sliding = Sliding(
        window,
        result_size(lhs, rhs, params),
        params["window_strides"],
        params["rhs_dilation"],
        [low for low, _ in params["padding"]],
    )
    numbers = (part[..., i : i + 1] for part in elements(x, sliding) for i in range(channels))
    return result_of(sum_products(zip(numbers, kernel.reshape(-1, filters), strict=True)), params)


register_formulation(
    Formulation(
        name=NAME,
        operation=CONVOLUTION,
        primitive=conv_general_dilated_p,
        matches=matches,
        apply=convolve,
        reason="`lax` computes a matrix product whose sums are short",
        gradients=(CONVOLUTION,),
    )
)
