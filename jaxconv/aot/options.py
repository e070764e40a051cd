"""What XLA is told."""

import functools
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

# On a CPU XLA by default hands whole chains of operations to one library (YNN), which takes twice
# as long for a batch of 8 and many times for gradients of kernels; its plain code is faster. Single
# convolutions, those that are left to `lax`, are that library's best: they stay with it. And it
# starts early what could run beside other work, so that all transformed kernels of a training step
# wait in memory, which the system has to fetch and clear in each call: three times as much.
from jaxconv.compat import get_opaque_trace_state

CPU = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION",
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
}


def compiler_options() -> dict[str, Any]:
    """The options for the platform that programs run on by default."""
    return dict(CPU) if jax.default_backend() == "cpu" else {}


def jit(fn: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile a function such as a training step: ``jax.jit`` with the options that make it fast.

    Args:
        fn: as for ``jax.jit``.
        **options: likewise, such as ``donate_argnums=0``; what ``compiler_options`` says counts
            before ours.

    Returns:
        What ``jax.jit`` returns, made at the first use: only then must the platform be known.
        Inside what is itself compiled, differentiated or batched it is plain ``jax.jit``, since
        JAX takes options for the outermost program alone.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> double = jc.jit(lambda x: 2 * x)
        >>> double(jnp.arange(3.0))
        Array([0., 2., 4.], dtype=float32)
    """
    return _Jitted(fn, options)


@functools.cache
def _no_trace() -> Any:
    with ThreadPoolExecutor(1) as new:  # a new thread traces nothing
        return new.submit(get_opaque_trace_state).result()


def _is_outermost() -> bool:
    return get_opaque_trace_state() == _no_trace()


class _Jitted:
    def __init__(self, fn: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, fn, updated=())
        self._fn, self._options = fn, options

    @functools.cached_property
    def _outermost(self) -> Any:
        options = dict(self._options)
        ours = compiler_options() | (options.pop("compiler_options", None) or {})
        return jax.jit(self._fn, compiler_options=ours, **options)

    @functools.cached_property
    def _nested(self) -> Any:
        return jax.jit(self._fn, **self._options)

    @property
    def _jitted(self) -> Any:
        return self._outermost if _is_outermost() else self._nested

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._jitted(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._jitted, name)
