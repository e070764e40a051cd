"""Files are written as a whole or not at all."""

import os
import resource
import stat

import pytest

from jaxconv.cli.arguments import save
from jaxconv.models.errors import WeightsError
from jaxconv.models.file_writing import replace_file, write_file, write_folder
from tests.support.processes import forked

FULL = """
import resource, sys
from pathlib import Path
from jaxconv.models.errors import WeightsError
from jaxconv.models.file_writing import write_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_file(Path(sys.argv[1]), bytes(2000))
except WeightsError as error:
    print(error)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"before")
    return path


def test_a_file_is_replaced_with_the_usual_permissions(path):
    write_file(path, b"after")
    assert path.read_bytes() == b"after"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert [*path.parent.iterdir()] == [path]


def test_where_no_more_fits_the_file_before_stays(path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
    said = forked("-c", FULL, path).stdout
    assert said == f"{path} cannot be written: File too large. Fix: choose another place.\n"
    assert path.read_bytes() == b"before"
    assert [*path.parent.iterdir()] == [path]


def test_a_folder_that_is_not_there_is_a_sentence(path):
    with pytest.raises(WeightsError, match=r"cannot be written: No such file or directory\. Fix: "):
        write_file(path.parent / "no" / "w.safetensors", b"")
    with pytest.raises(WeightsError, match=r"cannot be written: Not a directory\. Fix: "):
        write_file(path / "w.safetensors", b"")
    (path.parent / "folder").mkdir()
    with pytest.raises(WeightsError, match=r"cannot be written: Is a directory\. Fix: "):
        write_file(path.parent / "folder", b"")
    assert sorted(p.name for p in path.parent.iterdir()) == ["folder", "w.safetensors"]


@pytest.mark.parametrize("write", [write_file, replace_file, save])
def test_where_the_user_interrupts_nothing_is_left(path, monkeypatch, write):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupt)
    arguments = (b"after", path) if write is save else (path, b"after")
    with pytest.raises(KeyboardInterrupt):
        write(*arguments)
    assert path.read_bytes() == b"before"
    assert [*path.parent.iterdir()] == [path]


def test_a_folder_in_the_place_of_a_file_leaves_all_files_as_they_were(path):
    (path.parent / "config.json").mkdir()
    with pytest.raises(WeightsError, match=r"config\.json in it is a folder\. Fix: choose another"):
        write_folder(path.parent, {path.name: b"after", "config.json": b"{}"})
    assert path.read_bytes() == b"before"
