"""The private and semi-private names of JAX that jaxconv relies on. No other module uses any."""

from jax.core import Tracer, eval_jaxpr
from jax.extend.core import (
    ClosedJaxpr,
    Jaxpr,
    JaxprEqn,
    Literal,
    Primitive,
    Var,
    get_opaque_trace_state,
    jaxpr_as_fun,
    primitives,
)
from jax.interpreters import ad, batching, mlir
from jax.interpreters.partial_eval import dce_jaxpr

__all__ = [
    "ClosedJaxpr",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Primitive",
    "Tracer",
    "Var",
    "ad",
    "batching",
    "dce_jaxpr",
    "eval_jaxpr",
    "get_opaque_trace_state",
    "jaxpr_as_fun",
    "mlir",
    "primitives",
]
