"""The transfer experiment: its features, its splits, and the sentences where it cannot be done."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jaxconv as jc
from experiments import transfer
from experiments.training.images import held_back
from jaxconv.models import registry
from jaxconv.models.sources import HubFile
from jaxconv.models.weights import Preprocessing

TINTS = {"blue": (0.5, 0.6, 1), "green": (0.5, 1, 0.6), "red": (1, 0.5, 0.6)}


def pictures(name, count, seed):
    """Random textures of a tint, no two alike; uint8 (count, 32, 32, 3)."""
    noise = np.random.default_rng(seed).uniform(0, 255, (count, 16, 16, 3))
    return (noise * TINTS[name]).astype(np.uint8).repeat(2, 1).repeat(2, 2)


def trunk(seed=0):
    made = jc.VGG([(4,), (5, 6)], head=None, rngs=nnx.Rngs(seed))
    made.preprocessing = Preprocessing(1 / 255, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    return made


@pytest.fixture
def folder(tmp_path):
    """20 pictures of each class, 12 of which count for green; a copy, and a damaged file."""
    root = tmp_path / "pictures"
    for seed, name in enumerate(TINTS):
        (root / name).mkdir(parents=True)
        for number, pixels in enumerate(pictures(name, 12 if name == "green" else 20, seed)):
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    (root / "few").mkdir()
    for number, pixels in enumerate(pictures("red", 3, 9)):
        Image.fromarray(pixels).save(root / "few" / f"{number}.png")
    Image.open(root / "blue/03.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        root / "blue/03_mirror.png"
    )
    (root / "red/99.png").write_bytes((root / "red/01.png").read_bytes()[:99])
    return root


@pytest.fixture
def tiny(monkeypatch):
    """Small trunks in place of VGG16."""
    made = {"trained": trunk(1), "untrained": trunk(2)}
    monkeypatch.setattr(transfer, "trunks", lambda *_: made)


@pytest.mark.parametrize(("count", "batch"), [(7, 3), (4, 4), (2, 5)])
def test_features_are_the_means_of_the_last_maps(count, batch):
    images, model, told = pictures("red", count, count), trunk(), []
    found = transfer.features(model, images, batch, told.append)
    maps = jc.feature_maps(model)(jnp.asarray(model.preprocessing(images)))["pool2"]
    np.testing.assert_allclose(found, np.asarray(maps).mean((1, 2)), rtol=1e-4, atol=1e-6)
    assert found.shape == (count, 6)
    assert np.ptp(found, 0).max() > 1e-3
    assert told[-1] == "100 % of the pictures processed."


def test_both_trunks_are_shown_the_same_numbers(tmp_path, monkeypatch):
    def small(*, weights=None, head, rngs=None):
        assert head is None
        return trunk(3) if weights else jc.VGG([(4,)], head=None, rngs=rngs)

    monkeypatch.setattr(jc, "vgg16", small)
    trained, untrained = transfer.trunks("imagenet", 0).values()
    assert untrained.preprocessing == trained.preprocessing == trunk().preprocessing
    _, other = transfer.trunks("imagenet", 1).values()
    assert not np.array_equal(untrained.conv1_1.kernel[...], other.conv1_1.kernel[...])


def test_no_picture_is_trained_and_tested_with(monkeypatch):
    labels = np.repeat([0, 1, 2], [20, 15, 30])
    names = np.arange(len(labels), dtype=float)[:, None]
    seen = []

    class Spy:
        C_ = 1.0

        def fit(self, x, y):
            np.testing.assert_array_equal(labels[x[:, 0].astype(int)], y)
            seen.append([{*x[:, 0]}])
            return self

        def score(self, x, y):
            np.testing.assert_array_equal(labels[x[:, 0].astype(int)], y)
            seen[-1].append({*x[:, 0]})
            return 0.5

        def __getitem__(self, _):
            return self

    monkeypatch.setattr(transfer, "classifier", Spy)
    transfer.compare({"one": names, "other": names}, labels, range(3))
    for trained, tested in seen:
        assert not trained & tested
        assert trained | tested == {*names[:, 0]}
        assert np.bincount(labels[np.array([*tested], int)]).tolist() == [4, 3, 6]
    tests = [tested for _, tested in seen]
    assert tests[:3] == tests[3:], "all kinds have the same splits"
    assert tests[0] != tests[1] != tests[2] != tests[0]


def test_scaling_and_strength_depend_on_what_is_trained_with_alone(monkeypatch):
    random, fitted, made = np.random.default_rng(5), [], transfer.classifier
    labels = np.repeat([0, 1], 40)
    x = random.normal(labels[:, None], 2, (80, 6))
    test = held_back(labels, 0.2, 0)
    monkeypatch.setattr(transfer, "classifier", lambda: fitted.append(made()) or fitted[-1])
    transfer.fit_and_score(x, labels, test)
    transfer.fit_and_score(
        np.where(test[:, None], 1e6, x), np.where(test, 1 - labels, labels), test
    )
    one, other = fitted
    np.testing.assert_allclose(one[0].mean_, x[~test].mean(0))
    np.testing.assert_array_equal(one[-1].coef_, other[-1].coef_)
    assert one[-1].C_ == other[-1].C_


@pytest.mark.slow
def test_labels_that_mean_something_are_learnt_and_others_are_not():
    images = np.concatenate([pictures(name, 40, seed) for seed, name in enumerate(TINTS)])
    labels = np.repeat(np.arange(3), 40)
    x = {"tiny": transfer.features(trunk(), images, 40, lambda _: None)}
    shuffled = np.random.default_rng(6).permutation(labels)
    right, chance = (
        transfer.compare(x, y, range(4))["tiny"]["accuracy"]["mean"] for y in (labels, shuffled)
    )
    assert right > 0.9
    assert 0.15 < chance < 0.5


def test_the_lead_is_taken_split_by_split(monkeypatch):
    shares = iter([0.5, 0.9, 0.2, 0.8])
    monkeypatch.setattr(transfer, "fit_and_score", lambda *_: {"accuracy": next(shares), "C": 1.0})
    x, labels = np.zeros((10, 2)), np.repeat([0, 1], 5)
    first, other = transfer.compare({"a": x, "b": x}, labels, range(2)).values()
    assert first["accuracy"]["mean"] == pytest.approx(0.7)
    assert first["accuracy"]["spread"] == pytest.approx(0.08**0.5)
    assert other["first_is_ahead_by"]["mean"] == pytest.approx(0.2)
    assert other["first_is_ahead_by"]["spread"] == pytest.approx(0.02**0.5)
    assert "first_is_ahead_by" not in first


def test_near_copies_are_found_and_nothing_else():
    base = pictures("red", 30, 7)
    random = np.random.default_rng(8)
    noisy = (base[4].astype(float) * 0.8 + random.uniform(0, 20, base[4].shape)).astype(np.uint8)
    found = transfer.near_copies(np.stack([*base, base[2][:, ::-1], noisy, base[9][::-1]]))
    assert np.flatnonzero(found).tolist() == [30, 31]


@pytest.mark.slow
def test_the_whole_experiment(folder, tmp_path, tiny, capsys):
    out = tmp_path / "found.json"
    given = [str(folder), "--size", "32", "--at-least", "12", "--splits", "2", "--out", str(out)]
    assert transfer.main(given) == 0
    found = json.loads(out.read_text())
    assert found["set"]["classes"] == {"blue": 20, "green": 12, "red": 20}
    assert (found["set"]["near_copies"], found["set"]["left_out"]) == (1, ["few"])
    assert found["largest_class"] == pytest.approx(20 / 52)
    assert found["seeds"] == {"untrained": 0, "splits": [0, 1]}
    assert found["command"].startswith(f"python -m experiments.transfer {folder} --size 32")
    assert [*found["kinds"]] == ["trained", "untrained", "colours of 16x16 squares"]
    assert {"scikit-learn", "jax"} <= {*found["versions"]}
    printed = capsys.readouterr().out
    assert "Skipped 1 of 57 files" in printed
    for numbers in found["kinds"].values():
        assert f"{numbers['accuracy']['mean']:.1%}" in printed
    assert "38.5%" in printed


def test_a_class_can_be_left_out(folder, tmp_path, tiny):
    out = tmp_path / "found.json"
    given = ["--size", "32", "--at-least", "12", "--splits", "2", "--out", str(out)]
    assert transfer.main([str(folder), "--without", "red", *given]) == 0
    found = json.loads(out.read_text())["set"]
    assert found["classes"] == {"blue": 20, "green": 12}
    assert found["left_out"] == ["few", "red"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--at-least 9", "--at-least is 9, but a fifth is for the test"),
        ("--size 31", "--size is 31, but the five pools of VGG16 need"),
        ("--splits 1", "--splits is 1, but a standard deviation needs two"),
        ("--seed -1", "--seed is -1, but seeds are not negative"),
        ("--out found.txt", "found.txt has an unknown format"),
        ("--out no/such/found.json", "cannot be written"),
        ("--without gren", "There is no class 'gren'. Fix: choose one of green, blue"),
        ("--at-least 21", "0 classes have 21 pictures or more"),
        ("--at-least 13 --without red", "1 classes have 13 pictures or more"),
    ],
)
def test_what_cannot_be_done_is_said(options, sentence, folder, tmp_path, tiny, capsys):
    out = [] if "--out" in options else ["--out", str(tmp_path / "found.json")]
    assert transfer.main([str(folder), "--size", "32", *out, *options.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("experiments.transfer: ")
    assert sentence in said
    assert "Fix: " in said
    assert not (tmp_path / "found.json").exists()


def test_no_folder_and_one_class_are_said(folder, tmp_path, capsys):
    out = ["--out", str(tmp_path / "found.json")]
    assert transfer.main([str(tmp_path / "nowhere"), *out]) == 2
    assert "nowhere. Fix: check the path." in capsys.readouterr().err
    one = tmp_path / "one"
    one.mkdir()
    (folder / "red").rename(one / "red")
    assert transfer.main([str(one), *out]) == 2
    assert "one folder of a class, red, but a classifier needs two" in capsys.readouterr().err


def test_unavailable_weights_are_a_sentence(folder, tmp_path, monkeypatch, capsys):
    def unreachable(*_):
        raise OSError("no route to host")

    monkeypatch.setenv("JAXCONV_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(registry, "fetch", unreachable)
    monkeypatch.setattr(HubFile, "cached", lambda self: None)
    given = [str(folder), "--at-least", "12", "--size", "32", "--out", str(tmp_path / "found.json")]
    assert transfer.main(given) == 2
    assert "could not be downloaded. Tried: " in capsys.readouterr().err
    assert transfer.main([*given, "--weights", str(tmp_path / "no.safetensors")]) == 2
    assert "no.safetensors" in capsys.readouterr().err


def test_what_is_written_of_the_record_is_in_it():
    found = json.loads(transfer.OUT.read_text())
    means = [numbers["accuracy"]["mean"] for numbers in found["kinds"].values()]
    told = [f"{share:.1%}".replace("%", " %") for share in (*means, found["largest_class"])]
    page = Path("docs/training.md").read_text()
    for text in (transfer.__doc__ or "", page):
        assert not [number for number in told if number not in text]
    assert found["command"] in page
    counts = found["set"]["classes"].values()
    assert sum(counts) == found["set"]["pictures"]
    assert max(counts) / sum(counts) == found["largest_class"]
