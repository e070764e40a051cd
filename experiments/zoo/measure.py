"""Measure one model: its proof, its parameters, and the sizes at which tracing agrees."""

import time
import traceback
import warnings
from typing import Any

import jaxconv as jc
from experiments import soundness
from experiments.zoo.record import Model, Subject
from tests.support.networks import Network
from tests.support.oracle import disagreements_within

SIZES = 6  # that are compared with tracing
COMPARING_SECONDS = 20.0  # after which no further size is traced
POINT_SECONDS = 10.0  # a size whose tracing takes longer is not compared

Row = dict[str, Any]


def measure(model: Model, timeout: float) -> Row:
    """Measure one model.

    Args:
        model: of the zoo.
        timeout: seconds for its proof.

    Returns:
        A row of results, for JSON.
    """
    row: Row = {
        "name": model.name,
        "library": model.library,
        "version": model.version,
        "about": model.about,
        "where": model.where,
    }
    if model.version is None:
        return row | {"status": "not installed"}
    try:
        subject = model.make()
    except Exception as error:
        return row | {"status": "not made", "reason": _sentence(error)}
    row["specs"] = list(subject.specs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row |= _proof(model, subject, timeout)
        row |= _counts(model, subject)
    return row


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _proof(model: Model, subject: Subject, timeout: float) -> Row:
    start = time.perf_counter()
    try:
        verdict = jc.check(
            subject.fn, *subject.args, where=model.where, timeout=timeout, **subject.named
        )
    except Exception as error:
        reason, text = _sentence(error), traceback.format_exc()
        return {"status": "crashed", "decided": False, "reason": reason, "traceback": text}
    seconds = time.perf_counter() - start
    decided = verdict.untried.is_empty() and (verdict.tried is None or verdict.tried.is_empty())
    return {
        "status": verdict.status,
        "decided": decided,
        "accepts": str(verdict.accepts),
        "outputs": str(verdict.outputs),
        "seconds": round(seconds, 2),
        "traces": verdict.runs,
        "failures": [f"{failure.where} {failure.message}" for failure in verdict.failures],
        **({} if decided else {"reason": "; ".join(verdict.notes)}),
        **_compared(model, subject, verdict),
    }


def _compared(model: Model, subject: Subject, verdict: jc.Verdict) -> Row:
    """Trace with numbers at sizes around the borders of what is accepted, and at random ones."""
    network = Network(subject.numeric, subject.specs, None, (), model.where, 1100, (32, 224))
    results: list[tuple[dict[str, int], str | None]] = []
    until = time.monotonic() + COMPARING_SECONDS
    points = [dict(model.at), *soundness.points(verdict, network, 0, SIZES)]
    for point in points:
        left = until - time.monotonic()
        if left <= 0 or verdict.untried.contains(**point):
            continue
        found = disagreements_within(min(POINT_SECONDS, left), network, verdict, point)
        results += [(point, text) for text in found]
    wrong = [[point, text] for point, text in results if text]
    return {"compared": len(results), "wrong": len(wrong), "disagreements": wrong}


def _counts(model: Model, subject: Subject) -> Row:
    """The parameters, and the field of the last layer that has one."""
    where = " and ".join(f"{name} == {size}" for name, size in model.at.items())
    try:
        table = jc.summary(subject.fn, *subject.args, where=where, **subject.named)
    except Exception as error:
        own = {"own_parameters": subject.parameters, "parameters": None}
        return own | {"summary_error": _sentence(error)}
    fields = [row.field for row in table.rows if row.field is not None]
    return {
        "own_parameters": subject.parameters,
        "parameters": table.parameters,
        "field": str(fields[-1]) if fields else "",
    }
