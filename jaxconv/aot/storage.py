"""A program with its constants, in memory and in a file.

The file is a ZIP archive: the program as JAX exports it (StableHLO), the bytes of each constant,
and their shapes and types as JSON. JAX and NumPy read it; nothing is unpickled.
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

FORMAT = 2
ABOUT, PROGRAM = "about.json", "program"


class ProgramError(ValueError):
    """A program that cannot be written, read or run on this platform; the message has the fix."""


@dataclass(frozen=True)
class Program:
    """A program with its constants.

    Attributes:
        run: takes the constants, a list, and the inputs.
        constants: the arrays that it reads besides its inputs.
        inputs: shapes and types of the positional arguments, a tuple of pytrees, and of the keyword
            arguments, a dict.
        outputs: likewise, a pytree.
    """

    run: Callable[..., Any]
    constants: Sequence[jax.Array]
    inputs: Any
    outputs: Any


def write_program(program: Program, path: Path) -> None:
    """Write a whole file, or nothing.

    Args:
        program: to write.
        path: of the file, which is replaced.

    Raises:
        ProgramError: a program that JAX cannot export, or a file that cannot be written.
    """
    if any(jnp.issubdtype(constant.dtype, jax.dtypes.prng_key) for constant in program.constants):
        raise ProgramError(
            "the program cannot be saved: it contains a random key. "
            "Fix: pass the key as an argument."
        )
    try:
        exported = export.export(jax.jit(program.run))(program.constants, program.inputs)
        content = exported.serialize()
    except (ValueError, NotImplementedError) as error:  # as jax.export says what it cannot write
        raise ProgramError(
            f"the program cannot be saved: {error} Fix: compile a function that takes and returns "
            "tuples and dicts of arrays, and calls no Python while it runs."
        ) from error
    kinds = [[str(c.dtype), c.shape] for c in program.constants]
    about = {"format": FORMAT, "platforms": exported.platforms, "constants": kinds}
    partial = path.parent / f".{path.name}.part"
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            archive.writestr(ABOUT, json.dumps(about))
            archive.writestr(PROGRAM, content)
            for number, constant in enumerate(program.constants):
                with archive.open(f"{number}", "w", force_zip64=True) as member:
                    member.write(np.asarray(constant).tobytes())
        partial.replace(path)
    except OSError as error:
        raise ProgramError(
            f"{path} cannot be written: {error}. Fix: pass a file in a folder that exists."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def read_program(path: Path) -> Program:
    """Read a file that :func:`write_program` wrote.

    Args:
        path: of the file.

    Returns:
        The program, not compiled yet.

    Raises:
        ProgramError: the file is not a program, is damaged, or was written for another platform.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(ABOUT))
            if about["format"] != FORMAT:
                wrong = f"{path} was written by another version."
                raise ProgramError(f"{wrong} Fix: compile and save the function again.")
            platform = jax.default_backend().replace("gpu", "cuda")
            if platform not in about["platforms"]:
                written_for = ", ".join(about["platforms"])
                raise ProgramError(
                    f"{path} was compiled for {written_for}, but this is {platform}. "
                    f"Fix: compile and save it on {platform}."
                )
            exported = export.deserialize(bytearray(archive.read(PROGRAM)))
            constants = []
            for number, (dtype, shape) in enumerate(about["constants"]):
                array = np.frombuffer(archive.read(f"{number}"), jnp.dtype(dtype)).reshape(shape)
                constants.append(in_large_pages(jnp.asarray(array)))
        (_, inputs), _ = jax.tree.unflatten(exported.in_tree, map(shape_type, exported.in_avals))
        outputs = jax.tree.unflatten(exported.out_tree, map(shape_type, exported.out_avals))
        return Program(exported.call, constants, inputs, outputs)
    except ProgramError:
        raise
    except Exception as error:  # a damaged file may fail in any part of the libraries
        raise ProgramError(
            f"{path} cannot be read as a program: {error}. Fix: pass a file that save() wrote."
        ) from error


def shape_type(aval: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and type of an array, without its sharding and weak type.

    Args:
        aval: anything with a shape and a dtype.
    """
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)
