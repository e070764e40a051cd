"""The page of the model zoo: what was measured, as Markdown."""

import statistics
from collections.abc import Sequence
from typing import Any

DECIDED = ("proven", "refuted")
HEADER = """\
# Model zoo

This page shows what jaxconv proves about public models of other libraries. The libraries are
installed with pip, and each model is passed to jaxconv as its library makes it. No weights are
downloaded, and no model is run.

{summary}

- **Status**: *proven*, all sizes are accepted; *refuted*, some sizes fail, and those in the column
  *accepts* are accepted; *tested*, little could be decided. Every size is decided, unless the model
  is in the section [Not decided](#not-decided), which gives the reason.
- **s**, **traces**: the seconds and the traces of `jaxconv.check`, the first check in its process.
- **Parameters**: those that `jaxconv.summary` counts; the library's own count in brackets if it
  differs.
- **Compared**: the number of sizes, around the borders of the verdict and at random, at which the
  verdict was compared with a trace of the model with numbers; and how many of them differed.
- **Field**: the part of the image that a neuron of the last layer sees.
"""
HOW = """
## How to measure it

```bash
python -m venv .venv-zoo && .venv-zoo/bin/pip install -e . &&
    .venv-zoo/bin/pip install --no-deps -r experiments/zoo/requirements.txt
.venv-zoo/bin/python -m experiments.zoo
```

The first command makes a separate environment, because some of the libraries are old. The second
writes this page and [experiments/results/zoo.json](../experiments/results/zoo.json). Each model has
its own process, with {limit:.0f} seconds for the proof and {memory:.0f} GB of memory at most.
`--only NAME` measures some models, and `--resume` keeps the rows of an earlier run. The models are
listed in `experiments/zoo/libraries/`.
"""


def write_page(report: dict[str, Any]) -> str:
    """Write the page.

    Args:
        report: as ``experiments/results/zoo.json`` has it.

    Returns:
        Markdown.
    """
    rows: list[dict[str, Any]] = report["models"]
    sections = [HEADER.format(summary=summarize(rows, report))]
    libraries = dict.fromkeys(row["library"] for row in rows)
    for library in libraries:
        own = [row for row in rows if row["library"] == library]
        sections.append(_section(library, own))
    sections.append(_undecided(rows))
    sections.append(report.get("tests_of_libraries", ""))
    sections.append(HOW.format(limit=report["limit"], memory=report["memory_gb"]))
    return "\n".join(section.rstrip() + "\n" for section in sections if section)


def summarize(rows: Sequence[dict[str, Any]], report: dict[str, Any]) -> str:
    """Say in a few sentences what was measured.

    Args:
        rows: of the models.
        report: with the versions and the machine.

    Returns:
        Sentences.
    """
    made = [row for row in rows if row["status"] not in ("not installed", "not made")]
    if not made:
        return "No model was measured."
    decided = [row for row in made if row.get("decided")]
    keras = [row for row in made if row["library"].startswith("keras")]
    seconds = sorted(row["seconds"] for row in made if "seconds" in row)
    late = [row for row in made if row["status"] == "timed out" or _ran_out(row)]
    counted = [row for row in made if row.get("parameters") is not None]
    equal = [row for row in counted if row["parameters"] == row["own_parameters"]]
    sizes, wrong = (sum(row.get(key, 0) for row in made) for key in ("compared", "wrong"))
    libraries = {row["library"] for row in made}
    text = (
        f"Of {len(made)} models of {len(libraries)} libraries, {_percent(decided, made)} are "
        "decided for all sizes"
    )
    if keras:
        text += f" (Keras: {_percent([r for r in keras if r.get('decided')], keras)})"
    text += (
        f". {sizes} sizes were compared with tracing, and {wrong or 'none'} differed. "
        f"{len(late) or 'None'} reached the limit of {report['limit']:.0f} seconds. "
    )
    if seconds:
        last = seconds[min(len(seconds) - 1, round(0.95 * len(seconds)))]
        text += (
            f"A check took {statistics.median(seconds):.1f} s (median) and {last:.1f} s "
            "(95th percentile). "
        )
    text += (
        "The number of parameters equals the library's own count for "
        f"{_percent(equal, made)} of the models."
    )
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    return f"{text}\n\nMeasured with {versions}, {report['machine']}."


def _percent(some: Sequence[Any], of: Sequence[Any]) -> str:
    return f"{100 * len(some) / len(of):.0f} %"


def _ran_out(row: dict[str, Any]) -> bool:
    return not row.get("decided") and "gave up after" in row.get("reason", "")


COLUMNS = (
    "model",
    "what it is",
    "status",
    "accepts",
    "s",
    "traces",
    "parameters",
    "compared",
    "field",
)


def _section(library: str, rows: Sequence[dict[str, Any]]) -> str:
    version = rows[0]["version"]
    title = f"## {library} {version}" if version else f"## {library}: not installed"
    lines = [title, "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    wrong = row.get("wrong", 0)
    compared = f"{row.get('compared', '')}" + (f", **{wrong} wrong**" if wrong else "")
    return [
        row["name"],
        row["about"],
        row["status"],
        _short(row.get("accepts", "")),
        f"{row['seconds']:.1f}" if "seconds" in row else "",
        str(row.get("traces", "")),
        _parameters(row),
        compared,
        row.get("field", "").partition(" at ")[0],
    ]


def _short(text: str, most: int = 60) -> str:
    text = text.replace("|", "or")
    return text if len(text) <= most else text[: most - 4] + " ..."


def _parameters(row: dict[str, Any]) -> str:
    ours, own = row.get("parameters"), row.get("own_parameters")
    if own is None:
        return ""
    if ours is None:
        return f"? ({own:,})"
    return f"{ours:,}" if ours == own else f"{ours:,} ({own:,})"


def _undecided(rows: Sequence[dict[str, Any]]) -> str:
    """The reasons of those that are not decided."""
    reasons = [
        f"- {row['library']} {row['name']}: {row['status']}. {row.get('reason', '')}"
        for row in rows
        if not row.get("decided") and row["status"] != "not installed"
    ]
    return "\n".join(["## Not decided", "", *reasons]) if reasons else ""
