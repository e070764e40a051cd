"""Arguments of several commands: numbers, sizes, layers, and files that are written whole."""

import argparse

import pytest

from jaxconv.cli.arguments import (
    UsageError,
    check_writable,
    layer_name,
    parse_point,
    parse_sizes,
    positive,
    save,
)


def test_what_is_well_written_is_read():
    assert positive("007") == 7
    assert parse_sizes("3x5X2") == (3, 5, 2)
    assert parse_point(" b=1, h = 224,w=0") == {"b": 1, "h": 224, "w": 0}
    assert [*map(layer_name, ("12", "conv3_2"))] == [12, "conv3_2"]


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "1" * 10, "\N{ARABIC-INDIC DIGIT ONE}"])
def test_what_is_not_a_positive_number_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="whole number from 1 to 999999999"):
        positive(text)


@pytest.mark.parametrize("text", ["", "b", "b=", "b=1;h=2", "b=1,,h=2", "b=-1", "1=b"])
def test_what_is_not_a_point_is_refused(text):
    with pytest.raises(UsageError, match=r"cannot be read\. Fix: write it as b=1,h=224,w=224\."):
        parse_point(text)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, capsys):
    save(b"content", tmp_path / "file.png")
    assert (tmp_path / "file.png").read_bytes() == b"content"
    assert capsys.readouterr().out == f"wrote {tmp_path / 'file.png'}\n"
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="Fix: pass another --out"):
        save(b"content", tmp_path / "folder.png")
    with pytest.raises(UsageError, match="File name too long"):
        check_writable(tmp_path / f"{'x' * 300}.png", (".png",))
    with pytest.raises(UsageError, match="File name too long"):
        save(b"content", tmp_path / f"{'x' * 246}.png")  # that of the partial file
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.png", "folder.png"]


def test_a_file_that_cannot_be_written_is_refused_beforehand(tmp_path):
    check_writable(tmp_path / "new.PNG", (".png",))
    for name, reason in {"new.gif": "has an unknown format", "no/new.png": "No such file"}.items():
        with pytest.raises(UsageError, match=reason):
            check_writable(tmp_path / name, (".png",))
    with pytest.raises(UsageError, match="it is the photo itself"):
        check_writable(tmp_path / "new.png", (".png",), tmp_path / "." / "new.png")
