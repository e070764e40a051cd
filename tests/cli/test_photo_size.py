"""The size of a photo by default, by flags, and where memory is short."""

import argparse

import numpy as np
import pytest

from jaxconv.cli import photo_size
from jaxconv.cli.arguments import UsageError
from jaxconv.cli.photo_size import FULL_SIZE, add_size, fitting_photo, largest_size
from jaxconv.plotting.photos import PhotoError, resized_photo, resized_sides
from tests.support.command_line import run

PHOTO = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


def per_pixel(count):
    return lambda height, width: count * height * width


def fitted(monkeypatch, arguments, need, *, available=1e12, default=None):
    monkeypatch.setattr(photo_size, "available_memory", lambda: available)
    parser = argparse.ArgumentParser()
    add_size(parser, size=default)
    options = parser.parse_args(arguments)
    return fitting_photo(PHOTO, argparse.Namespace(**vars(options), command="maps"), need)


def test_a_photo_that_fits_keeps_its_pixels(monkeypatch, capsys):
    got = fitted(monkeypatch, [], per_pixel(2.5e9 / PHOTO[..., 0].size))
    assert got is PHOTO
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("default", [None, 224])
@pytest.mark.parametrize("size", [100, 480, 500])
def test_a_size_is_that_of_the_shorter_side(monkeypatch, capsys, size, default):
    got = fitted(monkeypatch, ["--size", str(size)], per_pixel(1e5), default=default)
    np.testing.assert_array_equal(got, PHOTO if size == 480 else resized_photo(PHOTO, size))
    assert got.shape[0] == size
    assert capsys.readouterr().err == ""  # it was asked for, though 500 needs 33 GB


def test_a_command_may_have_a_default_of_its_own(monkeypatch):
    assert fitted(monkeypatch, [], per_pixel(1), default=224).shape == (224, 298, 3)
    assert fitted(monkeypatch, ["--full-size"], per_pixel(1), default=224) is PHOTO


def test_a_large_photo_is_reduced_and_the_flags_for_more_are_named(monkeypatch, capsys):
    need = per_pixel(1.1e4)
    got = fitted(monkeypatch, [], need)
    assert got.shape == (384, 512, 3)  # of 32*3*k x 32*4*k pixels
    assert need(*got.shape[:2]) <= photo_size.COMFORTABLE < need(480, 640)
    assert capsys.readouterr().err == (
        "jaxconv maps: the feature maps of a photo of 640x480 pixels need 3.4 GB, so it is reduced "
        "to 512x384. Pass --full-size to keep its pixels, or --size N to choose its shorter side.\n"
    )
    assert fitted(monkeypatch, ["--full-size"], need) is PHOTO


def test_half_of_the_free_memory_is_comfortable(monkeypatch):
    got = fitted(monkeypatch, [], per_pixel(1e4), available=1e9)
    assert 1e4 * got.shape[0] * got.shape[1] <= 5e8


@pytest.mark.parametrize("arguments", [["--full-size"], ["--size", "480"]])
def test_what_does_not_fit_is_a_sentence_with_a_size_that_fits(monkeypatch, arguments):
    need = per_pixel(1e5)
    message = r"a photo of 640x480 pixels need 31 GB, but 8 GB are free. Fix: pass --size (\d+)\.$"
    with pytest.raises(UsageError, match=message) as error:
        fitted(monkeypatch, arguments, need, available=8e9)
    size = str(error.value).rpartition(" ")[2].removesuffix(".")
    assert fitted(monkeypatch, ["--size", size], need, available=8e9).shape[0] == int(size)


def test_a_model_that_never_fits_is_a_sentence(monkeypatch):
    with pytest.raises(UsageError, match="but 1 GB are free"):
        fitted(monkeypatch, [], lambda height, width: 5e9 + height * width, available=1e9)


def test_a_model_that_takes_no_smaller_photo_gets_the_whole_one_if_it_fits(monkeypatch, capsys):
    def need(height, width):
        if height < 480:
            raise UsageError("too small")
        return 3e9

    assert fitted(monkeypatch, [], need) is PHOTO
    assert capsys.readouterr().err == ""
    with pytest.raises(UsageError, match=r"2 GB are free\. Fix: use a machine with more"):
        fitted(monkeypatch, [], need, available=2e9)


def test_a_size_beyond_any_photo_is_refused_before_the_model_is_traced(monkeypatch):
    with pytest.raises(PhotoError, match="Size 60000 makes a picture of 80000x60000 pixels"):
        fitted(monkeypatch, ["--size", "60000"], pytest.fail)


@pytest.mark.parametrize("sides", [(640, 480), (480, 640), (6000, 4000), (1931, 1087), (9000, 32)])
@pytest.mark.parametrize("power", [1, 2])
def test_the_largest_size_fits_and_is_not_much_too_small(sides, power):
    """Also where memory grows with the square of the pixels, as that of attention does."""
    need = lambda height, width: 1000 + (height * width) ** power  # noqa: E731
    for share in (0.9, 0.3, 0.01):
        limit = need(*sides) * share
        size = largest_size(sides, min(sides), need, limit)
        assert need(*resized_sides(sides, size)) <= limit
        larger = -(-size * 13 // 10)
        assert need(*resized_sides(sides, larger)) > limit


def test_the_flags_exclude_each_other(capsys):
    assert run("maps", "photo.jpg", "--size", "3", "--full-size") == 2
    assert "not allowed with argument" in capsys.readouterr().err
    assert FULL_SIZE not in (None, 0)


NEURON = ["neuron", "--layer", "stem", "--at", "3,4", "--channel", "5"]


@pytest.mark.parametrize("command", [["maps"], ["explore"], NEURON])
def test_each_command_says_what_does_not_fit(nets, capsys, monkeypatch, command):
    monkeypatch.setattr(photo_size, "available_memory", lambda: 1e5)
    before = sorted(nets.iterdir())
    assert run(*command, "photo.jpg", "--full-size", "--model", "lookednets:net()") == 2
    said = capsys.readouterr()
    assert f"jaxconv {command[0]}: the feature maps of a photo of 64x75 pixels need " in said.err
    assert "but 0.0001 GB are free. Fix: pass --size " in said.err
    assert "Traceback" not in said.err
    assert sorted(nets.iterdir()) == before


@pytest.mark.parametrize("command", [["maps"], ["explore"], NEURON])
def test_each_command_reduces_a_large_photo(nets, capsys, monkeypatch, command):
    monkeypatch.setattr(photo_size, "COMFORTABLE", 1e5)
    assert run(*command, "photo.jpg", "--model", "lookednets:net()") == 0
    said = capsys.readouterr()
    assert "pixels need" in said.err
    assert "so it is reduced to" in said.err
    assert "wrote" in said.out
