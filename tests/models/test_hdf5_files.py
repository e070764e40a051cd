"""Files of weights of Keras: what is read, and files that ask for more than they have."""

import h5py
import numpy as np
import pytest

from jaxconv.models import hdf5_files
from jaxconv.models.errors import WeightsError
from jaxconv.models.hdf5_files import read_hdf5
from jaxconv.models.weights import read_weights

KERNEL = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.weights.h5"


def test_arrays_are_read_by_their_paths_without_those_of_the_optimizer(path):
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = KERNEL
        file["layers/optimizer/vars/0"] = KERNEL + 1
        file["optimizer/vars/0"] = KERNEL
        file["model_weights/optimizer_weights"] = KERNEL + 2
        file.create_group("vars")
    read = read_hdf5(path)
    assert {name: array.sum() for name, array in read.items()} == {
        "layers/dense/vars/0": 66.0,
        "layers/optimizer/vars/0": 78.0,
        "model_weights/optimizer_weights": 90.0,
    }


def absurd(file):
    file.create_dataset("block1_conv1/kernel", (2**40, 2**20), np.float32, chunks=(1024, 1024))


def compressed(file):
    file.create_dataset("kernel", data=np.zeros((4096, 4096), np.float32), compression="gzip")


def many_that_share_nothing(file):
    for number in range(50):
        file.create_dataset(f"kernel{number}", (500,), np.float32, chunks=(500,))


def external_link(file):
    file["block1_conv1"] = h5py.ExternalLink("secret.h5", "/kernel")


def soft_link(file):
    file["a/kernel"] = KERNEL
    file["block1_conv1"] = h5py.SoftLink("/a")


def external_data(file):
    file.create_dataset("kernel", (8,), np.uint8, external=[("secret.h5", 0, 8)])


def virtual(file):
    layout = h5py.VirtualLayout((3, 4), np.float32)
    layout[:] = h5py.VirtualSource("secret.h5", "kernel", (3, 4))
    file.create_virtual_dataset("kernel", layout)


def cycle(file):
    file["a/b/kernel"] = KERNEL
    file["a/b/again"] = file["a"]


def shared(file):
    file["a"] = KERNEL
    file["b"] = file["a"]


def text(file):
    file["kernel"] = "text"


def objects(file):
    file.create_dataset("kernel", data=[b"a", b"bc"], dtype=h5py.special_dtype(vlen=bytes))


def no_shape(file):
    file["kernel"] = h5py.Empty("f4")


BOMBS = {
    absurd: "its arrays would take 4,611,686,018,427,387,904 bytes, but the file has ",
    compressed: "its arrays would take 67,108,864 bytes, but the file has ",
    many_that_share_nothing: "its arrays would take 100,000 bytes, but the file has ",
    external_link: "its block1_conv1 is a link (ExternalLink), which is not read.",
    soft_link: "its block1_conv1 is a link (SoftLink), which is not read.",
    external_data: "its kernel has its data in another file, which is not read.",
    virtual: "its kernel has its data in another file, which is not read.",
    cycle: "its a/b/again is there more than once.",
    shared: "its b is there more than once.",
    text: "its kernel is not an array of numbers.",
    objects: "its kernel is not an array of numbers.",
    no_shape: "its kernel is not an array of numbers.",
}


@pytest.mark.parametrize("make", BOMBS, ids=lambda make: make.__name__)
def test_a_file_that_asks_for_more_than_it_has_is_a_sentence(tmp_path, path, make):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = KERNEL
    with h5py.File(path, "w") as file:
        make(file)
    with pytest.raises(WeightsError) as error:
        read_weights(path)
    assert str(error.value).startswith(f"{path} cannot be used: {BOMBS[make]}")
    assert str(error.value).endswith(hdf5_files.FIX)


def test_a_truncated_file_is_a_sentence(path):
    with h5py.File(path, "w") as file:
        file["block1_conv1/kernel"] = np.ones((3, 3, 3, 40), np.float32)
    whole = path.read_bytes()
    for length in (0, 7, 8, 100, 2000, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="is truncated or not a file of weights") as error:
            read_weights(path)
        assert "\n" not in str(error.value)
