"""The results of convolutions and pools, as they are traced.

It is here, beside what is replaced in JAX, that the calls of a trace are taken for calls of JAX.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from jaxconv.compat import WINDOW_PRIMITIVES


@contextlib.contextmanager
def observed_windows(observe: Callable[[Any], None]) -> Iterator[None]:
    """Call a function with the result of each convolution and pool that is traced.

    Args:
        observe: the function; what it raises ends the trace.
    """

    def observing(bind: Callable[..., Any]) -> Callable[..., Any]:
        def bind_and_observe(*arguments: Any, **parameters: Any) -> Any:
            results = bind(*arguments, **parameters)
            for result in results if isinstance(results, list | tuple) else (results,):
                observe(result)
            return results

        return bind_and_observe

    before = [vars(primitive).get("bind") for primitive in WINDOW_PRIMITIVES]
    for primitive in WINDOW_PRIMITIVES:
        primitive.bind = observing(primitive.bind)
    try:
        yield
    finally:
        for primitive, own in zip(WINDOW_PRIMITIVES, before, strict=True):
            del primitive.bind  # what is left is that of the class
            if own is not None:
                primitive.bind = own
