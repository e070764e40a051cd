"""PyTorch's files, read without PyTorch: both forms, and files that would run code."""

import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from jaxconv.models import pytorch_files
from jaxconv.models.errors import WeightsError
from jaxconv.models.pytorch_files import read_pytorch
from jaxconv.models.weights import read_weights
from tests.support import torch_files
from tests.support.pytorch import import_torch

VALUES = {
    "features.0.weight": np.arange(24, dtype=np.float32).reshape(4, 3, 2),
    "features.0.bias": np.float16([1, 2.5]),
    "counts": np.int64(7).reshape(()),
    "none": np.zeros((0, 3), np.float64),
}
FORMS = {"an archive": torch_files.archive, "before version 1.6": torch_files.old}


@pytest.mark.parametrize("form", FORMS)
def test_tensors_are_read(tmp_path, form):
    path = tmp_path / "w.pth"
    for holder in (lambda s: s, lambda s: {"epoch": 3, "state_dict": s}, lambda s: {"model": s}):
        path.write_bytes(FORMS[form](VALUES, holder))
        read = read_pytorch(path)
        assert [*read] == [*VALUES]
        for name, value in VALUES.items():
            assert read[name].dtype == value.dtype
            np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("form", FORMS)
def test_names_of_parallel_training_are_shortened(tmp_path, form):
    path = tmp_path / "w.pth"
    path.write_bytes(FORMS[form]({f"module.{n}": v for n, v in VALUES.items()}))
    assert [*read_pytorch(path)] == [*VALUES]


@pytest.mark.parametrize("is_archive", [True, False])
def test_what_pytorch_writes_is_read(tmp_path, is_archive):
    """Also transposed and shared tensors, parameters, and dtypes that NumPy does not know."""
    torch = import_torch()
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    base = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    state = net.state_dict() | {
        "transposed": base.T,
        "slice": base[1:3, ::2],
        "shared": base,
        "parameter": torch.nn.Parameter(base * 2),
        "half": base.bfloat16(),
        "flags": base > 0,
    }
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=is_archive)
    read = read_pytorch(tmp_path / "w.pt")
    assert [*read] == [*state]
    for name, tensor in state.items():
        assert read[name].dtype == (str(tensor.dtype).removeprefix("torch."))
        np.testing.assert_array_equal(
            np.float32(read[name]), tensor.detach().float().numpy(), err_msg=name
        )
    torch.save(net, tmp_path / "net.pt", _use_new_zipfile_serialization=is_archive)
    with pytest.raises(WeightsError, match=r"calls torch\.nn\.modules\.container\.Sequential"):
        read_pytorch(tmp_path / "net.pt")


class Evil:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def evil_dict():
    """A dict whose class is right and whose state is set by a function."""
    made = collections.OrderedDict(a=1)
    made.state = Evil(os.mkdir, "made")
    return made


EVIL = {
    "a call": lambda: Evil(os.mkdir, "made"),
    "an evaluation": lambda: Evil(eval, "__import__('os').mkdir('made')"),
    "inside a dict": lambda: {"features.0.weight": Evil(os.mkdir, "made")},
    "in the state of a dict": evil_dict,
    "an attribute": lambda: Evil(getattr, os, "mkdir"),
    "another archive": lambda: Evil(pickle.loads, pickle.dumps(Evil(os.mkdir, "made"))),
}


@pytest.mark.parametrize("case", EVIL)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_function_is_called(tmp_path, monkeypatch, case, protocol):
    monkeypatch.chdir(tmp_path)
    if case == "an attribute":
        evil = b"cposix\nmkdir\n(Vmade\ntR."
    else:
        evil = pickle.dumps(EVIL[case](), protocol)
    forms = {
        "bare": evil,
        "archive": torch_files.zipped({"a/data.pkl": evil, "a/data/0": bytes(4)}),
        "old": torch_files.old_header() + evil + pickle.dumps([]),
        "first": evil + torch_files.old_header(),
    }
    for name, content in forms.items():
        (tmp_path / f"{name}.pth").write_bytes(content)
        with pytest.raises(WeightsError) as error:
            read_weights(tmp_path / f"{name}.pth")
        assert "is a program that calls " in str(error.value)
        assert "which is not run. Fix: pass a file that has tensors only" in str(error.value)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()


def test_what_a_pickle_gets_cannot_be_changed():
    """An unpickler sets attributes of objects as a file says; the next file must not see them."""
    for value in pytorch_files.KNOWN.values():
        for state in ({"x": 1}, (None, {"x": 1}), (None, {"__call__": len})):
            with pytest.raises((AttributeError, TypeError)):
                set_state(value, state)


