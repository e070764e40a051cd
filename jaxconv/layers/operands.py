"""What every layer asks of its array arguments: that they are arrays, and of one type."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv.errors import Diagnostic, ValidationError, raise_if


@runtime_checkable
class Variable(Protocol):
    """What JAX can turn into an array by itself, such as a Flax variable."""

    def __jax_array__(self) -> jax.Array: ...


Operand = ArrayLike | Variable
Ints = int | Sequence[int]
Padding = str | int | Sequence[int | Sequence[int]]


def as_arrays(**operands: Any) -> list[jax.Array]:
    """Take each operand as a JAX array; all must have one dtype.

    Anything with a shape that JAX can take passes: JAX and NumPy arrays, tracers, Flax variables.
    A ``bias`` of None is left out.

    Raises:
        ValidationError: an operand that is no array, or operands of several dtypes.
    """
    given = {n: value for n, value in operands.items() if n != "bias" or value is not None}
    raise_if(_no_array(name, value) for name, value in given.items() if not _is_array(value))
    raise_if(_no_numbers(name, value) for name, value in given.items() if not _is_numeric(value))
    arrays = {name: jnp.asarray(value) for name, value in given.items()}
    raise_if(_dtype_diagnostics(arrays))
    return list(arrays.values())


def need_floats(x: jax.Array) -> None:
    """Refuse integers, in which means would have to be rounded, and floats of 8 bits."""
    _need(x, jnp.floating, "in which a mean would have to be rounded")


def need_numbers(x: jax.Array) -> None:
    """Refuse what has no order or no lowest number, such as truth values and floats of 8 bits."""
    kind = jnp.integer if jnp.issubdtype(x.dtype, jnp.integer) else jnp.floating
    _need(x, kind, "which has no lowest number to pad with")


def _need(x: jax.Array, kind: Any, why: str) -> None:
    narrow = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize == 1
    diagnostic = Diagnostic(f"x is {x.dtype}, {why}.", "convert with x.astype(jnp.float32).")
    raise_if([diagnostic] if narrow or not jnp.issubdtype(x.dtype, kind) else [])


def as_shape(name: str, shape: Any) -> tuple[Any, ...]:
    """Take a shape, of ints or of symbolic sizes, or refuse what is none."""
    fix = f"pass a tuple of sizes, such as {name.removesuffix('_shape')}.shape."
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        shown = repr(shape) if isinstance(shape, int | float | str) else f"a {type(shape).__name__}"
        raise ValidationError(
            [Diagnostic(f"{name} is {shown}, but must be a tuple of sizes.", fix)]
        )
    if not all(map(_is_size, shape)):
        wrong = f"{name} is {shape!r}, but every size must be an int of 0 or more."
        raise ValidationError([Diagnostic(wrong, fix)])
    return tuple(shape)


def _is_size(value: Any) -> bool:
    symbolic = hasattr(value, "dimension_as_value")  # what JAX, too, takes for a symbolic size
    return symbolic or (isinstance(value, int | np.integer) and int(value) >= 0)


def _is_array(value: object) -> bool:
    return isinstance(value, jax.Array | np.ndarray | np.generic | Variable)


def _is_numeric(value: Any) -> bool:
    dtype = value.dtype if hasattr(value, "dtype") else jnp.asarray(value).dtype
    return jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)


def _no_numbers(name: str, value: Any) -> Diagnostic:
    wrong = f"{name} is an array of {value.dtype}, which JAX does not take."
    return Diagnostic(wrong, f"convert with {name}.astype(np.float32), if these are numbers.")


def _no_array(name: str, value: object) -> Diagnostic:
    scalar = value is None or isinstance(value, int | float | str)
    shown = repr(value) if scalar else f"a {type(value).__name__}"
    wrong = f"{name} is {shown}, but must be an array."
    if name == "kernel" and isinstance(value, int):
        hint = "The kernel is the weights themselves, not their size."
        return Diagnostic(
            wrong, f"for images pass weights of shape ({value}, {value}, c_in, c_out).", hint
        )
    return Diagnostic(wrong, f"pass an array as {name}; jnp.asarray makes one of numbers.")


def _dtype_diagnostics(arrays: dict[str, jax.Array]) -> list[Diagnostic]:
    types = {name: array.dtype for name, array in arrays.items()}
    if len(set(types.values())) == 1:
        return []
    wrong = " and ".join(f"{name} is {dtype}" for name, dtype in types.items()) + "."
    (first, image), *others = types.items()
    floats = [dtype for _, dtype in others if jnp.issubdtype(dtype, jnp.floating)]
    if image == np.uint8 and floats:
        fix = f"convert with {first}.astype(jnp.{floats[0]}) / 255."
        return [Diagnostic(wrong, fix, f"{first} looks like raw pixels of 0 to 255.")]
    to = image if jnp.issubdtype(image, jnp.floating) or not floats else floats[0]
    return [Diagnostic(wrong, f"convert with .astype(jnp.{to}), so that all have one type.")]
