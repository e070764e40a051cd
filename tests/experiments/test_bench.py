"""The script is the command, with files of its own."""

from experiments import bench


def test_the_script_is_the_command_with_its_files(monkeypatch):
    asked = []
    monkeypatch.setattr(bench, "command", lambda given: asked.append(given) or 1)
    assert bench.main(["--rounds", "3"]) == 1
    assert bench.main(["--chart=other.png", "--out", "other.json"]) == 1
    files = ["--out=experiments/results/bench.json", "--chart=docs/pictures/bench.svg"]
    assert asked[0] == ["bench", *files, "--rounds", "3"]
    assert asked[1] == ["bench", "--chart=other.png", "--out", "other.json"]
