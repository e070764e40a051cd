"""The zoo: quick models of the libraries that are installed, the page, the committed results."""

import json
import os
import re

import pytest

from experiments.zoo import __main__ as zoo
from experiments.zoo.catalogue import MODELS
from experiments.zoo.measure import measure
from experiments.zoo.page import summarize, write_page

os.environ.setdefault("KERAS_BACKEND", "jax")  # before Keras is imported

QUICK = {
    "keras Sequential of convolutions, BatchNormalization and MaxPooling2D": "h >= 7, w >= 7",
    "dm-haiku nets.ResNet18": "every size",
    "dm-haiku nets.MobileNetV1": "h >= 3, w >= 3",
    "flax nn.Sequential of Conv, GroupNorm and ConvTranspose": "every size",
    "flax nnx.Sequential of Conv, BatchNorm, GroupNorm and ConvTranspose": "every size",
    "equinox nn.Sequential of Conv2d, GroupNorm, pools and ConvTranspose2d": "h >= 15, w >= 15",
    "equinox nn.Sequential of Conv2d, BatchNorm and AvgPool2d": "h >= 3, w >= 3",
    "dm-pix gaussian_blur": "every size",
    "dm-pix space_to_depth": "h and w multiples of 2",
    "jax example_libraries.stax": "h >= 5, w >= 5",
    "jax image.resize": "every size",
    "jax lax.conv_general_dilated_patches": "every size",
}


def id_of(model):
    return f"{model.library} {model.name}"


def test_the_quick_models_are_known():
    assert [id_of(model) for model in MODELS if model.quick] == list(QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("model", [model for model in MODELS if model.quick], ids=id_of)
def test_a_quick_model(model, monkeypatch):
    if model.version is None:
        pytest.skip(f"{model.library} is not installed")
    monkeypatch.setattr("experiments.zoo.measure.SIZES", 3)
    row = measure(model, timeout=120)
    assert row["status"] in ("proven", "refuted")
    assert row["decided"]
    assert row["accepts"] == QUICK[id_of(model)]
    assert row["compared"] > 0
    assert row["disagreements"] == []
    assert row["parameters"] == row["own_parameters"]


def test_the_catalogue_is_large_and_its_libraries_are_pinned():
    assert len(MODELS) >= 60
    assert len({id_of(model) for model in MODELS}) == len(MODELS)
    libraries = {model.library for model in MODELS}
    assert len(libraries) >= 12
    requirements = zoo.ROOT / "experiments" / "zoo" / "requirements.txt"
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in requirements.read_text().splitlines()
        if not line.startswith("#")
    }
    assert libraries <= pinned


def test_a_process_that_ends_or_takes_too_long_is_a_row(monkeypatch):
    row = zoo.run("no such model", len(MODELS), 1.0, 8.0)
    assert (row["status"], row["decided"]) == ("crashed", False)
    assert row["reason"].endswith("IndexError: tuple index out of range")
    monkeypatch.setattr(zoo, "SECONDS_OF_PROCESS", 0.01)
    row = zoo.run("a model", 0, 1.0, 8.0)
    assert (row["status"], row["decided"]) == ("timed out", False)


def row_of(**named):
    row = {"name": "net", "library": "lib", "version": "1.0", "about": "a network"}
    measured = {"status": "proven", "decided": True, "accepts": "every size", "seconds": 1.0}
    counts = {"traces": 4, "compared": 7, "wrong": 0, "parameters": 10, "own_parameters": 10}
    return row | measured | counts | named


def report_of(*rows):
    return {
        "models": rows,
        "limit": 60,
        "memory_gb": 8,
        "machine": "1 core",
        "versions": {"a": "1"},
    }


def test_the_summary_counts_what_is_undecided_wrong_late_and_unequal():
    late = row_of(decided=False, status="tested", reason="gave up after 2 traces", seconds=60.0)
    unequal = row_of(parameters=9, wrong=2, library="keras")
    text = summarize([row_of(), unequal, late, row_of(status="not installed")], report_of())
    assert "Of 3 models of 2 libraries, 67 % are decided for all sizes (Keras: 100 %)." in text
    assert "21 sizes were compared with tracing, and 2 differed." in text
    assert "1 reached the limit of 60 seconds." in text
    assert "for 67 % of the models." in text


def test_the_page_names_the_reason_of_each_undecided_model():
    rows = [row_of(), row_of(name="other", decided=False, status="tested", reason="too | hard")]
    page = write_page(
        report_of(*rows, row_of(library="gone", version=None, status="not installed"))
    )
    assert "| net | a network | proven | every size | 1.0 | 4 | 10 | 7 |  |" in page
    assert "- lib other: tested. too | hard" in page
    assert "## gone: not installed" in page


def test_the_committed_results_are_of_these_models_and_none_is_wrong():
    report = json.loads(zoo.OUT.read_text())
    rows = report["models"]
    names = [f"{row['library']} {row['name']}" for row in rows]
    assert [id_of(model) for model in MODELS if id_of(model) in names] == names
    assert sum(row.get("wrong", 0) for row in rows) == 0
    assert all(row.get("decided") or row.get("reason") for row in rows if row["version"])
    assert zoo.PAGE.read_text() == write_page(report)
