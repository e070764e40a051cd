"""Programs in files: whole or not at all, read by another process, refused with a sentence."""

import dataclasses
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.aot import storage
from jaxconv.aot.storage import ProgramError
from tests.support.processes import forked
from tests.support.programs import agree, normal

X = normal(2, 8, 8, 16)
KERNEL, KEY = normal(3, 3, 16, 16), jax.random.key(4)


def network(inputs):
    narrow = jnp.asarray(KERNEL[0, 0], jnp.bfloat16)
    maps = jax.nn.relu(jc.conv(inputs["x"], KERNEL)) @ narrow
    return {"maps": maps, "noise": (jax.random.normal(KEY, (3,)), None)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "net.jaxconv"
    infer = jc.compile(network, {"x": X})
    infer.save(path)
    return path, infer


def test_another_process_needs_no_function(saved, tmp_path):
    path, infer = saved
    np.save(tmp_path / "x.npy", X)
    code = f"""
import jax, numpy as np, jaxconv as jc
found = jc.Inference.load({str(path)!r})({{"x": np.load({str(tmp_path / "x.npy")!r})}})
assert found["noise"][1] is None
np.savez({str(tmp_path / "y.npz")!r}, *jax.tree.leaves(found))
"""
    forked("-c", code).check_returncode()
    found = [*np.load(tmp_path / "y.npz").values()]
    agree(found, jax.tree.leaves(infer({"x": X})), within=1e-6)


def test_a_loaded_program_says_what_it_takes_and_may_use_its_inputs_again(tmp_path):
    jc.compile(jnp.sin, X).save(tmp_path / "p")
    loaded = jc.Inference.load(tmp_path / "p", donate=True)
    x = jnp.asarray(X)
    agree(loaded(x), np.sin(X))
    assert x.is_deleted()
    assert loaded.outputs == jax.ShapeDtypeStruct(X.shape, jnp.float32)
    with pytest.raises(jc.ShapeError, match="but it was compiled for"):
        loaded(X[:1])


def about(**changes):
    return lambda members: json.dumps(json.loads(members[storage.ABOUT]) | changes).encode()


DAMAGED = {
    "another version": ({storage.ABOUT: about(format=0)}, "was written by another version. Fix"),
    "another platform": (
        {storage.ABOUT: about(platforms=["cuda", "tpu"])},
        "was compiled for cuda, tpu, but this is cpu. Fix: compile and save it on cpu.",
    ),
    "no table": ({storage.ABOUT: lambda _: b"[]"}, "cannot be read as a program"),
    "no text": ({storage.ABOUT: lambda _: b"\xff\xfe\xfa"}, "cannot be read as a program"),
    "no program": ({storage.PROGRAM: lambda _: b"garbage"}, "cannot be read as a program"),
    "an empty program": ({storage.PROGRAM: lambda _: b""}, "cannot be read as a program"),
    "a constant cut short": ({"0": lambda m: m["0"][:-3]}, "cannot be read as a program"),
}


@pytest.mark.parametrize(("changes", "said"), DAMAGED.values(), ids=DAMAGED)
def test_what_is_wrong_inside_is_a_sentence(saved, tmp_path, changes, said):
    with zipfile.ZipFile(saved[0]) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {name: change(members) for name, change in changes.items()}
    with zipfile.ZipFile(tmp_path / "other", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ProgramError, match=said):
        jc.Inference.load(tmp_path / "other")


@pytest.mark.parametrize("change", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"text"])
def test_what_is_no_whole_archive_is_a_sentence(saved, tmp_path, change):
    (tmp_path / "p").write_bytes(change(saved[0].read_bytes()))
    with pytest.raises(ProgramError, match=r"p cannot be read as a program: .* Fix: pass a file"):
        jc.Inference.load(tmp_path / "p")


def test_changed_bytes_of_a_constant_are_noticed(saved, tmp_path):
    content = bytearray(saved[0].read_bytes())
    content[-len(content) // 3] ^= 4
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(ProgramError, match="cannot be read as a program"):
        jc.Inference.load(tmp_path / "p")


def test_folders_are_no_files(saved, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProgramError, match="folder cannot be read as a program"):
        jc.Inference.load(tmp_path / "folder")
    for path in (tmp_path / "folder", tmp_path / "none" / "p"):
        with pytest.raises(ProgramError, match=r"cannot be written: .* Fix: pass a file in a"):
            saved[1].save(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["folder"]


def test_a_file_stays_as_it_was_where_writing_fails(saved, tmp_path, monkeypatch):
    path = tmp_path / "p"
    path.write_bytes(b"before")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(storage.np, "asarray", full)
    with pytest.raises(ProgramError, match="p cannot be written: No space left on device"):
        saved[1].save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["p"]
    assert path.read_bytes() == b"before"


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Own:
    x: jax.Array


UNSAVED = {
    "a tree of its own": (lambda own: own.x, Own(X)),
    "Python at run time": (lambda x: jax.pure_callback(np.asarray, x, x), X),
}


@pytest.mark.parametrize(("fn", "x"), UNSAVED.values(), ids=UNSAVED)
def test_what_jax_cannot_export_is_a_sentence(tmp_path, fn, x):
    with pytest.raises(ProgramError, match=r"the program cannot be saved: .* Fix: compile a func"):
        jc.compile(fn, x).save(tmp_path / "p")
    assert not [*tmp_path.iterdir()]


def test_random_keys_and_nameless_files_are_sentences(saved, tmp_path):
    key = jax.random.key(3)
    infer = jc.compile(lambda i: jax.random.uniform(jax.random.fold_in(key, i), ()), jnp.int32(3))
    message = r"contains a random key\. Fix: pass the key as an argument"
    with pytest.raises(ProgramError, match=message):
        infer.save(tmp_path / "p")
    with pytest.raises(ProgramError, match=r"cannot be written: .* Fix: pass a file"):
        saved[1].save("")
