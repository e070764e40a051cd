"""The array arguments of the layers: what they may be, and the checks that all layers share."""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Shaped

from jaxconv.errors import Diagnostic, ValidationError, raise_if, shown


@runtime_checkable
class Variable(Protocol):
    """What JAX converts to an array by itself, such as a Flax variable."""

    def __jax_array__(self) -> jax.Array: ...


# What layers take. The spatial axes are (h, w) for images, (l,) or (d, h, w) for 1-D and 3-D; the
# channels follow or precede them, by the argument `layout`.
Images = Shaped[ArrayLike, "b *spatial_and_channels"] | Variable
Kernel = Shaped[ArrayLike, "*window c_in c_out"] | Variable
Bias = Shaped[ArrayLike, "c_out"] | Variable
Features = Shaped[ArrayLike, "*batch c_in"] | Variable
DenseKernel = Shaped[ArrayLike, "c_in c_out"] | Variable
# What they return.
FeatureMaps = Shaped[Array, "b *spatial_and_channels"]

Operand = ArrayLike | Variable
Ints = int | Sequence[int]
_NUMBER = jax.ShapeDtypeStruct((), jnp.float32)
Padding = str | int | Sequence[int | Sequence[int]]


def as_arrays(preferred: np.dtype[Any] | None = None, /, **operands: Any) -> list[jax.Array]:
    """Convert each operand to a JAX array; all must have one dtype.

    Args:
        preferred: a dtype that the bias may have instead.
        **operands: JAX and NumPy arrays, tracers or Flax variables, by the names that messages
            use. A ``bias`` of None is left out.

    Returns:
        The arrays, in the same order.

    Raises:
        ValidationError: an operand that is not an array of numbers, or operands of several dtypes.
    """
    given = {n: value for n, value in operands.items() if n != "bias" or value is not None}
    raise_if(
        _not_an_array(name, value)
        for name, value in given.items()
        if not isinstance(value, jax.Array | np.ndarray | np.generic | Variable)
        or isinstance(value, np.ma.MaskedArray)
    )
    # An array may be one of strings, of dates or of other things that JAX does not take.
    types = {n: v.dtype if hasattr(v, "dtype") else jnp.asarray(v).dtype for n, v in given.items()}
    raise_if(
        Diagnostic(
            f"{name} is an array of {dtype}, which JAX does not support.",
            f"if it contains numbers, convert it with {name}.astype(np.float32).",
        )
        for name, dtype in types.items()
        if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_))
    )
    arrays = {name: jnp.asarray(value) for name, value in given.items()}
    raise_if(dtype_diagnostics(arrays, preferred))
    return list(arrays.values())


def as_operands(x: Any, kernel: Any, bias: Any, preferred: Any) -> list[jax.Array]:
    """Convert images, kernel and bias to JAX arrays, and check that their sums fit into the result.

    Args:
        x: as :func:`as_arrays` takes it.
        kernel: likewise.
        bias: likewise, or None.
        preferred: the dtype of the result; None means that of ``x``.

    Returns:
        The arrays, in this order, without a bias of None.

    Raises:
        ValidationError: not arrays, several dtypes, or a result that cannot hold the sums.
    """
    wanted = None
    if preferred is not None:
        # NumPy reads a text as code, and asks other objects for their attributes.
        with contextlib.suppress(Exception):
            wanted = None if isinstance(preferred, jax.Array | np.ndarray) else jnp.dtype(preferred)
        if wanted is None or not jnp.issubdtype(wanted, jnp.number):
            name = "preferred_element_type"
            wrong = f"{name} is {short_repr(preferred)}, but must be a dtype of numbers."
            raise ValidationError([Diagnostic(wrong, f"pass {name}=jnp.float32 or jnp.int32.")])
    arrays = as_arrays(wanted, x=x, kernel=kernel, bias=bias)
    raise_if(_sum_diagnostics(arrays[0].dtype, wanted))
    return arrays


def as_precision(precision: Any) -> Any:
    """Check the precision of multiplications.

    Args:
        precision: as ``jax.lax.conv_general_dilated`` takes it.

    Returns:
        It, unchanged.

    Raises:
        ValidationError: another value.
    """
    try:
        if precision is not None:
            jax.eval_shape(functools.partial(jnp.dot, precision=precision), _NUMBER, _NUMBER)
    except Exception:  # which of them depends on the type of what was passed
        wrong = f"precision is {short_repr(precision)}, which is not valid."
        fix = "set precision= to None, 'default', 'high', 'highest', or a jax.lax.Precision."
        raise ValidationError([Diagnostic(wrong, fix)]) from None
    return precision


