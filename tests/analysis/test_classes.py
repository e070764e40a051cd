"""Names of classes, and the most probable ones."""

import os
from importlib import resources

import numpy as np
import pytest

from jaxconv.analysis.classes import imagenet_classes, is_classification, top_classes
from tests.support.pytorch import import_timm, import_torchvision

LINES = (
    resources.files("jaxconv.analysis").joinpath("imagenet_classes.txt").read_text().splitlines()
)
WORDNET = [line.split(" ")[0] for line in LINES]


def test_there_are_a_thousand_names_in_the_order_of_wordnet():
    names = imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert sorted(set(WORDNET)) == WORDNET
    assert all(len(number) == 9 and number[0] == "n" for number in WORDNET)
    known = {0: "tench", 207: "golden retriever", 457: "bow tie", 652: "military uniform",
             134: "crane bird", 517: "crane", 999: "toilet tissue"}  # fmt: skip
    assert {number: names[number] for number in known} == known


def test_the_names_are_those_of_pytorchs_library():
    import_torchvision()
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    assert imagenet_classes() == tuple(_IMAGENET_CATEGORIES)


def test_the_names_are_those_that_timm_has_for_pytorch():
    """Two names have a word more, where WordNet has one name for two classes."""
    folder = os.path.join(os.path.dirname(import_timm().__file__), "data", "_info")
    with open(os.path.join(folder, "imagenet_synsets.txt")) as file:
        assert file.read().split() == WORDNET
    with open(os.path.join(folder, "imagenet_synset_to_lemma.txt")) as file:
        names = dict(line.rstrip("\n").split("\t", 1) for line in file)
    for number, name in zip(WORDNET, imagenet_classes(), strict=True):
        also = {"crane bird", "maillot tank suit"} & {name}
        assert also or name.lower() in [part.strip().lower() for part in names[number].split(",")]


def test_logits_become_probabilities():
    top = top_classes(np.log([[1.0, 5, 2, 2]]), 3, ["a", "b", "c", "d"])
    assert [(one.number, one.name) for one in top] == [(1, "b"), (2, "c"), (3, "d")]
    np.testing.assert_allclose([one.probability for one in top], [0.5, 0.2, 0.2])
    assert top_classes(np.float32([[1000, 0]]))[0] == (0, "class 0", 1.0)


def test_probabilities_stay():
    given = [[0.25, 0.625, 0.125]]
    assert [one.probability for one in top_classes(given, 2)] == [0.625, 0.25]
    assert top_classes([[0.5, 0.625, 0.125]], 1)[0].probability < 0.5  # their sum is not 1
    assert top_classes([[-0.5, 1.25, 0.25]], 1)[0].probability < 1


def test_names_of_imagenet_are_those_of_1000_outputs():
    outputs = np.zeros((1, 1000))
    outputs[0, 652] = 9
    assert top_classes(outputs, 1)[0].name == "military uniform"
    assert is_classification(outputs.shape)
    assert not any(map(is_classification, [(1, 1, 1, 1000), (2, 1000), (1, 10), ()]))


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((2, 3)), [[0, np.nan]], [[np.inf, 0]]])
def test_other_outputs_are_an_error(wrong):
    with pytest.raises(ValueError, match="outputs must be finite"):
        top_classes(wrong)
