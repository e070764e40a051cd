"""``jaxconv neuron``: what it prints and draws, and every bad input."""

import numpy as np
import pytest

import jaxconv as jc
from jaxconv.models import weights
from jaxconv.plotting.photos import open_photo
from tests.support.command_line import check_refusal, not_blank, run, spied

PLACES = [("conv1_1", "74,0", 7), ("conv3_2", "5,6", 17), ("pool4", "3,2", 2), ("16", "0,3", 500)]


@pytest.mark.parametrize(("layer", "at", "channel"), PLACES)
def test_neuron_prints_and_draws(folder, capsys, random_weights, monkeypatch, layer, at, channel):
    from jaxconv.cli import neuron as command

    given = spied(monkeypatch, command, "neuron_figure")
    place = ["--layer", layer, "--at", at, "--channel", channel]
    assert run("neuron", "photo.jpg", "--weights", random_weights, *place) == 0
    out = capsys.readouterr().out
    photo = open_photo("photo.jpg")
    model = jc.vgg16(weights=random_weights, head=None)
    layer = int(layer) if layer.isdigit() else layer
    y, x = map(int, at.split(","))
    n = jc.neuron(
        model, weights.KERAS_PREPROCESSING(photo[None]), layer=layer, at=(y, x), channel=channel
    )
    assert out == f"{n}\nwrote photo-neuron.png\n"
    assert not_blank("photo-neuron.png")[0] == 1320
    ((seen, drawn, colour),) = given
    np.testing.assert_array_equal(seen, photo)
    assert drawn.map[y, x] == drawn.map_value == n.map_value
    if layer == "conv1_1":  # in the corner: what is not padding are the photo's own pixels
        want = photo[73:75, :2] / 255
        np.testing.assert_allclose(colour[:2, 1:], want, atol=1e-5)
    else:
        assert colour is None


def test_neuron_of_other_models(nets, capsys):
    place = ["--layer", "stem", "--at", "3,30", "--channel", 4, "--out", "a.svg"]
    assert run("neuron", "photo.jpg", "--model", "lookednets:net()", *place) == 0
    out = capsys.readouterr().out
    assert "45 weights . 45 numbers" in out
    assert (nets / "a.svg").stat().st_size > 10_000
    head = ["--layer", "head", "--channel", 2, "--out", "b.png"]
    assert run("neuron", "photo.jpg", "--model", "lookednets:net()", *head) == 0
    assert "6 weights . 6 numbers" in capsys.readouterr().out
    assert not_blank("b.png")
    first = ["--layer", 1, "--at", "1,2", "--channel", 3, "--out", "c.png"]
    assert run("neuron", "photo.jpg", "--model", "lookednets:first", *first) == 0
    assert "27 weights . 27 numbers" in capsys.readouterr().out


PLACE = ["--layer", "conv1_2", "--at", "3,4", "--channel", "5"]
BAD = {
    "a place that cannot be read": (["--layer", "1", "--at", "3;4", "--channel", "1"],
        "--at 3;4 cannot be read. Fix: write it as 20,30 for y, x."),
    "a place outside": (["--layer", "conv1_1", "--at", "75,0", "--channel", "1"],
        "jaxconv neuron: at is (75, 0), but conv1_1 has a map of 75 x 64.\n"
        "  Fix: pass y from 0 to 74 and x from 0 to 63."),
    "a layer": (["--layer", "conv9_1", "--at", "3,4", "--channel", "1"],
        "jaxconv neuron: layer is 'conv9_1', which is not valid.\n  Fix: set --layer to one of "),
    "a channel": (["--layer", "conv1_1", "--at", "3,4", "--channel", "64"],
        "jaxconv neuron: channel is 64, but conv1_1 has 64 channels.\n"
        "  Fix: pass --channel from 0 to 63."),
    "the photo itself": ([*PLACE, "--out", "photo.jpg"],
        "photo.jpg cannot be written: it is the photo itself."),
    "no layer": (["--at", "3,4", "--channel", "1"],
        "the following arguments are required: --layer"),
    "no model": (["--model", "lookednets:nets", *PLACE],
        "lookednets has no nets.\n  Fix: write net."),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_sentence_and_leaves_nothing(nets, capsys, random_weights, case):
    given, message = BAD[case]
    given = given if {"--model", "--weights"} & {*given} else [*given, "--weights", random_weights]
    check_refusal(capsys, nets, "neuron", given, message)
