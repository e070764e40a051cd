"""What a run leaves behind: ``report.md`` with numbers and pictures, and the same as JSON."""

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
COMMON = 5  # kinds of mistakes that are listed


def versions() -> dict[str, str]:
    """Versions of Python, and of the packages that a run may depend on and that are here."""
    return {"python": platform.python_version(), **dict(_installed())}


def _installed() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def machine() -> dict[str, Any]:
    """What times depend on: the processor, the cores that this process may use, the devices."""
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
class Found:
    """What a finished run knows.

    Attributes:
        config: of the run, as plain data; nested.
        expected: a sentence of the recipe: the result that it should reach.
        names: of the classes.
        images: uint8 (n, h, w, 1 or 3), the test images.
        labels: (n,) what they are.
        logits: float (n, classes), of the trained net.
        model: the trained net in evaluation mode, a function of a batch.
        prepare: makes of uint8 (b, h, w, c) what the model takes.
        seconds: that the run took, all its parts together if it was resumed.
        steps: of training.
        parameters: numbers that were learnt.
        versions: of packages.
        machine: where it ran.
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
    def said(self) -> np.ndarray:
        """(n,) the class that the net gives each image."""
        return self.logits.argmax(1)

    @property
    def accuracy(self) -> float:
        """Share of the images that are right."""
        return float((self.said == self.labels).mean())

    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds: all that a result is to be quoted with."""
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


def write_report(folder: Path, found: Found) -> Path:
    """Write what was found into the folder of a run, which may have ``metrics.jsonl``.

    Args:
        folder: of the run.
        found: by the run.

    Returns:
        The path of ``report.md``; beside it lie the pictures, ``config.json``, ``summary.json``.
    """
    write_whole(folder / CONFIG, as_json(found.config, indent=1) + "\n")
    write_whole(folder / SUMMARY, as_json(found.summary(), indent=1) + "\n")
    chapters = [*_numbers(found)]
    for title, file, figure, caption in _pictures(folder, found):
        (folder / file).unlink(missing_ok=True)  # of a report that was here before
        chapters += ["", f"## {title}", "", caption]
        if figure is not None:
            figure.savefig(folder / file, dpi=110)
            chapters += ["", f"![{title}]({file})"]
    chapters += ["", *_table("Configuration", flat(found.config))]
    chapters += ["", *_table("Versions and machine", {**found.versions, **found.machine})]
    path = folder / REPORT
    write_whole(path, "\n".join([f"# {_escaped(folder.resolve().name)}", "", *chapters, ""]))
    return path


def _numbers(found: Found) -> Iterator[str]:
    count = len(found.labels)
    right = int((found.said == found.labels).sum())
    yield f"**{found.accuracy:.2%}** of {count:,} test images are right. {found.expected}"
    yield ""
    rows = {
        "test accuracy": f"{found.accuracy:.2%}",
        "error": f"{1 - found.accuracy:.2%}: {count - right:,} of {count:,} images",
        "classes": len(found.names),
        "parameters": f"{found.parameters:,}",
        "steps": f"{found.steps:,}",
        "time": f"{found.seconds:,.1f} s",
    }
    yield from _table("Numbers", rows)


def _pictures(folder: Path, found: Found) -> Iterator[tuple[str, str, "Figure | None", str]]:
    """Of each chapter with a picture: its title, its file, the figure if any, and what to see."""
    name = folder.resolve().name
    metrics = read_metrics(folder)
    curves = curves_figure({name: metrics}) if metrics else None
    yield "Curves", "curves.png", curves, "Loss and accuracy while it learnt."

    counts = confusions(found.labels, found.said, len(found.names))
    confusion = confusion_figure(found.names, counts)
    yield "Confusions", "confusion.png", confusion, _common(found)

    mistakes = mistakes_figure(found.names, found.images, found.labels, _softmax(found.logits))
    told = (
        "Where the net was most certain and wrong." if mistakes is not None else "There are none."
    )
    yield "Mistakes", "mistakes.png", mistakes, told

    first = found.images[:1]
    maps = features_figure(found.model, found.prepare(first), first[0])
    true, said = (_escaped(found.names[int(which[0])]) for which in (found.labels, found.said))
    told = f"What the layers make of the first test image: it is {true}, and the net says {said}."
    yield "Feature maps", "maps.png", maps, told


def _common(found: Found) -> str:
    """How to read the matrix, and which mistakes were made most often."""
    pairs = Counter(zip(map(int, found.labels), map(int, found.said), strict=True))
    kinds = [
        f"{_escaped(found.names[true])} for {_escaped(found.names[said])} ({count:,})"
        for (true, said), count in pairs.most_common()
        if true != said
    ]
    often = f" Most often it took {', '.join(kinds[:COMMON])}." if kinds else ""
    return f"Rows are what the images are, columns what the net said.{often}"


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
    """Nested data with one name a value: ``{"data": {"batch": 64}}`` as ``{"data.batch": 64}``.

    Args:
        config: nested mappings.
        prefix: of all names.

    Returns:
        One mapping without nesting.
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#$])", r"\\\1", text.replace("\n", " "))
