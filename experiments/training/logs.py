"""Logs of a run: progress on the screen, lines of JSON, and files for TensorBoard.

``metrics.jsonl`` has one object per line, such as ``{"step": 10, "loss": 0.7, "accuracy": 0.8}``
for training and ``{"step": 10, "test_loss": 0.9, "test_accuracy": 0.75}`` for tests. Shares and
accuracies are between 0 and 1; null is a number that was not finite. TensorBoard has the same as
``train/loss``, ``test/loss`` ...
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic, time_ns
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

METRICS = "metrics.jsonl"
BOARD = "tensorboard"
SILENCE = 10.0  # seconds between lines without a terminal
TEST = "test"
WORDS = {
    "loss": "loss {:.4f}",
    "accuracy": "accuracy {:.1%}",
    "images_per_second": "{:,.0f} images/s",
    "waited": "waited {:.0%}",
    "peak": "{:.0%} of peak",
}

Values = Mapping[str, float]


class Log:
    """The log of a run: a context manager that restores the terminal.

    Args:
        folder: existing folder of the run; None writes no files, for all processes but the first.
        steps: total number of steps.
        start: completed steps. Lines of later steps, of a run that was killed, are removed.
        quiet: show nothing on the screen.
    """

    def __init__(
        self, folder: Path | None, steps: int, start: int = 0, *, quiet: bool = False
    ) -> None:
        files = [] if folder is None else [Lines(folder, start), Board(folder, start)]
        self._screens: list[Screen] = [] if quiet else [_screen(steps, start)]
        self._all: list[Sink] = [*files, *self._screens]

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        with ExitStack() as stack:  # close all, the screen first: the disk may be full
            for sink in self._all:
                stack.callback(sink.close)

    def step(
        self,
        step: int,
        metrics: Values,
        images_per_second: float,
        waited: float,
        peak: float | None = None,
    ) -> None:
        """Log a training step.

        Args:
            step: number of completed steps.
            metrics: metrics of the batches since the last call, such as loss and accuracy.
            images_per_second: speed since the last call.
            waited: share of the time in which the step waited for its images.
            peak: share of the devices' rate in a large matrix product, if known.
        """
        known = {} if peak is None else {"peak": peak}
        speed = {"images_per_second": images_per_second, "waited": waited}
        self._write("train", step, {**metrics, **speed, **known})

    def evaluated(self, step: int, metrics: Values) -> None:
        """Log test metrics after a step, by names such as ``accuracy``.

        Args:
            step: the number of steps that are done.
            metrics: such as loss and accuracy.
        """
        self._write(TEST, step, metrics)

    def say(self, sentence: str) -> None:
        """Show a message. Characters that are not printable appear as question marks.

        Args:
            sentence: any text.
        """
        for screen in self._screens:
            screen.say("".join(c if c.isprintable() or c == "\n" else "?" for c in sentence))

    def _write(self, part: str, step: int, values: Values) -> None:
        plain = {name: float(value) for name, value in values.items()}
        for sink in self._all:
            sink.write(part, step, plain)


class Sink(Protocol):
    """Receives numbers."""

    def write(self, part: str, step: int, values: Values) -> None:
        """Receive numbers after a step.

        Args:
            part: "train" or "test".
            step: number of completed steps.
            values: the numbers by name.
        """
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Screen(Sink, Protocol):
    """Receives numbers and messages for people."""

    def say(self, sentence: str) -> None:
        """Show a sentence.

        Args:
            sentence: any text that can be printed.
        """
        ...


class Lines:
    """``metrics.jsonl``. A line is in the file when ``write`` returns."""

    def __init__(self, folder: Path, start: int) -> None:
        path = folder / METRICS
        kept = [line for line in read_metrics(folder) if line["step"] <= start] if start else []
        write_whole(path, "".join(map(_line, kept)))
        self._file = path.open("a", buffering=1)

    def write(self, part: str, step: int, values: Values) -> None:
        """Add a line.

        Args:
            part: "train" or "test".
            step: number of completed steps.
            values: the numbers by name.
        """
        prefix = f"{TEST}_" if part == TEST else ""
        named = {f"{prefix}{name}": value for name, value in values.items()}
        self._file.write(_line({"step": step, **named}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of ``metrics.jsonl``, up to the first damaged line; [] without a file.

    Args:
        folder: of the run.

    Returns:
        One mapping per line.
    """
    path = folder / METRICS
    return [*_whole(path.read_bytes().splitlines())] if path.exists() else []


def _whole(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the lines before the first incomplete line, which a killed process leaves."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return


def _line(values: Mapping[str, Any]) -> str:
    return as_json(values) + "\n"


def write_whole(path: Path, text: str) -> None:
    """Write a file atomically: if the disk is full, the old content stays.

    Args:
        path: of the file.
        text: its new content.
    """
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text)
    partial.replace(path)


