"""How well do ImageNet features of VGG16 describe other pictures?

    apt-get install tuxpaint-stamps-default
    python -m experiments.transfer /usr/share/tuxpaint/stamps --without symbols

The trunk is frozen: the features of a picture are the means of the 512 maps of the last pool. For
comparison, the same trunk is used untrained (random kernels after He et al.), and the colours of
16x16 squares of the picture without any network. A logistic regression is trained on four fifths of
each class and tested on the rest, with the same random splits for all features. Features are
standardised, and the regularisation C is chosen by cross-validation; both use the four fifths only.

PATH has one folder of pictures per class. Classes with fewer than 30 pictures are excluded. Of near
copies only the first is used: pictures whose 16x16 squares have a correlation of more than 0.95
with those of another picture or of its mirror image. Otherwise a mirrored training picture could
be in the test. The pictures of Tux Paint are cut-out drawings and photos on white. ``symbols``
would be a third of them, and two thirds of it are alphabets in a few styles that no other class
has.

Expected: 74.5 % with ImageNet features, 51.6 % untrained and 46.4 % with colours, each with a
standard deviation of 2 to 6; the largest of the seven classes has 32.3 % of the 452 pictures. Takes
about a minute on two cores. Prints a table and writes ``experiments/results/transfer.json``.
"""

import argparse
import difflib
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich import box
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import jaxconv as jc
from experiments.training.downloads import tenths
from experiments.training.images import held_back
from experiments.training.logs import as_json
from experiments.training.recipes import Data, TrainingError
from experiments.training.report import machine, versions
from experiments.training.sets import open_set
from jaxconv.cli.arguments import UsageError, check_writable
from jaxconv.models.weights import WeightsError

OUT = Path("experiments/results/transfer.json")
GRID = 16  # rows and columns of the squares whose colours are compared
MIN_COPY_CORRELATION = 0.95  # correlation of near copies
HELD_BACK = 0.2  # of each class, to test with
FOLDS = 5  # of the cross-validation
REGULARISATION = tuple(10.0**power for power in range(-5, 2))  # scikit-learn's C
BATCH = 32  # pictures that a trunk sees at a time
WIDTH = 100  # characters of a line where there is no terminal
MINIMUMS = (
    ("at-least", 10, "a fifth is for the test, and each fold of the cross-validation needs some"),
    ("size", 32, "the five pools of VGG16 need 32 pixels"),
    ("splits", 2, "a standard deviation needs two numbers"),
    ("seed", 0, "seeds are not negative"),
)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images.

    Attributes:
        images: uint8, shape (n, size, size, 3).
        labels: indices into ``names``, int (n,).
        names: names of the classes.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of pictures of each class."""
        found = np.bincount(self.labels, minlength=len(self.names))
        return dict(zip(self.names, found.tolist(), strict=True))

    def select(self, kept: np.ndarray) -> "LabelledImages":
        """Select pictures by a mask, bool (n,). Classes without pictures are removed.

        Args:
            kept: which images, bool (n,).

        Returns:
            Those images, with new labels.
        """
        places, labels = np.unique(self.labels[kept], return_inverse=True)
        return LabelledImages(
            self.images[kept], labels, tuple(self.names[place] for place in places)
        )


def squares(images: np.ndarray) -> np.ndarray:
    """Return the colours of 16x16 squares of pictures (n, size, size, 3), float32 (n, 768).

    Args:
        images: uint8 (n, size, size, 3).

    Returns:
        The mean colours.
    """
    shape = (len(images), GRID, GRID, 3)
    means = jax.image.resize(images.astype(np.float32), shape, "linear", antialias=True)
    return np.asarray(means).reshape(len(images), -1)


def near_copies(images: np.ndarray) -> np.ndarray:
    """Return which pictures resemble an earlier picture or its mirror image, bool (n,).

    Args:
        images: uint8 (n, size, size, 3).

    Returns:
        For each image whether it is a copy of an earlier one.
    """
    plain, mirrored = (_centred(squares(x)) for x in (images, images[:, :, ::-1]))
    alike = np.maximum(plain @ plain.T, plain @ mirrored.T)
    return np.any(np.tril(alike, -1) > MIN_COPY_CORRELATION, axis=1)


def _centred(x: np.ndarray) -> np.ndarray:
    """Normalise rows to mean 0 and length 1, so that products are correlations."""
    x = x - x.mean(1, keepdims=True)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)


def features(trunk: jc.VGG, images: np.ndarray, batch: int, progress: Progress) -> np.ndarray:
    """Return the means of the last feature maps of a trunk.

    Args:
        trunk: a VGG without head, with ``preprocessing``.
        images: uint8, shape (n, h, w, 3).
        batch: pictures at a time.
        progress: is called with sentences on the progress.

    Returns:
        float32, shape (n, maps).
    """
    assert trunk.preprocessing is not None
    shape = "{} {} {} {}".format(batch, *images.shape[1:])
    means = jc.compile(lambda x: jc.global_avg_pool(trunk(x)), shape)
    report, means_of = tenths(len(images), progress, "of the pictures processed."), []
    for start in range(0, len(images), batch):
        # A program has a fixed batch size: the last batch is padded with its last picture.
        places = np.minimum(np.arange(start, start + batch), len(images) - 1)
        means_of.append(np.asarray(means(trunk.preprocessing(images[places]))))
        report(min(start + batch, len(images)))
    return np.concatenate(means_of)[: len(images)]


def trunks(weights: str, seed: int) -> dict[str, jc.VGG]:
    """Return VGG16 trained and untrained, with the same preprocessing.

    Args:
        weights: of the trained trunk, as :func:`jc.vgg16` takes them.
        seed: of the untrained trunk.

    Returns:
        The trunks by name.
    """
    trained = jc.vgg16(weights=weights, head=None)
    untrained = jc.vgg16(head=None, rngs=nnx.Rngs(seed))
    untrained.preprocessing = trained.preprocessing
    return {"VGG16, ImageNet": trained, "VGG16, untrained": untrained}


def classifier() -> Pipeline:
    """Return an unfitted classifier that standardises its features."""
    regression = LogisticRegressionCV(
        Cs=REGULARISATION,  # type: ignore[arg-type]
        cv=FOLDS,
        l1_ratios=(0,),  # type: ignore[arg-type]
        scoring="accuracy",
        max_iter=1000,
        use_legacy_attributes=False,  # type: ignore[arg-type]
    )
    return make_pipeline(StandardScaler(), regression)


def fit_and_score(x: np.ndarray, labels: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Train a classifier on the training features, and test it on the others.

    Args:
        x: features, shape (n, features).
        labels: shape (n,).
        test: mask of the test pictures, bool (n,).

    Returns:
        The share that is right, and the strength C that cross-validation chose.
    """
    fitted: Any = classifier().fit(x[~test], labels[~test])
    return {"accuracy": fitted.score(x[test], labels[test]), "C": float(fitted[-1].C_)}


