"""What one neuron of a layer sees of the map before it."""

from collections.abc import Iterable

import numpy as np

from jaxconv.analysis.network import Layer
from jaxconv.compat import JaxprEqn
from jaxconv.jaxpr.interpreter import FlowKind, control_flow
from jaxconv.jaxpr.patch_reader import PatchReader
from jaxconv.jaxpr.primitives import record_of
from jaxconv.jaxpr.primitives.reduce_window import POOLINGS


def around(calls: Iterable[JaxprEqn]) -> str:
    """Name the loop or branch because of which a variable has no single value.

    Args:
        calls: the equations around the value.

    Returns:
        For example "a scan"; empty where nothing does.
    """
    for flow in filter(None, map(control_flow, calls)):
        if flow.kind is FlowKind.BRANCHES:
            return "a branch"
        if flow.kind is FlowKind.LOOP:
            return "a scan" if flow.condition is None else "a while loop"
    return ""


def pooled(kind: str, patch: np.ndarray) -> float:
    """Reduce a patch as a pool does.

    Args:
        kind: "max", "min" or "sum".
        patch: the numbers of its window.
    """
    return float(POOLINGS[kind].reduce(patch))


def reader(layer: Layer) -> PatchReader | None:
    """Make the reader of the patches of a layer's neurons.

    Args:
        layer: any layer of a network.

    Returns:
        None where its neurons have no patch of their own: those of inputs, joins and reductions, of
        products of two maps, and of the gradient of a grouped kernel.
    """
    patch = record_of(layer.eqn).patch if layer.eqn else None
    return patch(layer.eqn, layer.fixed) if layer.eqn and patch else None
