"""The report of a run: ``report.md`` with numbers and figures, and the same numbers as JSON."""

import os
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from experiments.training.figures import (
    confusion_figure,
    confusions,
    curves_figure,
    features_figure,
    mistakes_figure,
)
from experiments.training.logs import as_json, read_metrics, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFIG, SUMMARY, REPORT = "config.json", "summary.json", "report.md"
PACKAGES = ("jaxconv", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
COMMON = 5  # how many of the most common confusions are listed


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that a run may depend on."""
    return {"python": platform.python_version(), **dict(_installed())}


def _installed() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def machine() -> dict[str, Any]:
    """Return what times depend on: the processor, the usable cores, and the devices."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    usable = (
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    kinds = sorted({device.device_kind for device in jax.devices()})
    return {
        "processor": named[1] if named else platform.processor() or platform.machine(),
        "system": platform.system(),
        "cores": len(usable),
        "devices": f"{jax.device_count()} x {', '.join(kinds)}",
    }


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Attributes:
        config: nested options of the run.
        expected: a sentence with the result that the recipe should reach.
        names: names of the classes.
        images: test images, uint8 (n, h, w, 1 or 3).
        labels: classes of the test images, (n,).
        logits: outputs of the trained network, float (n, classes).
        model: the trained network in evaluation mode, a function of a batch.
        prepare: preprocesses images, uint8 (b, h, w, c), for the model.
        seconds: time of the run, including all parts if it was resumed.
        steps: training steps.
        parameters: number of trained parameters.
        versions: versions of packages.
        machine: processor, cores and devices.
    """

    config: Mapping[str, Any]
    expected: str
    names: Sequence[str]
    images: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    model: Callable[..., Any]
    prepare: Callable[[np.ndarray], Any]
    seconds: float
    steps: int
    parameters: int
    versions: Mapping[str, str] = field(default_factory=versions)
    machine: Mapping[str, Any] = field(default_factory=machine)

    @property
    def predicted(self) -> np.ndarray:
        """The predicted class of each image, (n,)."""
        return self.logits.argmax(1)

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified correctly."""
        return float((self.predicted == self.labels).mean())

    def summary(self) -> dict[str, Any]:
        """Return the content of ``summary.json``: the result, and everything needed to quote it."""
        return {
            "script": "python -m experiments.train",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "config": dict(self.config),
            "test_accuracy": self.accuracy,
            "error": 1 - self.accuracy,
            "test_images": len(self.labels),
            "seconds": round(self.seconds, 3),
            "steps": self.steps,
            "parameters": self.parameters,
            "expected": self.expected,
            "versions": dict(self.versions),
            "machine": dict(self.machine),
        }


def write_report(folder: Path, result: RunResult) -> Path:
    """Write the report into the folder of a run, which may contain ``metrics.jsonl``.

    Args:
        folder: folder of the run.
        result: result of the run.

    Returns:
        The path of ``report.md``. The figures, ``config.json`` and ``summary.json`` are next to it.
    """
    write_whole(folder / CONFIG, as_json(result.config, indent=1) + "\n")
    write_whole(folder / SUMMARY, as_json(result.summary(), indent=1) + "\n")
    chapters = [*_numbers(result)]
    for title, file, figure, caption in _pictures(folder, result):
        (folder / file).unlink(missing_ok=True)  # from an earlier report
        chapters += ["", f"## {title}", "", caption]
        if figure is not None:
            figure.savefig(folder / file, dpi=110)
            chapters += ["", f"![{title}]({file})"]
    chapters += ["", *_table("Configuration", flat(result.config))]
    chapters += ["", *_table("Versions and machine", {**result.versions, **result.machine})]
    path = folder / REPORT
    write_whole(path, "\n".join([f"# {_escaped(folder.resolve().name)}", "", *chapters, ""]))
    return path


def _numbers(result: RunResult) -> Iterator[str]:
    count = len(result.labels)
    right = int((result.predicted == result.labels).sum())
    share = f"**{result.accuracy:.2%}** of {count:,} test images are classified correctly."
    yield f"{share} {result.expected}".rstrip()
    yield ""
    rows = {
        "test accuracy": f"{result.accuracy:.2%}",
        "error": f"{1 - result.accuracy:.2%}: {count - right:,} of {count:,} images",
        "classes": len(result.names),
        "parameters": f"{result.parameters:,}",
        "steps": f"{result.steps:,}",
        "time": f"{result.seconds:,.1f} s",
    }
    yield from _table("Numbers", rows)


def _pictures(folder: Path, result: RunResult) -> Iterator[tuple[str, str, "Figure | None", str]]:
    """Yield the title, the file, the figure (if any) and the caption of each section."""
    name = folder.resolve().name
    metrics = read_metrics(folder)
    curves = curves_figure({name: metrics}) if metrics else None
    yield "Curves", "curves.png", curves, "Loss and accuracy during training."

    counts = confusions(result.labels, result.predicted, len(result.names))
    confusion = confusion_figure(result.names, counts)
    yield "Confusion matrix", "confusion.png", confusion, _common(result)

    mistakes = mistakes_figure(result.names, result.images, result.labels, _softmax(result.logits))
    caption = "The most confident mistakes." if mistakes is not None else "There are none."
    yield "Mistakes", "mistakes.png", mistakes, caption

    first = result.images[:1]
    maps = features_figure(result.model, result.prepare(first), first[0])
    true, predicted = (
        _escaped(result.names[int(classes[0])]) for classes in (result.labels, result.predicted)
    )
    caption = (
        f"Feature maps of the first test image. Its class is {true}; the network predicts "
        f"{predicted}."
    )
    yield "Feature maps", "maps.png", maps, caption


def _common(result: RunResult) -> str:
    """Return the caption of the matrix, with the most common confusions."""
    pairs = Counter(zip(map(int, result.labels), map(int, result.predicted), strict=True))
    kinds = [
        f"{_escaped(result.names[true])} as {_escaped(result.names[predicted])} ({count:,})"
        for (true, predicted), count in pairs.most_common()
        if true != predicted
    ]
    often = f" Most common confusions: {', '.join(kinds[:COMMON])}." if kinds else ""
    return f"Rows are true classes, columns are predicted classes.{often}"


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _table(title: str, rows: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in rows.items():
        yield f"| {_escaped(str(name))} | {_escaped(str(value))} |"


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested data: ``{"data": {"batch": 64}}`` becomes ``{"data.batch": 64}``.

    Args:
        config: nested mappings.
        prefix: of all names.

    Returns:
        One mapping without nesting.
    """
    flattened: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flattened |= flat(value, f"{prefix}{name}.")
        else:
            flattened[f"{prefix}{name}"] = value
    return flattened


def _escaped(text: str) -> str:
    """Escape text for Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#$])", r"\\\1", text.replace("\n", " "))
