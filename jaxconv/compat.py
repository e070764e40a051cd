"""The private and semi-private names of JAX that jaxconv relies on. No other module uses any."""

from jax._src.core import trace_state_clean
from jax.core import Tracer, eval_jaxpr
from jax.extend.core import (
    ClosedJaxpr,
    Jaxpr,
    JaxprEqn,
    Literal,
    Primitive,
    Var,
    jaxpr_as_fun,
)
from jax.extend.core.primitives import (
    conv_general_dilated_p,
    reduce_window_max_p,
    select_and_gather_add_p,
    select_and_scatter_add_p,
)
from jax.interpreters.ad import (
    Zero,
    is_undefined_primal,
    primitive_jvps,
    primitive_transposes,
)
from jax.interpreters.batching import primitive_batchers
from jax.interpreters.mlir import lower_fun, register_lowering
from jax.interpreters.partial_eval import dce_jaxpr

__all__ = [
    "ClosedJaxpr",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Primitive",
    "Tracer",
    "Var",
    "Zero",
    "conv_general_dilated_p",
    "dce_jaxpr",
    "eval_jaxpr",
    "is_undefined_primal",
    "jaxpr_as_fun",
    "lower_fun",
    "primitive_batchers",
    "primitive_jvps",
    "primitive_transposes",
    "reduce_window_max_p",
    "register_lowering",
    "select_and_gather_add_p",
    "select_and_scatter_add_p",
    "trace_state_clean",
]
