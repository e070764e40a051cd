"""The benchmark writes its results where the documents read them, unless told otherwise."""

from experiments.bench import __main__ as bench


def test_the_files_have_defaults(monkeypatch):
    given = []
    monkeypatch.setattr(bench, "run", lambda options: given.append(options) or 1)
    assert bench.main(["--rounds", "3"]) == 1
    assert bench.main(["--chart=other.png", "--out", "other.json"]) == 1
    files = [(str(options.out), str(options.chart)) for options in given]
    assert files == [
        ("experiments/results/bench.json", "docs/pictures/bench.svg"),
        ("other.json", "other.png"),
    ]
    assert given[0].rounds == 3