def compare(
    kinds: Mapping[str, np.ndarray], labels: np.ndarray, seeds: Sequence[int]
) -> dict[str, Any]:
    """Test each kind of features on the same splits.

    Args:
        kinds: features by name, shape (n, features) each.
        labels: shape (n,).
        seeds: one for each split, two at least.

    Returns:
        Of each kind what came out of each split, its mean and spread; of all but the first also
        by how much the first is ahead, split by split.
    """
    splits = [held_back(labels, HELD_BACK, seed) for seed in seeds]
    found: dict[str, Any] = {}
    for kind, x in kinds.items():
        # The matrices are small: with two threads, waiting takes 50 times as long as the work.
        with threadpool_limits(1):
            rows = [fit_and_score(x, labels, test) for test in splits]
        found[kind] = {
            "features": x.shape[1],
            "accuracies": [row["accuracy"] for row in rows],
            "C": [row["C"] for row in rows],
        }
    first, *others = found.values()
    for numbers in found.values():
        numbers["accuracy"] = mean_and_spread(numbers["accuracies"])
    for numbers in others:
        ahead = np.subtract(first["accuracies"], numbers["accuracies"])
        numbers["first_is_ahead_by"] = mean_and_spread(ahead.tolist())
    return found


def mean_and_spread(shares: Sequence[float]) -> dict[str, float]:
    """Return the mean and the standard deviation.

    Args:
        shares: two numbers or more.

    Returns:
        ``mean`` and ``spread``.
    """
    return {"mean": statistics.mean(shares), "spread": statistics.stdev(shares)}


