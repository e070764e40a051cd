"""The results as plain data with medians and ratios, as a table for rich, and as a chart."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.bench.backends import OURS
from experiments.bench.machine import Roofline
from experiments.bench.tables import Workload
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
OUR_COLOUR, OTHER_COLOUR = "#d1495b", "#8d99ae"
TITLE = "Median time of a call, and how many times ours it is; shorter is faster"
COLUMNS = 3  # panels of the chart beside each other


def result(timings: Timings, peak: Roofline) -> dict[str, Any]:
    """Summarise one workload.

    Args:
        timings: its measurements.
        peak: the roofline of the machine.

    Returns:
        Plain data for JSON; ``rows`` has the backends, the fastest first.
    """
    workload = timings.workload
    ours = next((statistics.median(t.seconds) for t in timings.rows if t.backend == OURS), None)
    rows = [_row(timing, workload, ours, peak) for timing in timings.rows]
    return {
        "name": workload.name,
        "title": workload.title,
        "kind": workload.kind,
        "input": [*workload.x],
        "gflop": round(flops(workload) / 1e9, 3),
        "parameter_mb": round(parameter_bytes(workload) / 1e6, 3),
        "least_ms": {
            "operations_at_peak": round(flops(workload) / peak.gflops / 1e6, 4),
            "parameters_read_once": round(parameter_bytes(workload) / peak.read / 1e6, 4),
        },
        "rows": sorted(rows, key=lambda row: row["median_ms"]),
        "failures": timings.failures,
        "notes": timings.notes,
    }


def _row(timing: Timing, workload: Workload, ours: float | None, peak: Roofline) -> dict[str, Any]:
    """One backend; ``ours`` is the median of jaxconv in seconds."""
    median = statistics.median(timing.seconds)
    low = high = median
    if len(timing.seconds) > 1:
        low, _, high = statistics.quantiles(timing.seconds, n=4, method="inclusive")
    return {
        "peer": timing.backend,
        "median_ms": round(median * 1e3, 4),
        "quartiles_ms": [round(low * 1e3, 4), round(high * 1e3, 4)],
        "times_ours": ours and round(median / ours, 3),
        "images_per_second": round(workload.x[0] / median, 3),
        "roofline_share": round(flops(workload) / median / peak.gflops / 1e9, 4),
        "import_seconds": round(timing.import_seconds, 3),
        "build_seconds": round(timing.build_seconds, 3),
        "peak_mb": round(timing.peak_mb, 1),
        "error": timing.error,
        "seconds": [round(s, 7) for s in timing.seconds],
    }


def table(result: Result) -> "Table":
    """Lay out the results of one workload as a table.

    Args:
        result: of :func:`result`.

    Returns:
        A table for rich, with one row for each backend.
    """
    from rich.table import Table

    least = result["least_ms"]
    caption = (
        f"{result['gflop']:.4g} GFLOP, {least['operations_at_peak']:.4g} ms at the peak rate; "
        f"{result['parameter_mb']:.4g} MB of weights, "
        f"{least['parameters_read_once']:.3g} ms to read"
    )
    rows = Table(
        title=result["title"], caption=caption, title_justify="left", caption_justify="left"
    )
    rows.add_column(HEADINGS[0])
    for heading in HEADINGS[1:]:
        rows.add_column(heading, justify="right", no_wrap=True)
    for row in result["rows"]:
        rows.add_row(*_cells(row), style="bold" if row["peer"] == OURS else None)
    return rows


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
    """Draw bars for each workload.

    Args:
        results: of :func:`result`; workloads without rows are left out.

    Returns:
        A matplotlib figure. Bars show the time over that of jaxconv, or milliseconds if jaxconv was
        not timed.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = [result for result in results if result["rows"]]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    most = max(len(result["rows"]) for result in shown)
    size = (4.6 * columns, rows * (0.9 + 0.27 * most) + 0.5)
    layout = ConstrainedLayoutEngine(hspace=0.04, wspace=0.03)
    figure = Figure(figsize=size, facecolor="white", layout=layout)
    figure.suptitle(TITLE, x=0.01, ha="left", fontsize=12)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, result in zip(panels, shown, strict=False):
        _draw_bars(axes, result, most)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    return figure


def _draw_bars(axes: "Axes", result: Result, most: int) -> None:
    """One panel, as high as ``most`` bars need."""
    rows = result["rows"]
    ours = all(row["times_ours"] is not None for row in rows)
    lengths = [row["times_ours"] if ours else row["median_ms"] for row in rows]
    colours = [OUR_COLOUR if row["peer"] == OURS else OTHER_COLOUR for row in rows]
    bars = axes.barh([row["peer"] for row in rows], lengths, color=colours, height=0.72)
    texts = [f"{_digits(row['median_ms'], 3)} ms" for row in rows]
    if ours:
        texts = [f"{n:.2f}x   {text}" for n, text in zip(lengths, texts, strict=True)]
    axes.bar_label(bars, texts, padding=3, fontsize=8)
    axes.set_title(result["title"], loc="left", fontsize=9.5)
    axes.set_xlim(0, max(lengths) * 1.55)  # room for the labels
    axes.set_ylim(most - 0.5, -0.5)  # the fastest first, and bars as high in all panels
    axes.spines["left"].set_bounds(-0.5, len(rows) - 0.5)
    axes.tick_params(left=False, labelsize=8.5)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
