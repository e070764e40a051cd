"""``jaxconv.jit``: ``jax.jit`` with the compiler options that are fast on a CPU."""

import functools
import types
from collections.abc import Callable
from typing import Any

import jax

from jaxconv.compat import missing, trace_state_clean
from jaxconv.errors import raises_shape_error
from jaxconv.prover.check import require_callable

# By default XLA hands whole chains of operations on a CPU to one library (YNN), which takes twice
# as long for a batch of 8 and many times as long for gradients of kernels; XLA's own code is
# faster. That library is the fastest for single convolutions that are left to `lax`, and for sums,
# such as those of batch norm in training; these are left to it. XLA's default scheduler also
# starts early what could run in parallel: all transformed kernels of a training step then wait in
# memory, which the operating system has to provide and clear in each call. That needs three times
# the memory. Vectors of 512 bits, where the processor has them, save up to a third of the time of
# sums of products and of activations.
LIBRARY_FUSIONS = ("LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION", "LIBRARY_FUSION_TYPE_REDUCE")
CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": ",".join(LIBRARY_FUSIONS),
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_cpu_prefer_vector_width": 512,
}


def compiler_options() -> dict[str, Any]:
    """Return the options of XLA for the platform that programs run on by default."""
    return dict(CPU_OPTIONS) if jax.default_backend() == "cpu" else {}


def jit(fn: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile a function such as a training step: ``jax.jit`` with options that make it fast.

    Args:
        fn: as for ``jax.jit``.
        **options: likewise, such as ``donate_argnums=0``. Entries of ``compiler_options`` take
            precedence over those of jaxconv.

    Returns:
        The result of ``jax.jit``, created at the first call: the platform need not be known before.
        Inside a function that is itself compiled, differentiated or batched, it is plain
        ``jax.jit``, because JAX accepts compiler options for the outermost program only.

    Example:
        >>> import jax.numpy as jnp, jaxconv as jc
        >>> double = jc.jit(lambda x: 2 * x)
        >>> double(jnp.arange(3.0))
        Array([0., 2., 4.], dtype=float32)
    """
    raises_shape_error("jit")(require_callable)(fn)
    return _Jitted(fn, options)


class _Jitted:
    """A function that is compiled with the compiler options where JAX takes them."""

    def __init__(self, fn: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, fn, updated=())
        self._fn, self._options = fn, options

    @functools.cached_property
    def _outermost(self) -> Any:
        options = dict(self._options)
        merged = compiler_options() | (options.pop("compiler_options", None) or {})
        return jax.jit(self._fn, compiler_options=merged, **options)

    @functools.cached_property
    def _nested(self) -> Any:
        return jax.jit(self._fn, **self._options)

    @property
    def _jitted(self) -> Any:
        is_outermost = not missing and trace_state_clean()
        return self._outermost if is_outermost else self._nested

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._jitted(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._jitted, name)
