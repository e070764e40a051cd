"""A program with its constants, in memory and in a file.

The file is a ZIP archive: the program as JAX exports it (StableHLO), the bytes of each constant,
and what they are, in JSON. It is read by JAX and NumPy alone; nothing is unpickled.
"""

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxconv.aot.program import in_large_pages

FORMAT = 1
ABOUT, PROGRAM = "about.json", "program"


class ProgramError(ValueError):
    """A file that holds no program for this platform; the message says which and the fix."""


@dataclass(frozen=True)
class Program:
    """Something to run.

    Attributes:
        run: takes the constants, a list, and the inputs, a tuple.
        constants: arrays.
        inputs: shapes and types, a tuple of pytrees.
        outputs: likewise, a pytree.
    """

    run: Callable[..., Any]
    constants: Sequence[jax.Array]
    inputs: Any
    outputs: Any


def write(program: Program, path: Path) -> None:
    """Write a whole file or nothing.

    Raises:
        ProgramError: a program that JAX cannot export, or a file that cannot be written.
    """
    platforms, exported = _exported(program)
    kinds = [[str(c.dtype), c.shape] for c in program.constants]
    about = {"format": FORMAT, "platforms": platforms, "constants": kinds}
    partial = path.parent / f".{path.name}.part"
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            archive.writestr(ABOUT, json.dumps(about))
            archive.writestr(PROGRAM, exported)
            for place, constant in enumerate(program.constants):
                with archive.open(f"{place}", "w", force_zip64=True) as member:
                    member.write(np.asarray(constant).tobytes())
        partial.replace(path)
    except OSError as error:
        raise ProgramError(
            f"{path} cannot be written: {error}. Fix: pass a file in a folder that is there."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _exported(program: Program) -> tuple[Sequence[str], bytearray]:
    if any(jnp.issubdtype(constant.dtype, jax.dtypes.prng_key) for constant in program.constants):
        raise ProgramError(
            "the program cannot be saved: it holds a random key. Fix: make the key an argument."
        )
    try:
        exported = export.export(jax.jit(program.run))(program.constants, program.inputs)
        return exported.platforms, exported.serialize()
    except (ValueError, NotImplementedError) as error:
        raise ProgramError(
            f"the program cannot be saved: {error} Fix: compile a function that takes and returns "
            "tuples and dicts of arrays, and calls no Python while it runs."
        ) from error


def read(path: Path) -> Program:
    """Read what :func:`write` wrote.

    Raises:
        ProgramError: a file that is none, is damaged, or was written for another platform.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(ABOUT))
            _refuse_others(path, about)
            return _program(archive, about["constants"])
    except ProgramError:
        raise
    except Exception as error:  # what is damaged may fail anywhere in what reads it
        raise ProgramError(
            f"{path} cannot be read as a program: {error}. Fix: pass a file that save() wrote."
        ) from error


def _program(archive: zipfile.ZipFile, kinds: Sequence[Any]) -> Program:
    exported = export.deserialize(bytearray(archive.read(PROGRAM)))
    constants = [
        in_large_pages(
            jnp.asarray(np.frombuffer(archive.read(f"{place}"), jnp.dtype(dtype)).reshape(shape))
        )
        for place, (dtype, shape) in enumerate(kinds)
    ]
    (_, inputs), _ = jax.tree.unflatten(exported.in_tree, map(shape_type, exported.in_avals))
    outputs = jax.tree.unflatten(exported.out_tree, map(shape_type, exported.out_avals))
    return Program(exported.call, constants, inputs, outputs)


def _refuse_others(path: Path, about: Any) -> None:
    here = jax.default_backend().replace("gpu", "cuda")
    if about["format"] != FORMAT:
        raise ProgramError(
            f"{path} was written by another version. Fix: compile and save the function again."
        )
    if here not in about["platforms"]:
        made = ", ".join(about["platforms"])
        raise ProgramError(
            f"{path} was compiled for {made}, and this is {here}. Fix: compile and save it here."
        )


def shape_type(aval: Any) -> jax.ShapeDtypeStruct:
    """The shape and type of an array, and no more."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)