def as_json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON. A number that is not finite becomes null, an unknown object its text.

    Args:
        value: any value.
        indent: spaces per level; None for one line.

    Returns:
        The text.
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Board:
    """Files for TensorBoard: ``tensorboard --logdir runs``.

    ``SummaryWriter`` is not used: its thread would end if the disk is full, and leave the run
    waiting. It also names files by the second, so that a run that is killed and resumed at once
    would overwrite its own file.
    """

    def __init__(self, folder: Path, start: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog  # type: ignore[attr-defined]

        (folder / BOARD).mkdir(exist_ok=True)
        own = f".{os.getpid()}.{time_ns()}"
        self._writer = EventsWriter(str(folder / BOARD / "events"), own)
        # TensorBoard hides points of a killed run after the step at which this one starts.
        later = start + 1 if start else 0
        self._put(later, session_log=SessionLog(status=SessionLog.START))

    def write(self, part: str, step: int, values: Values) -> None:
        """Add a point to each curve. A number that is not finite is a gap.

        Args:
            part: "train" or "test".
            step: number of completed steps.
            values: the numbers by name.
        """
        from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

        points = [
            Summary.Value(tag=f"{part}/{name}", simple_value=value)
            for name, value in values.items()
            if math.isfinite(value)
        ]
        self._put(step, summary=Summary(value=points))

    def _put(self, step: int, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event  # type: ignore[attr-defined]

        self._writer.write_event(Event(step=step, wall_time=time_ns() / 1e9, **what))
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _screen(steps: int, start: int) -> Screen:
    console = Console(highlight=False)
    return Bar(console, steps, start) if console.is_interactive else Plain(steps)


class Bar:
    """For a terminal: a progress bar with the remaining time, above the latest numbers."""

    def __init__(self, console: Console, steps: int, start: int) -> None:
        left = TextColumn("{task.fields[left]}")
        columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(None), left)
        self._progress = Progress(*columns, expand=True)
        self._task = self._progress.add_task("", total=steps, completed=start, left="")
        self._pace = Pace(steps)
        self._latest: dict[str, str] = {}
        self._console = console
        self._live = Live(self, console=console, refresh_per_second=2)
        self._live.start()

    def __rich__(self) -> Group:
        lines = (Text(line, style="cyan") for line in [*self._latest.values()])
        return Group(self._progress, *lines)

    def write(self, part: str, step: int, values: Values) -> None:
        """Update the bar and the numbers.

        Args:
            part: "train" or "test".
            step: number of completed steps.
            values: the numbers by name.
        """
        self._latest = {**self._latest, part: f"{part}: {metrics_text(values)}"}
        left = self._pace.left(step)
        self._progress.update(self._task, completed=step, left=left)

    def say(self, sentence: str) -> None:
        """Show a sentence above the bar.

        Args:
            sentence: any text that can be printed.
        """
        self._console.print(sentence, markup=False)

    def close(self) -> None:
        """Stop updating, and leave the cursor below the bar."""
        self._live.stop()


class Plain:
    """Without a terminal: a line per evaluation, and one if there was none for a while."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._pace = Pace(steps)
        self._last = monotonic()

    def write(self, part: str, step: int, values: Values) -> None:
        """Show the numbers, unless a training line is not due yet.

        Args:
            part: "train" or "test".
            step: number of completed steps.
            values: the numbers by name.
        """
        left = self._pace.left(step)
        if part == TEST or monotonic() - self._last >= SILENCE:
            rest = f", {left}" if left else ""
            self.say(f"step {step:,} of {self._steps:,}, {part}: {metrics_text(values)}{rest}")

    def say(self, sentence: str) -> None:
        """Show a sentence.

        Args:
            sentence: any text that can be printed.
        """
        print(sentence, flush=True)
        self._last = monotonic()

    def close(self) -> None:
        """Do nothing."""


def metrics_text(values: Values) -> str:
    """Format numbers for people: ``loss 0.7000, accuracy 80.0%``.

    Args:
        values: by name.

    Returns:
        The text.
    """
    return ", ".join(
        WORDS[name].format(value) if name in WORDS else f"{name} {value:.4g}"
        for name, value in values.items()
    )


@dataclass
class Pace:
    """Estimates the remaining time from the first report on, which excludes compilation."""

    steps: int
    begun: tuple[int, float] | None = None

    def left(self, step: int) -> str:
        """Return the remaining time, or "" while it is unknown.

        Args:
            step: the number of steps that are done.

        Returns:
            Such as "0:01:30 left".
        """
        first, then = self.begun = self.begun or (step, monotonic())
        if step <= first:
            return ""
        seconds = (monotonic() - then) / (step - first) * max(self.steps - step, 0)
        return f"{timedelta(seconds=round(seconds))} left"