def set_state(value, state):
    """What the opcode BUILD does."""
    setter = getattr(value, "__setstate__", None)
    if setter is not None:
        setter(state)
    attributes, slots = state if isinstance(state, tuple) else (state, {})
    if attributes:
        vars(value)["x"] = 1
    for name, one in (slots or {}).items():
        setattr(value, name, one)


def compressed(content):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/data/0", bytes(10_000_000))
    return made.getvalue()


def tensor(offset=0, shape=(2,), strides=(1,), count=2, dtype="FloatStorage", key="0"):
    """An archive with one tensor, of 8 bytes, as it is described."""
    described = {"a": torch_files.Rebuilt((dtype, key, count), offset, shape, strides)}
    pickled = torch_files.pickled(described)
    return torch_files.zipped({"a/data.pkl": pickled, "a/data/0": bytes(8)})


LONG_MEMO = b"\x80\x02}r" + struct.pack("<I", 0xFFFFFFFF) + b"."
DAMAGED = {
    "an array that compresses": lambda: compressed(torch_files.pickled({})),
    "an entry without data": lambda: torch_files.zipped({"a/data.pkl": b"\x80\x02}."}),
    "no list": lambda: torch_files.zipped({"a/data/0": b"1234"}),
    "two lists": lambda: torch_files.zipped({"a/data.pkl": b"\x80\x02}.", "b/data.pkl": b""}),
    "a list that ends": lambda: torch_files.zipped({"a/data.pkl": b"\x80\x02}("}),
    "a memo of 32 GB": lambda: torch_files.zipped({"a/data.pkl": LONG_MEMO}),
    "a number of 4 GB": lambda: torch_files.zipped(
        {"a/data.pkl": b"\x80\x02\x8b\xff\xff\xff\x7f."}
    ),
    "a larger tensor": lambda: tensor(shape=(3,)),
    "an offset": lambda: tensor(offset=1),
    "a negative offset": lambda: tensor(offset=-1),
    "strides": lambda: tensor(shape=(1, 2), strides=(9, 2)),
    "a repeated number": lambda: tensor(shape=(10**12,), strides=(0,)),
    "axes and strides": lambda: tensor(shape=(2,), strides=(1, 1)),
    "a negative size": lambda: tensor(shape=(-2,)),
    "no whole number": lambda: tensor(shape=(1.5,)),
    "more numbers": lambda: tensor(count=3, shape=(3,)),
    "a dtype": lambda: tensor(dtype="WordStorage"),
    "another entry": lambda: tensor(key="../x"),
    "no archive": lambda: b"PK\x03\x04" + bytes(100),
    "nothing": lambda: b"",
    "text": lambda: b"<html>404 not found</html>",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_a_sentence(tmp_path, case):
    (tmp_path / "w.pth").write_bytes(DAMAGED[case]())
    with pytest.raises(WeightsError, match=r"w\.pth (is truncated or|cannot be used)") as error:
        read_weights(tmp_path / "w.pth")
    assert "Fix: " in str(error.value)
    assert "\n" not in str(error.value)


def test_an_archive_of_another_program_is_said_to_be_one(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.arange(3.0))
    (tmp_path / "w.npz").rename(tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="is a ZIP archive that PyTorch did not make"):
        read_weights(tmp_path / "w.pth")


def test_what_takes_more_memory_than_the_file_has_is_not_unpacked(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(compressed(torch_files.pickled(torch_files.described({"a": np.zeros(2)}))))
    with pytest.raises(WeightsError, match="it is not an archive that PyTorch made"):
        read_weights(path)
    memo = LONG_MEMO.replace(b"\xff" * 4, struct.pack("<I", 1_000_000))  # entries of 8 bytes
    path.write_bytes(torch_files.zipped({"a/data.pkl": memo}))
    with pytest.raises(WeightsError, match="its pickle is damaged"):
        read_weights(path)


@pytest.mark.parametrize("form", FORMS)
def test_tensors_of_the_same_numbers_share_them(tmp_path, form):
    saved = {"a": np.zeros(4, np.float32)}
    path = tmp_path / "w.pth"
    path.write_bytes(FORMS[form](saved, lambda state: state | {"b": state["a"]}))
    read = read_pytorch(path)
    assert np.shares_memory(read["a"], read["b"])


def nested(levels=7):
    """A tuple of few objects, which is long as text: a million characters with 16 levels."""
    made = ("0" * 8,)
    for _ in range(levels):
        made = (made, made)
    return made


LARGE = nested(12)
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PICKLES = {
    **{f"a key, protocol {n}": pickle.dumps({"a": [{LARGE: 1}]}, n) for n in PROTOCOLS},
    **{f"a key of a key, protocol {n}": pickle.dumps({(1, LARGE, 2): 1}, n) for n in PROTOCOLS},
    "an element": pickle.dumps({LARGE}, 4),
    "doubled": b"}" + b"K\x012\x86" + b"2\x86" * 12 + b"K\x00s.",
    "behind a mark that is gone": b"}K\x01" + b"2\x86(0" * 12 + b"K\x00s.",
    "in a description of a tensor": (
        b"}ctorch._utils\n_rebuild_parameter\n" + b"K\x01" + b"2\x86\x85" * 12 + b"R" + b"K\x00s."
    ),
}


@pytest.mark.parametrize("case", PICKLES)
def test_a_key_that_takes_hours_to_hash_is_not_read(tmp_path, case):
    (tmp_path / "w.pth").write_bytes(
        torch_files.zipped({"a/data.pkl": PICKLES[case], "a/data/0": b""})
    )
    with pytest.raises(WeightsError, match="it describes its data wrongly"):
        read_weights(tmp_path / "w.pth")


def test_a_key_of_several_values_is_read(tmp_path):
    """Checkpoints have other objects than the parameters, too."""
    saved = {"a": np.zeros(2, np.float32)}
    others = {(1, ("b", 2)): [{}, [*range(2000)]], "steps": dict.fromkeys(range(5000))}
    (tmp_path / "w.pth").write_bytes(
        torch_files.archive(saved, lambda state: {"others": others, "state_dict": state})
    )
    assert [*read_pytorch(tmp_path / "w.pth")] == ["a"]


def test_what_is_short_in_the_file_and_long_as_text_is_a_short_sentence(tmp_path):
    old = torch_files.old({"a": np.zeros(2, np.float32)})
    whole = torch_files.archive({"a": np.zeros(9000, np.float32)})
    entry = whole.index(b"w/data/0")  # in front of the data, behind the length of the name
    long = whole[: entry - 4] + struct.pack("<H", 30_000) + whole[entry - 2 :]
    reasons = {
        "long.pth": (long, "is truncated or not a file of weights (File name in directory"),
        "call.pth": (b"\x80\x02cos\n" + b"x" * 30_000 + b"\n.", "it is a program that calls os.x"),
    }
    for name, (content, reason) in reasons.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError) as error:
            read_weights(tmp_path / name)
        assert reason in str(error.value)
        assert len(str(error.value)) < 600
    forms = {
        "key": tensor(key=nested()),
        "count": tensor(count=nested()),
        "keys": old.replace(pickle.dumps(["0"], 2), pickle.dumps([nested()], 2)),
    }
    for name, content in forms.items():
        (tmp_path / f"{name}.pth").write_bytes(content)
        with pytest.raises(WeightsError, match="it describes its data wrongly") as error:
            read_weights(tmp_path / f"{name}.pth")
        assert len(str(error.value)) < 300, name


def test_the_undamaged_tensor_is_read(tmp_path):
    (tmp_path / "w.pth").write_bytes(tensor())
    assert read_pytorch(tmp_path / "w.pth")["a"].tolist() == [0, 0]


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_file_is_a_sentence(tmp_path, form):
    whole = FORMS[form](VALUES)
    path = tmp_path / "w.pth"
    for length in {*range(0, len(whole), 97), len(whole) - 1, len(whole) - 30}:
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="is truncated or not a file of weights"):
            read_weights(path)


def test_a_changed_byte_of_an_archive_is_noticed(tmp_path):
    whole = FORMS["an archive"](VALUES)
    at = whole.index(VALUES["features.0.weight"].tobytes()) + 9
    (tmp_path / "w.pth").write_bytes(whole[:at] + b"\x99" + whole[at + 1 :])
    with pytest.raises(WeightsError, match="Bad CRC-32"):
        read_weights(tmp_path / "w.pth")


def test_the_name_of_torchvisions_file_has_its_hash(tmp_path):
    path = tmp_path / "vgg16-397923af.pth"
    path.write_bytes(FORMS["an archive"](VALUES))
    with pytest.raises(WeightsError, match=r"is damaged or not .*but must begin with 397923af"):
        read_weights(path)
    dated = path.rename(tmp_path / "vgg16-20260101.pth")
    assert read_weights(dated).tensors


def test_a_model_of_keras_is_a_sentence(tmp_path):
    (tmp_path / "w.keras").write_bytes(torch_files.zipped({"model.weights.h5": b""}))
    with pytest.raises(WeightsError, match=r"whole model of Keras\. Fix: save its weights alone"):
        read_weights(tmp_path / "w.keras")