def read(options: argparse.Namespace, progress: Progress) -> tuple[LabelledImages, dict[str, Any]]:
    """Read the pictures, and report how many were excluded and why.

    Args:
        options: of the command line.
        progress: is called with sentences on the progress.

    Returns:
        The images, and counts of what was left out.

    Raises:
        TrainingError: there are not enough images.
    """
    if not options.path.is_dir():
        raise TrainingError(f"There is no folder {options.path}. Fix: check the path.")
    data = open_set(Data("folder", options.path, size=options.size), 0, progress)
    for note in data.notes:
        progress(note)
    everything = LabelledImages(np.asarray(data.train.images), data.train.labels, data.names)
    wanted = everything.select(
        ~np.isin(everything.labels, _class_indices(options.without, data.names))
    )
    copies = near_copies(wanted.images)
    distinct = wanted.select(~copies)
    large = [name for name, count in distinct.counts.items() if count >= options.at_least]
    if len(large) < 2:
        raise TrainingError(
            f"{len(large)} classes have {options.at_least} pictures or more, without near copies, "
            "but a classifier needs two. Fix: pass a smaller --at-least, or add pictures."
        )
    found = distinct.select(np.isin(distinct.labels, _class_indices(large, distinct.names)))
    about = {
        "classes": found.counts,
        "pictures": len(found.labels),
        "near_copies": int(copies.sum()),
    }
    return found, {**about, "left_out": sorted({*everything.names} - {*found.names})}


def _class_indices(asked: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the indices of some classes in the names of all."""
    for name in asked:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            known = ", ".join(sorted(names, key=lambda one: one not in near))
            raise TrainingError(f"There is no class {name!r}. Fix: choose one of {known}.")
    return [names.index(name) for name in asked]


def measure(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Read the pictures, compare the features, and return the record.

    Args:
        options: of the command line.
        progress: is called with sentences on the progress.

    Returns:
        All results, for JSON.
    """
    started = time.monotonic()
    pictures, about = read(options, progress)
    kinds = {}
    for name, trunk in trunks(options.weights, options.seed).items():
        progress(f"{name}: features of {len(pictures.images):,} pictures.")
        kinds[name] = features(trunk, pictures.images, BATCH, progress)
    kinds[f"colours of {GRID}x{GRID} squares"] = squares(pictures.images)
    progress(f"Training {len(kinds)} classifiers on each of {options.splits} splits.")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "set": {**about, "size": options.size},
        "seeds": {"untrained": options.seed, "splits": [*range(options.splits)]},
        "kinds": compare(kinds, pictures.labels, range(options.splits)),
        "largest_class": max(pictures.counts.values()) / len(pictures.labels),
        "seconds": round(time.monotonic() - started, 1),
        "machine": machine(),
        "versions": {**versions(), "scikit-learn": version("scikit-learn")},
    }


def table(found: Mapping[str, Any]) -> Table:
    """Return the results as a table.

    Args:
        found: of :func:`measure`.

    Returns:
        The table.
    """
    about, splits = found["set"], len(found["seeds"]["splits"])
    made = Table(
        title=f"{about['pictures']:,} pictures of {len(about['classes'])} classes, {splits} splits",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    made.add_column("features")
    for name in ("test accuracy", "std. dev.", "first is ahead by", "std. dev."):
        made.add_column(name, justify="right")
    for kind, numbers in found["kinds"].items():
        ahead = numbers.get("first_is_ahead_by", {})
        shares = [*numbers["accuracy"].values(), *ahead.values()]
        made.add_row(kind, *(f"{share:.1%}" for share in shares))
    made.add_row("always the largest class", f"{found['largest_class']:.1%}")
    return made


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.transfer", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="folder with one folder of pictures per class")
    add("--without", nargs="+", default=[], metavar="CLASS", help="classes to exclude")
    add("--at-least", type=int, default=30, help="fewest pictures of a class; default: 30")
    add("--size", type=int, default=128, help="height and width of the pictures; default: 128")
    add("--splits", type=int, default=5, help="number of random splits; default: 5")
    add("--seed", type=int, default=0, help="seed of the untrained trunk; default: 0")
    add("--weights", default="imagenet", help="a .safetensors file for VGG16; default: imagenet")
    add("--out", type=Path, default=OUT, help=f"JSON file to write; default: {OUT}")
    return parser.parse_args(arguments)


def _check(options: argparse.Namespace) -> None:
    """Reject numbers that are too small."""
    for name, least, why in MINIMUMS:
        if (given := getattr(options, name.replace("-", "_"))) < least:
            raise TrainingError(
                f"--{name} is {given}, but {why}. Fix: pass --{name} {least} or more."
            )
    check_writable(options.out, (".json",))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write. The exit status is 2 if that is not possible.

    Args:
        arguments: the command line; None for that of this process.

    Returns:
        The exit status.
    """
    given = sys.argv[1:] if arguments is None else [*arguments]
    options = _parse(given)
    try:
        _check(options)
        found = measure(options, print)
    except (TrainingError, UsageError, WeightsError) as error:
        print(f"experiments.transfer: {error}", file=sys.stderr)
        return 2
    Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(table(found))
    command = shlex.join(["python", "-m", "experiments.transfer", *given])
    options.out.write_text(as_json({"command": command, **found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
