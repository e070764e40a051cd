"""PyTorch's files, written without PyTorch, which a set-up may lack."""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile
from typing import NamedTuple

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage",
            "int64": "LongStorage"}  # fmt: skip


class Rebuilt(NamedTuple):
    """A tensor as a pickle describes it: a block (dtype, key, count), and where it is in that."""

    block: tuple
    offset: int
    shape: tuple
    strides: tuple


class Pickler(pickle.Pickler):
    """Writes the names of PyTorch, which need not exist."""

    def persistent_id(self, value):
        if isinstance(value, Block):
            dtype, key, count = value.block
            named = sys.modules["torch_names"].__dict__[dtype]
            return ("storage", named, key, "cpu", count)
        return None

    def reducer_override(self, value):
        if isinstance(value, Rebuilt):
            hooks = collections.OrderedDict()
            made = (Block(value.block), *value[1:], False, hooks)
            return sys.modules["torch_names"]._rebuild_tensor_v2, made
        return NotImplemented


class Block:
    def __init__(self, block):
        self.block = block


def _names():
    """A module of names, which the pickle then has as those of PyTorch."""
    module = types.ModuleType("torch_names")
    for name in (*STORAGES.values(), "WordStorage", "_rebuild_tensor_v2"):
        made = type(name, (), {})
        made.__module__ = "torch_names"
        setattr(module, name, made)
    return module


def pickled(value):
    """The list of tensors of an archive."""
    sys.modules["torch_names"] = _names()
    try:
        made = io.BytesIO()
        Pickler(made, 2).dump(value)
    finally:
        del sys.modules["torch_names"]
    code = made.getvalue().replace(
        b"ctorch_names\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_tensor_v2\n"
    )
    return code.replace(b"ctorch_names\n", b"ctorch\n")


def described(arrays):
    """A state dict of tensors, one block each."""
    state = collections.OrderedDict()
    for number, (name, array) in enumerate(arrays.items()):
        strides = tuple(
            step // array.itemsize for step in np.empty(array.shape, array.dtype).strides
        )
        block = (STORAGES[str(array.dtype)], str(number), array.size)
        state[name] = Rebuilt(block, 0, array.shape, strides)
    state._metadata = {"": {"version": 1}}
    return state


def zipped(entries):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return made.getvalue()


def archive(arrays, holder=lambda state: state):
    """A file as PyTorch has written it since version 1.6."""
    blocks = {f"w/data/{i}": a.tobytes() for i, a in enumerate(arrays.values())}
    return zipped({"w/data.pkl": pickled(holder(described(arrays))), "w/version": b"3\n", **blocks})


def old_header():
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, system))


def old(arrays, holder=lambda state: state):
    """A file as PyTorch wrote it before."""
    keys = [str(number) for number in range(len(arrays))]
    blocks = [struct.pack("<q", a.size) + a.tobytes() for a in arrays.values()]
    code = pickled(holder(described(arrays)))
    return b"".join([old_header(), code, pickle.dumps(keys, 2), *blocks])
