"""Reshapes must keep the number of elements, which JAX does not check for symbolic sizes."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from jaxconv.compat import reshape_p


@contextlib.contextmanager
def checked_reshapes() -> Iterator[None]:
    """Let a reshape raise TypeError where it does not keep the number of elements.

    The question is asked within JAX, as JAX asks it for numbers.
    """
    original = reshape_p.abstract_eval

    def abstract_eval(operand: Any, *others: Any, **params: Any) -> Any:
        before, after = tuple(operand.shape), tuple(params["new_sizes"])
        if math.prod(before) != math.prod(after):
            shapes = " to ".join(str(shape) for shape in (before, after))
            text = f"the reshape from {shapes} does not preserve the number of elements."
            raise TypeError(text)
        return original(operand, *others, **params)

    reshape_p.abstract_eval = abstract_eval
    try:
        yield
    finally:
        reshape_p.abstract_eval = original