def _sum_diagnostics(dtype: np.dtype[Any], wanted: np.dtype[Any] | None) -> list[Diagnostic]:
    """Whether sums of products of a dtype fit into the dtype of the result."""
    is_whole = jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_
    if wanted is None:
        if not is_whole or dtype.itemsize >= 4:
            return []
        wrong = f"all arrays are {dtype}, which overflows in sums of products."
        fix = "pass preferred_element_type=jnp.int32, or convert them with .astype(jnp.float32)."
        return [Diagnostic(wrong, fix)]
    kinds = (jnp.integer, jnp.floating, jnp.complexfloating)
    allowed = kinds[:2] if is_whole else [kind for kind in kinds if jnp.issubdtype(dtype, kind)]
    fits = any(jnp.issubdtype(wanted, kind) for kind in allowed)
    is_unsigned = jnp.issubdtype(wanted, jnp.unsignedinteger)
    loses_sign = is_unsigned and jnp.issubdtype(dtype, jnp.signedinteger)
    is_narrow = is_whole and jnp.issubdtype(wanted, jnp.integer) and wanted.itemsize < 4
    if fits and not loses_sign and not is_narrow and wanted.itemsize >= dtype.itemsize:
        return []
    wrong = f"preferred_element_type is {wanted}, which cannot hold sums of {dtype}."
    wide = jnp.promote_types(dtype, jnp.int32 if is_whole else jnp.float32)
    then = " or jnp.float32" if _sum_diagnostics(dtype, None) else ", or leave it out"
    then = f", then convert the result with .astype(jnp.{wanted})" if is_narrow else then
    return [Diagnostic(wrong, f"pass preferred_element_type=jnp.{wide}{then}.")]


def require_floats(x: jax.Array) -> None:
    """Reject integers, whose mean would have to be rounded, and floats of 8 bits.

    Args:
        x: any array.

    Raises:
        ValidationError: another dtype than a float of 16 bits or more.
    """
    _require(x, jnp.floating, "whose mean would have to be rounded")


def require_ordered(x: jax.Array) -> None:
    """Reject dtypes without an order or without a lowest number: booleans, floats of 8 bits.

    Args:
        x: any array.

    Raises:
        ValidationError: another dtype than an integer or a float of 16 bits or more.
    """
    kind = jnp.integer if jnp.issubdtype(x.dtype, jnp.integer) else jnp.floating
    _require(x, kind, "which has no lowest number to pad with")


def _require(x: jax.Array, kind: Any, why: str) -> None:
    is_narrow = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize == 1
    diagnostic = Diagnostic(f"x is {x.dtype}, {why}.", "convert it with x.astype(jnp.float32).")
    raise_if([diagnostic] if is_narrow or not jnp.issubdtype(x.dtype, kind) else [])


def as_shape(name: str, shape: Any) -> tuple[Any, ...]:
    """Check a shape of ints or of symbolic sizes.

    Args:
        name: of the argument, such as "x_shape".
        shape: what was passed.

    Returns:
        The shape as a tuple.

    Raises:
        ValidationError: not a sequence of sizes.
    """
    fix = f"pass a tuple of sizes, such as {name.removesuffix('_shape')}.shape."
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        wrong = f"{name} is {short_repr(shape)}, but must be a tuple of sizes."
        raise ValidationError([Diagnostic(wrong, fix)])
    # An attribute by which JAX, too, recognises a symbolic size.
    is_symbolic = [hasattr(size, "dimension_as_value") for size in shape]
    is_size = [isinstance(size, int | np.integer) and int(size) >= 0 for size in shape]
    if not all(a or b for a, b in zip(is_symbolic, is_size, strict=True)):
        wrong = f"{name} is {shown(shape)}, but every size must be an int of 0 or more."
        raise ValidationError([Diagnostic(wrong, fix)])
    return tuple(shape)


def short_repr(value: object) -> str:
    """Write a value as messages show it: numbers and strings in full, others by their type.

    Args:
        value: any object.
    """
    is_scalar = value is None or isinstance(value, int | float | str)
    return shown(value) if is_scalar else f"a {type(value).__name__}"


def _not_an_array(name: str, value: object) -> Diagnostic:
    wrong = f"{name} is {short_repr(value)}, but must be an array."
    if isinstance(value, np.ma.MaskedArray):
        wrong = f"{name} is a masked array, which JAX does not support."
        return Diagnostic(wrong, f"fill in numbers with {name}.filled(0).")
    if name == "kernel" and isinstance(value, int):
        hint = "The kernel is the array of weights, not their size."
        fix = f"for images, pass weights of shape ({shown(value)}, {shown(value)}, c_in, c_out)."
        return Diagnostic(wrong, fix, hint)
    return Diagnostic(wrong, f"pass an array as {name}; jnp.asarray converts a list of numbers.")


def dtype_diagnostics(
    arrays: dict[str, jax.Array], preferred: np.dtype[Any] | None = None
) -> list[Diagnostic]:
    """Compare the dtypes of arrays, which must be equal.

    Args:
        arrays: by their names, the images first.
        preferred: a dtype that the bias may have instead.
    """
    types = {name: array.dtype for name, array in arrays.items()}
    if types.get("bias") == preferred is not None:
        del types["bias"]
    if len(set(types.values())) == 1:
        return []
    *parts, last = (f"{name} is {dtype}" for name, dtype in types.items())
    wrong = f"all arrays must have one dtype, but {', '.join(parts)} and {last}."
    (first, image), *others = types.items()
    floats = [dtype for _, dtype in others if jnp.issubdtype(dtype, jnp.floating)]
    if image == np.uint8 and floats:
        fix = f"convert it with {first}.astype(jnp.{floats[0]}) / 255."
        return [Diagnostic(wrong, fix, f"{first} may be raw pixels from 0 to 255.")]
    to = image if jnp.issubdtype(image, jnp.floating) or not floats else floats[0]
    names = [name for name, dtype in types.items() if dtype != to]
    conversions = " and ".join(f"{name} with {name}.astype(jnp.{to})" for name in names)
    return [Diagnostic(wrong, f"convert {conversions}.")]
