"""PyTorch's files (.pth, .pt), read without PyTorch, and without running what is in them.

The tensors of such a file are listed by a pickle, which is a program that may call any function.
Here it gets the few names that a ``state_dict`` needs. They stand for values without methods or
attributes that could be changed, so that nothing in a file is executed. A file that names anything
else is refused. Both forms are read: the ZIP archives that PyTorch has written since version 1.6,
and the files before, among which most of torchvision's VGG weights are.
"""

import functools
import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxconv.models.errors import WeightsError

DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
ZIP_MAGIC = b"PK\x03\x04"
OLD_MAGIC_NUMBER, OLD_VERSION = 0x1950A86A20F9469CFC6C, 1001
PICKLE_MAGIC = b"\x80"
SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
HOLDERS = ("state_dict", "model_state_dict", "model")  # where checkpoints have the parameters
MEMO_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")  # Python allocates as many entries as they say
# A key is hashed with all elements of its elements, which a few bytes of a file may double; lists,
# dictionaries and sets in it are not.
LARGEST_KEY = 1000  # elements; a tensor is described by about 20
UNHASHED = ("APPEND", "APPENDS", "LIST", "SETITEM", "SETITEMS", "DICT", "ADDITEMS", "FROZENSET")
# What has another type than PyTorch writes is not put into a message: a nested tuple of a few bytes
# may be gigabytes as text.
LONGEST = 100  # characters of a name
UNCLEAR = "it describes its data wrongly"

Read = Callable[["_Storage"], np.ndarray]


class _Storage(NamedTuple):
    """A block of numbers in the file."""

    dtype: str
    key: str
    length: int
    offset: int = 0


class _Tensor(NamedTuple):
    """An array of some of the numbers of a block."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _MakeTensor:
    """What ``torch._utils._rebuild_tensor_v2`` is for: makes a description of a tensor."""

    __slots__ = ()

    def __call__(self, *given: Any) -> _Tensor:
        return _Tensor(*given[:4])


class _MakeParameter:
    """What ``torch._utils._rebuild_parameter`` is for: a parameter is its tensor."""

    __slots__ = ()

    def __call__(self, *given: Any) -> Any:
        return given[0]


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _MakeTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _MakeTensor(),
    ("torch._utils", "_rebuild_parameter"): _MakeParameter(),
    **{("torch", name): name for name in DTYPES},
    **{("torch.storage", name): name for name in DTYPES},
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows ``KNOWN`` and nothing else.

    Attributes:
        dtypes: of the blocks of numbers that the pickle names, by their keys.
    """

    def __init__(self, file: io.BytesIO | io.BufferedReader) -> None:
        super().__init__(file, encoding="utf-8")
        self.dtypes: dict[str, str] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in KNOWN:
            called = f"{module_name}.{global_name}"[:LONGEST]
            raise WeightsError(
                f"it is a program that calls {called}, which is not run. Fix: "
                "pass a file that has tensors only, saved by torch.save(model.state_dict(), ...), "
                "or a .safetensors file."
            )
        return KNOWN[module_name, global_name]

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _, count, *view = pid
        offset = view[0][1] if view and view[0] else 0
        if [*map(type, (dtype, key, count, offset))] != [str, str, int, int]:
            raise ValueError(UNCLEAR)
        self.dtypes[key] = dtype
        return _Storage(dtype, key, count, offset)


def is_pytorch_file(path: Path, start: bytes) -> bool:
    """Whether a file is to be read as one of PyTorch.

    Args:
        path: of the file.
        start: its first bytes.
    """
    return start.startswith((ZIP_MAGIC, PICKLE_MAGIC)) or path.suffix in SUFFIXES


