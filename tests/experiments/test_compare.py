"""Runs side by side: what differs, who is best, and sentences for what is not a run."""

import json
from pathlib import Path

import pytest
from PIL import Image

from experiments import compare
from experiments.compare import main
from tests.support.processes import forked

ROOT = Path(__file__).parents[2]


def write(folder, *, rate=0.1, accuracy=0.9, summary=True, jax="0.10.2", speed=100.0):
    """The folder of a run."""
    folder.mkdir(parents=True)
    config = {"recipe": "digits", "optimiser": {"name": "sgd", "rate": rate}, "stages": [[8], [16]]}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [
        {"step": 5, "loss": 1.5, "accuracy": 0.4, "images_per_second": speed / 3},
        {"step": 10, "loss": 1 - accuracy, "accuracy": accuracy, "images_per_second": speed},
        {"step": 10, "test_loss": None, "test_accuracy": accuracy + 0.01},
        {"step": 15, "loss": None, "accuracy": accuracy, "images_per_second": speed * 2},
        {"step": 15, "test_loss": 1.2 - accuracy, "test_accuracy": accuracy},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if summary:
        found = {
            "test_accuracy": accuracy,
            "error": 1 - accuracy,
            "seconds": 1234.56,
            "steps": 15,
            "parameters": 12345,
            "versions": {"jax": jax, "numpy": "2.4"},
            "machine": {"cores": 2},
        }
        (folder / "summary.json").write_text(json.dumps(found))
    return str(folder)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three runs, named as a person would; the last has not ended."""
    monkeypatch.chdir(tmp_path)
    first = write(Path("runs/one"), speed=200)
    second = write(Path("runs/two"), rate=0.25, accuracy=0.95, jax="0.12.0")
    third = write(Path("runs/new"), rate=0.25, accuracy=0.8, summary=False)
    return first, second, third


def rows(text):
    """The cells of each line of what was printed, by the first."""
    lines = [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()
    ]
    return {line[0]: line[1:] for line in lines if line}


def test_only_what_differs_is_shown_and_the_best_is_marked(runs, capsys):
    assert main(runs[:2]) == 0
    found = rows(capsys.readouterr().out)
    assert found["optimiser.rate"] == ["0.1", "0.25"]
    assert found["versions.jax"] == ["0.10.2", "0.12.0"]
    assert not {"recipe", "optimiser.name", "stages", "versions.numpy", "machine.cores"} & {*found}
    assert found["test accuracy"] == ["90.00%", "95.00% *"]
    assert found["error"] == ["10.00%", "5.00% *"]
    assert found["best test accuracy during training"] == ["91.00%", "96.00% *"]
    assert found["last test loss"] == ["0.3000", "0.2500 *"]
    assert found["last training loss"] == ["0.1000", "0.0500 *"]  # the last that was finite
    assert found["images/s, median"] == ["200 *", "100"]
    assert found["seconds"] == ["1,234.6", "1,234.6"]  # neither is better
    assert found["parameters"] == ["12,345", "12,345"]


def test_a_run_that_goes_on_has_the_numbers_that_are_there(runs, capsys):
    assert main(runs) == 0
    found = rows(capsys.readouterr().out)
    assert found["test accuracy"] == ["90.00%", "95.00% *", "-"]
    assert found["best test accuracy during training"] == ["91.00%", "96.00% *", "81.00%"]
    assert found["versions.jax"] == ["0.10.2", "0.12.0", "-"]
    assert "versions.numpy" not in found  # what is unknown does not differ


def test_runs_that_have_not_ended_have_no_empty_rows(runs, capsys):
    other = write(Path("runs/newer"), accuracy=0.7, summary=False)
    assert main([runs[2], other]) == 0
    found = rows(capsys.readouterr().out)
    assert "test accuracy" not in found
    assert found["last test loss"] == ["0.4000 *", "0.5000"]


def test_the_same_options_are_said_to_be_the_same(runs, capsys):
    other = write(Path("runs/again"), accuracy=0.85)
    assert main([runs[0], other]) == 0
    out = capsys.readouterr().out
    assert "The options of these runs are the same." in out
    assert "Options that differ" not in out
    assert "Versions and machines that differ" not in out


def test_an_option_that_only_one_run_has_differs(runs, capsys):
    path = Path(runs[0], "config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"devices": [1, None]}))
    assert main(runs[:2]) == 0
    assert rows(capsys.readouterr().out)["devices"] == ["[1, null]", "-"]


def test_names_are_no_markup(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [write(Path("[red]x[") / name, accuracy=0.7) for name in ("[bold]a", "b[/]")]
    assert main(names) == 0
    assert "[bold]a" in capsys.readouterr().out.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_all_curves_come_in_one_picture(runs, capsys, suffix):
    out = Path(f"curves{suffix}")
    assert main([*runs, "--out", str(out)]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    if suffix == ".png":
        with Image.open(out) as image:
            assert image.size == (1320, 506)
            coloured = {c for _, c in image.convert("RGB").getcolors(10**6)}
        assert {(209, 73, 91), (0, 121, 140), (237, 174, 73)} <= coloured


def damaged(folder, name, text):
    Path(folder, name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda _: ["runs/one", "runs/none"],
            "runs/none is not a run: there is no such folder. Fix:",
        ),
        (
            lambda _: ["runs", "runs/one"],
            "runs is not a run: it has no config.json. Fix: pass folders",
        ),
        (lambda runs: [runs[0], runs[0] + "/"], "Fix: pass two folders or more, each once."),
        (lambda runs: [runs[0], runs[1], "runs/../runs/one"], "folders or more, each once."),
        (lambda runs: runs[:1], "A comparison needs two different runs. Fix: pass two folders"),
        (
            lambda runs: [damaged(runs[0], "config.json", '{"a": '), runs[1]],
            "runs/one/config.json is damaged. Fix:",
        ),
        (
            lambda runs: [runs[1], damaged(runs[0], "summary.json", "[1]")],
            "runs/one/summary.json is damaged. Fix:",
        ),
        (lambda runs: [*runs, "--out", "curves.gif"], "curves.gif has an unknown format. Fix:"),
        (lambda runs: [*runs, "--out", "a/b.png"], "a/b.png cannot be written: No such file"),
    ],
)
def test_what_cannot_be_compared_gets_a_sentence(runs, capsys, make, sentence):
    assert main(make(runs)) == 2
    out, err = capsys.readouterr()
    assert err.startswith("experiments.compare: ")
    assert sentence in err
    assert out == ""


def test_it_is_a_command(runs):
    done = forked("-m", "experiments.compare", *runs[:2])
    assert (done.returncode, done.stderr) == (0, "")
    assert "95.00% *" in done.stdout
    assert not [c for c in done.stdout if not c.isprintable() and c != "\n"]


def test_a_tie_marks_all_that_share_it():
    best = compare.TABLE_ROWS["test accuracy"]
    assert compare._marked([0.9, None, 0.9, 0.5], best) == ["90.00% *", "-", "90.00% *", "50.00%"]
