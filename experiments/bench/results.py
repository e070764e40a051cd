"""Results: medians and shares as data, as a table for rich, and as a chart."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.bench.backends import OURS
from experiments.bench.machine import Roofline
from experiments.bench.timing import Timing, Timings
from experiments.bench.workloads import flops, parameter_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

Result = Mapping[str, Any]
HEADINGS = ("", "median ms", "quartiles", "times ours", "images/s", "roofline", "build s",
            "peak MB", "error")  # fmt: skip
LEGEND = (
    "times ours: median divided by ours; more than 1 is slower than jaxconv",
    "roofline: operations of a direct convolution, including padding, divided by time and peak "
    "rate; Winograd's algorithm needs fewer, so more than 100 % is possible",
    "build: from the imports to the first result: read weights, compile, run once",
    "peak: peak memory of the process",
    "error: relative to float64; for training, of the change that one step makes",
)
ACCENT, PLAIN = "#d1495b", "#8d99ae"
TITLE = "Median time of a call, and its ratio to jaxconv's; shorter is faster"
COLUMNS = 3  # of panels in the chart


def result(timings: Timings, peak: Roofline) -> dict[str, Any]:
    """Return one workload as plain data, the fastest backend first."""
    work = timings.work
    base = next((t for t in timings.found if t.backend == OURS), None)
    rows = [_row(timing, timings, base, peak) for timing in timings.found]
    return {
        "name": work.name,
        "title": work.title,
        "kind": work.kind,
        "input": [*work.x],
        "gflop": round(flops(work) / 1e9, 3),
        "parameter_mb": round(parameter_bytes(work) / 1e6, 3),
        "least_ms": {
            "operations_at_peak": round(flops(work) / peak.gflops / 1e6, 4),
            "parameters_read_once": round(parameter_bytes(work) / peak.read / 1e6, 4),
        },
        "rows": sorted(rows, key=lambda row: row["median_ms"]),
        "failures": timings.failures,
        "notes": timings.notes,
    }


def _row(timing: Timing, timings: Timings, base: Timing | None, peak: Roofline) -> dict[str, Any]:
    median = statistics.median(timing.seconds)
    ours = statistics.median(base.seconds) if base else None
    low, high = _quartiles(timing.seconds)
    return {
        "peer": timing.backend,
        "median_ms": round(median * 1e3, 4),
        "quartiles_ms": [round(low * 1e3, 4), round(high * 1e3, 4)],
        "times_ours": ours and round(median / ours, 3),
        "images_per_second": round(timings.work.x[0] / median, 3),
        "roofline_share": round(flops(timings.work) / median / peak.gflops / 1e9, 4),
        "import_seconds": round(timing.import_seconds, 3),
        "build_seconds": round(timing.build_seconds, 3),
        "peak_mb": round(timing.peak_mb, 1),
        "error": timing.error,
        "seconds": [round(s, 7) for s in timing.seconds],
    }


def _quartiles(seconds: Sequence[float]) -> tuple[float, float]:
    if len(seconds) < 2:
        return seconds[0], seconds[0]
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return low, high


def table(found: Result) -> "Table":
    """Return the table of a workload."""
    from rich.table import Table

    least = found["least_ms"]
    caption = (
        f"{found['gflop']:.4g} GFLOP, {least['operations_at_peak']:.4g} ms at the peak rate; "
        f"{found['parameter_mb']:.4g} MB of weights, {least['parameters_read_once']:.3g} ms to read"
    )
    made = Table(title=found["title"], caption=caption, title_justify="left",
                 caption_justify="left")  # fmt: skip
    made.add_column(HEADINGS[0])
    for heading in HEADINGS[1:]:
        made.add_column(heading, justify="right", no_wrap=True)
    for row in found["rows"]:
        made.add_row(*_cells(row), style="bold" if row["peer"] == OURS else None)
    return made


def _cells(row: Result) -> tuple[str, ...]:
    low, high = row["quartiles_ms"]
    return (
        row["peer"],
        _digits(row["median_ms"]),
        f"{_digits(low)} to {_digits(high)}",
        "-" if row["times_ours"] is None else f"{row['times_ours']:.2f}",
        _digits(row["images_per_second"]),
        f"{row['roofline_share']:.0%}",
        f"{row['build_seconds']:.1f}",
        f"{row['peak_mb']:,.0f}",
        f"{row['error']:.0e}",
    )


def _digits(number: float, digits: int = 4) -> str:
    """Round a number to some digits, without an exponent."""
    if number >= 10 ** (digits - 1):
        return f"{number:,.0f}"
    return f"{number:#.{digits}g}"


def chart(results: Sequence[Result]) -> "Figure":
    """Draw bars for each workload: times relative to ours, or milliseconds if ours are missing."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = [found for found in results if found["rows"]]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    most = max(len(found["rows"]) for found in shown)
    size = (4.6 * columns, rows * (0.9 + 0.27 * most) + 0.5)
    layout = ConstrainedLayoutEngine(hspace=0.04, wspace=0.03)
    figure = Figure(figsize=size, facecolor="white", layout=layout)
    figure.suptitle(TITLE, x=0.01, ha="left", fontsize=12)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, found in zip(panels, shown, strict=False):
        _draw(axes, found, most)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    return figure


def _draw(axes: "Axes", found: Result, most: int) -> None:
    rows = found["rows"]
    ours = all(row["times_ours"] is not None for row in rows)
    lengths = [row["times_ours"] if ours else row["median_ms"] for row in rows]
    colours = [ACCENT if row["peer"] == OURS else PLAIN for row in rows]
    bars = axes.barh([row["peer"] for row in rows], lengths, color=colours, height=0.72)
    texts = [f"{_digits(row['median_ms'], 3)} ms" for row in rows]
    if ours:
        texts = [f"{n:.2f}x   {text}" for n, text in zip(lengths, texts, strict=True)]
    axes.bar_label(bars, texts, padding=3, fontsize=8)
    axes.set_title(found["title"], loc="left", fontsize=9.5)
    axes.set_xlim(0, max(lengths) * 1.55)  # room for the labels
    axes.set_ylim(most - 0.5, -0.5)  # the fastest first, and bars as high in all panels
    axes.spines["left"].set_bounds(-0.5, len(rows) - 0.5)
    axes.tick_params(left=False, labelsize=8.5)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