def read_pytorch(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a ``state_dict``, or of a checkpoint that has one.

    Args:
        path: of the file.

    Returns:
        The tensors by PyTorch's names, in the order of the file; without the "module." that
        parallel training puts before all names.

    Raises:
        WeightsError: it calls functions, or it has no tensors.
        Exception: of many types, where the file is damaged.
    """
    with path.open("rb") as file:
        is_archive = file.read(4) == ZIP_MAGIC
    return _read_archive(path) if is_archive else _read_old(path)


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if "model.weights.h5" in names:
            raise WeightsError(
                "it is a whole model of Keras. Fix: save its weights alone, with "
                "model.save_weights('name.weights.h5')."
            )
        # PyTorch compresses nothing; a compressed entry may unpack to any size.
        stored = sum(entry.file_size for entry in entries)
        if stored > path.stat().st_size or any(entry.compress_type for entry in entries):
            raise WeightsError("it is not an archive that PyTorch made. Fix: download it again.")
        found = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(found) != 1:
            raise WeightsError(
                "it is a ZIP archive that PyTorch did not make. Fix: pass a file that was saved by "
                "torch.save(model.state_dict(), ...), or a .safetensors file."
            )
        (pickled,) = found
        folder = pickled.removesuffix("data.pkl")
        order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in names else b"little"
        saved, _ = _unpickle(io.BytesIO(archive.read(pickled)))

        @functools.cache  # of which any number of tensors may be views
        def block(key: str, dtype: str) -> np.ndarray:
            return _numbers(archive.read(f"{folder}data/{key}"), dtype, is_big=order == b"big")

        return _as_arrays(saved, lambda storage: block(storage.key, storage.dtype))


def _read_old(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        (magic, _), (version, _), (system, _) = (_unpickle(file) for _ in range(3))
        if (magic, version) != (OLD_MAGIC_NUMBER, OLD_VERSION):
            raise ValueError("it was not written by PyTorch")
        (saved, dtypes), (keys, _) = _unpickle(file), _unpickle(file)
        if {*map(type, keys)} - {str}:
            raise ValueError(UNCLEAR)
        is_big = system.get("little_endian") is False
        blocks = {}
        for key in keys:
            (count,) = struct.unpack(">q" if is_big else "<q", file.read(8))
            size = count * np.dtype(DTYPES[dtypes[key]]).itemsize
            if not 0 <= size <= path.stat().st_size - file.tell():
                raise ValueError(f"its data end after {path.stat().st_size} bytes")
            blocks[key] = _numbers(file.read(size), dtypes[key], is_big=is_big)
        return _as_arrays(saved, lambda storage: blocks[storage.key])


def _numbers(data: bytes, dtype: str, *, is_big: bool) -> np.ndarray:
    stored = np.dtype(DTYPES[dtype])
    if not is_big:
        return np.frombuffer(data, stored)
    return np.frombuffer(data, stored.newbyteorder(">")).astype(stored)


def _unpickle(file: io.BytesIO | io.BufferedReader) -> tuple[Any, dict[str, str]]:
    """Read one pickle: its value, and the dtypes of the blocks that it names.

    Its opcodes are read first: none may ask for more memory than it has, or for years of hashing.
    """
    start = file.tell()
    codes = [(code, arg) for code, arg, _ in pickletools.genops(file)]
    if any(code.name in MEMO_OPCODES and int(arg or 0) > len(codes) for code, arg in codes):
        raise ValueError("its pickle is damaged")
    if _largest_key(codes) > LARGEST_KEY:
        raise ValueError(UNCLEAR)
    file.seek(start)
    unpickler = _Unpickler(file)
    return unpickler.load(), unpickler.dtypes


def _largest_key(codes: list[tuple[pickletools.OpcodeInfo, Any]]) -> int:
    """The most elements, those of elements included, of what a pickle may use as a key.

    Its opcodes are followed on a stack that has numbers of elements in the place of values.
    """
    stack: list[int] = []
    marks: list[int] = []  # heights of the stack
    memo: dict[int, int] = {}
    largest = 0
    for code, arg in codes:
        if code.name == "MARK":
            marks.append(len(stack))
        elif code.name == "MEMOIZE" or code.name in MEMO_OPCODES:
            memo[len(memo) if arg is None else arg] = stack[-1]
        elif code.name.endswith("GET"):
            stack.append(memo[arg])
        elif code.name == "POP" and marks[-1:] == [len(stack)]:
            marks.pop()
        else:
            before = code.stack_before
            has_mark = pickletools.markobject in before
            below = before.index(pickletools.markobject) if has_mark else len(before)
            start = (marks.pop() if has_mark else len(stack)) - below
            taken, stack[start:] = stack[start:], []
            size = 1 if code.name in UNHASHED else 1 + sum(taken)
            stack += [size] * len(code.stack_after)
            largest = max(largest, size)
    return largest


def _as_arrays(saved: Any, read: Read) -> dict[str, np.ndarray]:
    """The numbers of each tensor in what was saved, by name; all must be in the tensor's block."""
    for holder in HOLDERS:
        if isinstance(saved, Mapping) and isinstance(saved.get(holder), Mapping):
            saved = saved[holder]
    named = saved.items() if isinstance(saved, Mapping) else ()
    tensors = {
        name: value for name, value in named if isinstance(name, str) and isinstance(value, _Tensor)
    }
    if not tensors:
        raise WeightsError(
            "it has no tensors. Fix: pass a file that torch.save(model.state_dict(), ...) wrote."
        )
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        block = read(storage)[storage.offset : storage.offset + storage.length]
        numbers = (offset, *shape, *strides)
        is_valid = all(type(n) is int and n >= 0 for n in numbers) and len(shape) == len(strides)
        if not is_valid or len(block) != storage.length or math.prod(shape) > len(block):
            raise ValueError("a tensor is larger than its data")
        if math.prod(shape) == 0:
            arrays[name] = np.zeros(shape, block.dtype)
            continue
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if last >= len(block):
            raise ValueError("a tensor is larger than its data")
        steps = [step * block.itemsize for step in strides]
        strided = np.lib.stride_tricks.as_strided(block[offset:], shape, steps, writeable=False)
        arrays[name] = strided
    return arrays
