"""The benchmark of proofs: its rows, its networks, and the numbers that were committed."""

import json

import pytest

from experiments import proof_speed


def test_a_row_has_the_verdict_and_the_times():
    row = proof_speed.measure("chain of 25", repeats=1)
    assert row["accepts"] == "h >= 2, w >= 2"
    assert row["outputs"] == "(b, h//2, w//2, 8)"
    assert 0 < row["median_seconds"] == row["seconds"][0]
    assert proof_speed.table([row]).splitlines()[1].startswith("chain of 25 ")


GOLDEN = {
    "VGG16, no head": "h >= 32, w >= 32",
    "VGG16, dense head": "224 <= h <= 255, 224 <= w <= 255",
    "VGG16, conv head": "h >= 224, w >= 224",
    "ResNet-50": "every size",
    "ResNet-152": "every size",
    "U-Net, 4 levels": "h and w multiples of 16",
    "U-Net of Stable Diffusion": "h and w multiples of 8",
    "gradient of 10 strided": "every size",
    "chain of 25": "h >= 2, w >= 2",
    "chain of 50": "h >= 4, w >= 4",
    "chain of 100": "h >= 16, w >= 16",
    "chain of 200": "h >= 256, w >= 256",
}


def test_the_committed_numbers_are_of_these_networks():
    found = json.loads(proof_speed.OUT.read_text())
    assert {row["network"]: row["accepts"] for row in found["networks"]} == GOLDEN
    assert list(proof_speed.NETWORKS) == list(GOLDEN)


def test_imports_are_timed_in_turn(monkeypatch):
    asked = []

    def output(command):
        asked.append(command[-1])
        return "3.0" if "jaxconv" in command[-1] else "1.0"

    monkeypatch.setattr(proof_speed, "_output", output)
    found = proof_speed.measure_imports(2)
    assert found["added_seconds"] == 2.0
    assert found["seconds"] == {"without": [1.0, 1.0], "with": [3.0, 3.0]}
    assert ["jaxconv" in line for line in asked] == [False, True] * 3


def test_an_unknown_network_is_refused(capsys):
    with pytest.raises(SystemExit):
        proof_speed.main(["--only", "LeNet"])
    assert "invalid choice: 'LeNet'" in capsys.readouterr().err
