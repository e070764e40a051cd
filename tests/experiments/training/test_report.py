"""What a run leaves behind: numbers that are right, pictures of what they say, links that hold."""

import json
import math
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from matplotlib.colors import to_rgb
from PIL import Image

import jaxconv as jc
from experiments.training import figures, report
from experiments.training.report import RunResult, write_report

NAMES = {
    3: ("a_very_long_name_of_a_dog", "cat $3^", "*leopard|"),
    10: tuple("0123456789"),
    30: tuple(f"kind {number}" for number in range(30)),
}


def net(channels, classes, seed):
    """A small classifier of random weights."""
    rngs = nnx.Rngs(seed)
    trunk = jc.VGG([(4,), (6, 5)], head=None, channels=channels, rngs=rngs)
    weights = jax.random.normal(rngs.params(), (5, classes))
    return lambda x: trunk(x).mean((1, 2)) @ weights


def prepare(pixels):
    return pixels.astype(np.float32) / 255


def found(classes=3, shape=(8, 8, 1), count=40, seed=0):
    """What a run would have found with a random net and random images."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    model = net(shape[-1], classes, seed)
    return RunResult(
        config={"recipe": "random", "data": {"batch": 64, "path": None}, "rate": math.inf},
        expected="Expected: about one in three.",
        names=NAMES[classes],
        images=images,
        labels=rng.integers(0, classes, count).astype(np.int32),
        logits=np.asarray(model(jnp.asarray(prepare(images)))),
        model=model,
        prepare=prepare,
        seconds=12.3456,
        steps=1200,
        parameters=34567,
    )


def metrics(folder, seed=0):
    """A log of twenty steps."""
    rng = np.random.default_rng(seed)
    lines = [{"step": n, "loss": rng.random(), "accuracy": rng.random()} for n in range(1, 21)]
    lines += [
        {"step": n, "test_loss": rng.random(), "test_accuracy": rng.random()} for n in (9, 20)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def links(text):
    return re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are made and not drawn, which takes most of the time of a report."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, path, **options: path.touch())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "shape"), [(3, (64, 64, 3)), (10, (8, 8, 1)), (30, (28, 20, 1))]
)
def test_a_run_leaves_numbers_pictures_and_a_page_that_shows_them(tmp_path, classes, shape):
    metrics(tmp_path)
    run = found(classes, shape, seed=classes)
    path = write_report(tmp_path, run)
    assert path == tmp_path / "report.md"
    pictures = ["curves.png", "confusion.png", "mistakes.png", "maps.png"]
    assert links(path.read_text()) == pictures
    for name in pictures:
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 250
            assert len(image.convert("RGB").getcolors(10**6)) > 10  # not an empty page
    right = sum(int(a) == int(b.argmax()) for a, b in zip(run.labels, run.logits, strict=True))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["test_accuracy"] == pytest.approx(right / 40)
    assert summary["error"] == pytest.approx(1 - right / 40)
    assert (summary["seconds"], summary["steps"], summary["parameters"]) == (12.346, 1200, 34567)
    assert summary["config"] == json.loads((tmp_path / "config.json").read_text())
    assert summary["versions"]["jax"] == jax.__version__
    assert summary["machine"]["cores"] >= 1
    text = path.read_text()
    share = f"**{right / 40:.2%}** of 40 test images are classified correctly."
    assert f"{share} Expected: about one in" in text
    for fact in ("| parameters | 34,567 |", "| data.batch | 64 |", f"| jax | {jax.__version__} |"):
        assert fact in text


def test_the_configuration_is_strict_json(tmp_path, undrawn):
    write_report(tmp_path, found())
    config = json.loads((tmp_path / "config.json").read_text(), parse_constant=pytest.fail)
    assert config == {"recipe": "random", "data": {"batch": 64, "path": None}, "rate": None}


def test_without_mistakes_none_are_shown_and_old_pictures_go(tmp_path, undrawn):
    run = found()
    write_report(tmp_path, run)
    assert (tmp_path / "mistakes.png").exists()
    page = write_report(tmp_path, replace(run, labels=run.logits.argmax(1))).read_text()
    assert not (tmp_path / "mistakes.png").exists()
    assert links(page) == ["confusion.png", "maps.png"]  # and no curves, without a log
    assert "There are none." in page
    assert "Most common confusions" not in page


def test_the_page_shows_names_as_they_are(tmp_path, undrawn):
    page = write_report(tmp_path, found(3)).read_text()
    for name in (r"a\_very\_long\_name\_of\_a\_dog", r"cat \$3^", r"\*leopard\|"):
        assert name in page
    assert not re.search(r"[^\\]\$", page)


def test_the_page_counts_what_was_taken_for_what(tmp_path, undrawn):
    run = found(10, count=6)
    logits = np.eye(10, dtype=np.float32)[[1, 1, 1, 4, 5, 5]]
    run = replace(run, labels=np.array([7, 7, 1, 3, 5, 5]), logits=logits)
    page = write_report(tmp_path, run).read_text()
    assert "Most common confusions: 7 as 1 (2), 3 as 4 (1)." in page


@pytest.mark.parametrize("classes", [3, 10, 30])
def test_a_confusion_matrix_counts_images_and_colours_shares(classes):
    rng = np.random.default_rng(classes)
    labels, said = rng.integers(0, classes - 1, (2, 200))  # none is of the last class
    counts = figures.confusions(labels, said, classes)
    expected = [
        [sum((labels == row) & (said == column)) for column in range(classes)]
        for row in range(classes)
    ]
    assert counts.tolist() == expected
    axes = figures.confusion_figure(NAMES[classes], counts).axes[0]
    (image,) = axes.get_images()
    sums = np.asarray(image.get_array()).sum(1)
    assert sums[:-1] == pytest.approx(np.ones(classes - 1))
    assert sums[-1] == 0  # no image, and no division by it
    written = {(*map(round, text.get_position()),): text.get_text() for text in axes.texts}
    shown = {(c, r): f"{n}" for (r, c), n in np.ndenumerate(counts) if n}
    assert written == (shown if classes <= 25 else {})
    assert len(axes.get_yticklabels()) == classes


def test_counts_can_be_read_on_their_colours():
    counts = np.array([[70, 30], [2, 98]])
    axes = figures.confusion_figure(("this", "that"), counts).axes[0]
    (image,) = axes.get_images()
    for text in axes.texts:
        x, y = map(round, text.get_position())
        below = image.to_rgba(image.get_array())[y, x, :3]
        assert abs(np.mean(below) - np.mean(to_rgb(text.get_color()))) > 0.3


def test_mistakes_are_the_most_confident_first():
    names, labels = NAMES[3], np.array([0, 1, 2, 0, 1])
    chances = np.array(
        [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.01, 0.98, 0.01], [0.2, 0.1, 0.7], [0, 1, 0]]
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 1), np.uint8)
    figure = figures.mistakes_figure(names, images, labels, chances)
    shown = [axes.get_images()[0].get_array() for axes in figure.axes]
    for pixels, number in zip(shown, (2, 3, 1), strict=True):
        np.testing.assert_array_equal(pixels, np.repeat(images[number], 3, -1))
    title, *told = [text.get_text() for text in figure.texts]
    assert title == "Mistakes:  3 of 5 test images"
    assert told == [
        "predicted cat \\$3^\nactual *leopard|\n98.0% confident",
        "predicted *leopard|\nactual a_very_long_...a_dog\n70.0% confident",
        "predicted a_very_long_...a_dog\nactual cat \\$3^\n60.0% confident",
    ]


def test_of_many_mistakes_some_are_shown():
    rng = np.random.default_rng(1)
    chances = rng.dirichlet(np.ones(10), 50)
    labels = (chances.argmax(1) + 1) % 10
    images = rng.integers(0, 256, (50, 5, 5, 3), np.uint8)
    figure = figures.mistakes_figure(NAMES[10], images, labels, chances)
    assert len(figure.axes) == 18
    sure = [float(text.get_text().split("\n")[2].partition("%")[0]) for text in figure.texts[1:]]
    assert sure == pytest.approx(np.sort(chances.max(1))[::-1][:18] * 100, abs=0.06)


def test_curves_are_what_was_logged(tmp_path):
    lines = metrics(tmp_path)
    loss, accuracy = figures.curves_figure({"one": lines}).axes
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        train, test = axes.get_lines()
        assert train.get_ydata().tolist() == [line[name] for line in lines[:20]]
        assert test.get_xdata().tolist() == [9, 20]
        assert test.get_ydata().tolist() == [line[f"test_{name}"] for line in lines[20:]]
    assert loss.get_yscale() == "log"


def test_long_curves_are_smoothed_and_what_is_null_is_a_gap():
    rng = np.random.default_rng(2)
    values = rng.random(1000).tolist()
    lines = [{"step": 2 * n, "loss": value} for n, value in enumerate(values)]
    lines[990]["loss"] = None
    axes = figures.curves_figure({"one": lines}).axes[0]
    raw, smooth, _ = axes.get_lines()
    assert np.isnan(raw.get_ydata()).sum() == 1
    assert smooth.get_ydata()[:3] == pytest.approx([np.mean(values[n : n + 10]) for n in range(3)])
    assert smooth.get_xdata()[0] == pytest.approx(9)  # the middle of steps 0 to 18


def test_a_run_without_a_test_yet_has_curves(tmp_path):
    figure = figures.curves_figure(
        {"new": [{"step": 1, "loss": 0.5, "accuracy": 0.25}], "none": []}
    )
    figure.savefig(tmp_path / "curves.png")
    assert [text.get_text() for text in figure.axes[0].get_legend().texts] == ["new", "none"]


def test_maps_are_those_of_the_first_image(tmp_path, monkeypatch, undrawn):
    run = found(3, (16, 16, 3))
    drawn = []
    monkeypatch.setattr(figures, "maps_figure", lambda photo, maps, _: drawn.append((photo, maps)))
    write_report(tmp_path, run)
    ((photo, maps),) = drawn
    np.testing.assert_array_equal(photo, run.images[0])
    expected = jc.feature_maps(run.model, [*maps])(jnp.asarray(prepare(run.images[:1])))
    assert {*maps} == {"conv1_1", "conv2_2"}
    for name, value in maps.items():
        np.testing.assert_allclose(value, expected[name][0], rtol=1e-5)


def test_a_net_without_pictures_has_no_maps(tmp_path, undrawn):
    run = found(3, (4, 4, 1))
    weights = jax.random.normal(jax.random.key(0), (16, 3))
    flat = replace(run, model=lambda x: jc.dense(jc.flatten(x), weights))
    page = write_report(tmp_path, flat).read_text()
    assert "maps.png" not in page


def test_flat_names_are_unique_paths():
    nested = {"a": {"b": 1, "c": {"d": [2, 3]}}, "b": None, "e": {}}
    assert report.flat(nested) == {"a.b": 1, "a.c.d": [2, 3], "b": None}
