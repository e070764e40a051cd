"""The benchmark writes its results where the documents read them, unless told otherwise."""

from experiments.bench import __main__ as bench


def test_patterns_name_workloads_in_their_order():
    known = dict.fromkeys(bench.WORKLOADS, 0)
    chosen = bench._chosen("--workloads", "unet-*,vgg16-b1,unet-b1", bench.WORKLOADS, [])
    assert [w.name for w in chosen] == ["unet-b1", "unet-b8", "unet-train", "vgg16-b1"]
    assert len(bench._chosen("--workloads", "*", known, [])) == len(known)


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
