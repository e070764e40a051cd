"""What proofs are compared with: JAX's own tracing, one size after the other.

Shares no code with jaxconv: specs and promises are read here once more, by Python itself.
"""

import contextlib
import itertools
import re
import signal
import threading

import jax
import jax.numpy as jnp


def names_of(specs):
    """The names of sizes in specs, in the order of their first use."""
    words = re.findall(r"[a-z_]\w*", " ".join(specs))
    return tuple(dict.fromkeys(words))


def value(formula, point):
    """The number that a formula, such as ``(h+1)//2``, has at a point."""
    return eval(formula, {"max": max, "min": min}, dict(point))


def is_considered(network, point):
    """Whether a network is to be compared at a point: all sides are there, and where= holds."""
    sides = [value(axis, point) for spec in network.specs for axis in spec.split()]
    conditions = (network.where or "True").split(",")
    return (
        all(side >= 1 for side in sides)
        and max(point.values()) <= network.largest
        and all(value(condition.strip(), point) for condition in conditions)
    )


class TooLong(BaseException):
    """Tracing took too long. No program catches it."""


@contextlib.contextmanager
def at_most(seconds):
    """End with TooLong what takes longer, where the system can: in the main thread, on Unix."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() != threading.main_thread():
        yield
        return

    fired = []

    def stop(*_):
        fired.append(True)
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    # Again each second: an exception that is raised in a callback of the garbage collector is lost.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if fired:  # and something made another error of it
        raise TooLong


def subjaxprs(eqn):
    for param in eqn.params.values():
        for part in param if isinstance(param, tuple | list) else (param,):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield inner


def row_by_row(eqn, side):
    """Operands or results of a scan of which its body sees one row."""
    if eqn.primitive.name != "scan":
        return []
    inside = getattr(eqn.params["jaxpr"].jaxpr, side)
    pairs = zip(getattr(eqn, side), inside, strict=True)
    return [one for one, row in pairs if len(one.aval.shape) > len(row.aval.shape)]


def empty_maps(jaxpr):
    """The empty values of a trace, but for pieces that are only put beside a map, or scanned."""
    made = {var for eqn in jaxpr.eqns for var in eqn.outvars}
    read = {var for eqn in jaxpr.eqns for var in eqn.invars if not is_literal(var)}
    free = read_only_by(jaxpr, made, ["concatenate"], PIECES)
    rows = read_only_by(jaxpr, made & read, [], PIECES | ELEMENTWISE)
    for eqn in jaxpr.eqns:
        stacked = row_by_row(eqn, "outvars")
        for var in eqn.outvars:
            is_piece = eqn.primitive.name in PIECES or any(var is one for one in stacked)
            may_be_empty = (is_piece and var in free) or var in rows
            # JAX traces negative sides, but runs none.
            if min(getattr(var.aval, "shape", ()), default=1) < 1 and not may_be_empty:
                yield var
        for inner in subjaxprs(eqn):
            yield from empty_maps(inner)


def is_literal(var):
    return hasattr(var, "val")


def read_only_by(jaxpr, values, readers, passing):
    """Those of some values that are not returned, and only read by some operations.

    Args:
        jaxpr: the trace.
        values: the values.
        readers: names of the operations; scans may read the values row by row, too.
        passing: names of operations whose results must be such values.
    """
    found = values.difference(var for var in jaxpr.outvars if not is_literal(var))
    for eqn in reversed(jaxpr.eqns):  # the readers of a value before the value
        name = eqn.primitive.name
        if name in readers or (name in passing and found.issuperset(eqn.outvars)):
            continue
        scanned = row_by_row(eqn, "invars")
        found.difference_update(
            var
            for var in eqn.invars
            if not is_literal(var)
            and sum(var is one for one in eqn.invars) > sum(var is one for one in scanned)
        )
    return found


PIECES = set(
    """add broadcast_in_dim concatenate convert_element_type copy dynamic_slice iota mul neg reshape
    rev slice squeeze sub transpose""".split()  # noqa: SIM905
)
ELEMENTWISE = set(
    """abs cos div exp exp2 expm1 integer_pow log log1p logistic max min pow rsqrt select_n sign sin
    sqrt square tanh""".split()  # noqa: SIM905
)


def outcome(network, point):
    """The shapes returned for one size; None if that fails, a map is empty or a promise broken.

    A number in a result has the shape of a scalar. MemoryError and TooLong say nothing.
    """
    args = [
        jax.ShapeDtypeStruct([value(axis, point) for axis in spec.split()], jnp.float32)
        for spec in network.specs
    ]
    try:
        closed, result = jax.make_jaxpr(network.fn, return_shape=True)(*args)
    except MemoryError:
        raise
    except Exception:
        return None
    if any(empty_maps(closed.jaxpr)):
        return None
    shapes = jax.tree.map(lambda leaf: leaf.shape, result)
    kept = network.returns is None or keeps(network.returns, shapes, point)
    return shapes if kept else None


def keeps(promise, shape, point):
    """Whether a shape is what was promised."""
    if not is_shape(shape):
        return False
    axes = promise.split()
    if "..." in axes:
        at = axes.index("...")
        axes[at : at + 1] = ["_"] * (len(shape) - len(axes) + 1)
    return len(axes) == len(shape) and all(
        axis == "_" or value(axis, point) == n for axis, n in zip(axes, shape, strict=True)
    )


def is_shape(shapes):
    """Whether this is the shape of one array, not a tree of them."""
    return type(shapes) is tuple and all(not isinstance(n, tuple | list | dict) for n in shapes)


def claimed(verdict, point):
    """The shapes that a verdict's formulas give at a point."""
    outputs = verdict.outputs.at(**point) if hasattr(verdict.outputs, "cases") else verdict.outputs
    return jax.tree.map(lambda n: n if isinstance(n, int) else n.at(**point), outputs)


def disagreement(network, verdict, point):
    """How a verdict differs from what tracing shows for one size; None where it does not."""
    want, accepted = outcome(network, point), verdict.accepts.contains(**point)
    if accepted != (want is not None):
        return f"it {'accepts' if accepted else 'refuses'} these sizes, but tracing gives {want}"
    if want is None:
        blamed = sum(failure.sizes.contains(**point) for failure in verdict.failures)
        return None if blamed == 1 else f"{blamed} failures blame these sizes, which must be one"
    found = claimed(verdict, point)
    return None if found == want else f"its formulas give {found}, but tracing gives {want}"


def disagreements_within(seconds, network, verdict, point):
    """One disagreement, or None where there is none, in a list; no entry if it takes too much."""
    with contextlib.suppress(MemoryError, TooLong):
        with at_most(seconds):
            found = disagreement(network, verdict, point)
        return [found]
    return []


def grid(names, about=200):
    """All small sizes: batches of 1 and 3, and the same range for each of the others."""
    sides = len(names) - 1
    most = max(3, int((about / 2) ** (1 / sides))) if sides else 10
    ranges = [(1, 3) if sides else range(1, most + 1)] + [range(1, most + 1)] * sides
    return [dict(zip(names, sizes, strict=True)) for sizes in itertools.product(*ranges)]
