"""Prove for all sizes at once what a function accepts and returns."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import islpy as isl
import jax
import numpy as np

from jaxconv.adapters.call import (
    Call,
    is_spec,
    read_call,
    require_arguments,
    require_callable,
)
from jaxconv.compat import require_supported_jax
from jaxconv.errors import Diagnostic, ValidationError, raises_shape_error, shown
from jaxconv.prover.conclude import conclude
from jaxconv.prover.confirm import sample_points
from jaxconv.prover.contract import MOST_CASES, proofs_of
from jaxconv.prover.explore import TIMEOUT, Exploration
from jaxconv.prover.returns import dtype_of
from jaxconv.prover.subject import Subject, seldom_collected
from jaxconv.prover.terms import ProofCase
from jaxconv.prover.verdict import Verdict, combined, point_text
from jaxconv.source import definition
from jaxconv.symbolic.domains import domain_of, without_empty_sides
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.spec_errors import SpecError, word_error
from jaxconv.symbolic.specs import ANY, REST, Spec, joined_conditions, parse_spec

LONGEST = 1e9  # seconds; no check takes longer
MOST_OTHERS = 3  # sizes for which parameters are made only to compare their shapes


def check(
    fn: Any,
    *args: Any,
    returns: Any = None,
    where: str | None = None,
    timeout: float = TIMEOUT,
    **named: Any,
) -> Verdict:
    """Prove, for every size at once, what a function accepts and returns.

    The function is traced, never run: it needs no data and no device.

    Args:
        fn: any JAX function; a model of Flax NNX, Linen, Haiku, Equinox or Keras, or a method of
            one. A model of Linen, Haiku or Keras without parameters gets them as its library
            makes them, as shapes.
        *args: its arguments: specs such as ``"b h w 3"`` or ``"b h w 3:bfloat16"``, arrays,
            ShapeDtypeStructs, and pytrees of them. A name is any size of at least 1, the same
            wherever it occurs. None are needed for a function with a :func:`contract`. Models,
            numbers, None and functions reach ``fn`` as they are, and so do texts that are marked
            with :func:`static`.
        returns: what it must return, in the structure of the result: ``"b 1000"``, with formulas
            of the names, ``_`` for any size and ``...`` for any number of axes.
        where: the sizes to consider, such as ``"h >= 32 and w == h"``.
        timeout: seconds, after which what is left is not decided.
        **named: its keyword arguments, likewise, such as ``train=False``. A text of one word is
            no spec here, and neither is one for a parameter whose default is a text.

    Returns:
        The verdict.

    Raises:
        SpecError: a spec or a condition cannot be read.
        ShapeError: what is checked cannot be called with these arguments.

    Example:
        >>> import jaxconv as jc
        >>> print(jc.check(jc.max_pool, "b h w c", returns="b h//2 w//2 c", where="h >= 2, w >= 2"))
        proven: accepts h >= 2, w >= 2, returns (b, h//2, w//2, c)
          note: a window does not reach the end of its map, first for h = 2, w = 3; to use all,
          pad to sizes with h and w multiples of 2, or crop to them.
    """
    if not args and (calls := proofs_of(fn, named)):
        return check_calls(calls, returns=returns, where=where, timeout=timeout)
    return conclude(
        explore_sizes(fn, *args, returns=returns, where=where, timeout=timeout, **named)
    )


def check_calls(
    calls: Sequence[ProofCase],
    returns: Any = None,
    where: str | None = None,
    timeout: float = TIMEOUT,
) -> Verdict:
    """Prove the calls of one function, and make one verdict of them.

    Args:
        calls: as :func:`jaxconv.prover.contract.proofs_of` lists them.
        returns: as for :func:`check`.
        where: as for :func:`check`.
        timeout: as for :func:`check`, for all calls together.

    Returns:
        The verdict.

    Raises:
        SpecError: a spec or a condition cannot be read.
        ShapeError: what is checked cannot be called with these arguments.
    """
    verdicts = []
    until = time.monotonic() + raises_shape_error("check")(seconds)(timeout)
    for call in calls[:MOST_CASES]:
        condition = joined_conditions(call.where, where)
        left = max(until - time.monotonic(), 0)
        exploration = explore_sizes(
            call.fn, *call.args, returns=returns, where=condition, timeout=left
        )
        verdicts.append((call.note, conclude(exploration)))
    return combined(verdicts, is_cut=len(calls) > MOST_CASES)


@seldom_collected()
def explore_sizes(
    fn: Any,
    *args: Any,
    returns: Any = None,
    where: str | None = None,
    timeout: float = TIMEOUT,
    counts_turns: bool = False,
    joins_programs: bool = True,
    **named: Any,
) -> Exploration:
    """Do what :func:`check` does, and keep the traces.

    Args:
        fn: as for :func:`check`.
        *args: as for :func:`check`.
        returns: as for :func:`check`.
        where: as for :func:`check`.
        timeout: as for :func:`check`.
        counts_turns: whether each trace has all turns of a loop over a size.
        joins_programs: whether a trace may stand for sizes for which JAX runs different programs.
        **named: as for :func:`check`.

    Returns:
        The results of the traces.

    Raises:
        SpecError: a spec or a condition cannot be read.
        ShapeError: what is checked cannot be called with these arguments.
        UnsupportedJaxError: the installed JAX differs from what proofs rely on.
    """
    require_supported_jax()
    timeout = raises_shape_error("check")(seconds)(timeout)
    origin = definition(fn)
    calls = [] if args else proofs_of(fn, named)
    if calls:
        fn, args, _, condition = calls[0]
        where, named = joined_conditions(condition, where), {}
    raises_shape_error("check")(require_callable)(fn, completes=True)
    raises_shape_error("check")(require_arguments)(fn, args, named)
    call = raises_shape_error("check")(read_call)(fn, args, named)
    results = jax.tree.map(lambda x: parse_spec(x) if isinstance(x, str) else x, returns)
    specs, expected = call.specs(), jax.tree.leaves(results, is_leaf=is_spec)
    names = _names_of(specs, expected)
    domain = without_empty_sides(domain_of(names, where), specs)
    made_for = None
    if call.complete is not None:
        made_for = completed_call(call, call.complete, domain)
        call = made_for.call
    subject = Subject(call.fn, origin, call.arguments, results)
    subject.joins_programs = joins_programs
    if counts_turns:
        subject.counted_loops = None
    exploration = Exploration(subject, domain, timeout)
    exploration.run()
    subject.notes += _notes_on_arguments(exploration, specs, made_for)
    return exploration


def _names_of(specs: Sequence[Spec], expected: Sequence[Any]) -> list[str]:
    """The names of all sizes; specs that cannot be used are refused."""
    for leaf in expected:
        if not is_spec(leaf):
            wrong = f"returns= has {shown(leaf)}, which is not a spec."
            raise SpecError(f'{wrong}\n  Fix: write it as "b 10".')
    for spec in (*specs, *expected):
        dtype_of(spec)  # raises SpecError where the name is not that of a dtype
    for spec in specs:
        if unnamed := [axis for axis in spec.axes if axis in (ANY, REST)]:
            wrong = "An argument has _ or ... as a size."
            raise word_error(wrong, spec.text, str(unnamed[0]), "name its sizes, such as b h w.")
    names = list(dict.fromkeys(name for spec in specs for name in spec.names()))
    for spec in expected:
        if unknown := [name for name in spec.names() if name not in names]:
            raise word_error(
                f"returns= names {unknown[0]}, but the arguments have {', '.join(names)}.",
                spec.text,
                unknown[0],
                "use the names of the arguments, or _ for any size.",
            )
    return names


class CompletedCall(NamedTuple):
    """A call of a model with the parameters that its library makes for sizes that people use.

    Attributes:
        call: with parameters; where none can be made, without, so that each trace tries again, and
            the errors belong to the verdict.
        complete: makes a call that has them, for a number for each size.
        points: the sizes that the parameters are made for, then others.
    """

    call: Call
    complete: Callable[[dict[str, int]], Call]
    points: Sequence[dict[str, int]]

    def notes(self, accepted: Sequence[SizeSet]) -> list[str]:
        """Say which sizes the parameters are made for, where they depend on these.

        Args:
            accepted: the sizes that the model accepts with them; where other sizes that people use
                are among them, nothing is said.
        """
        others = self.points[1:][:MOST_OTHERS]
        if any(sizes.contains(**point) for sizes in accepted for point in others):
            return []
        for point in others:
            with contextlib.suppress(Exception):  # of the user's code: it may take other sizes
                if _parameter_shapes(self.complete(point)) == _parameter_shapes(self.call):
                    return []
                return [f"the parameters are made for {point_text(self.points[0])}"]
        return []


def completed_call(
    call: Call, complete: Callable[[dict[str, int]], Call], domain: isl.Set
) -> CompletedCall:
    """Give a model the parameters that its library makes for sizes that people use.

    Args:
        call: of a model that lacks them.
        complete: makes a call that has them, for a number for each size.
        domain: the sizes to consider.
    """
    points = [SizeSet(point).smallest() for point in sample_points(domain)]
    # Those of ordinary images come first.
    points.sort(key=lambda p: -max((n for n in p.values() if n <= 224), default=0))
    for number, point in enumerate(points):
        with contextlib.suppress(Exception):  # of the user's code: it may take other sizes
            return CompletedCall(complete(point), complete, points[number:])
    return CompletedCall(call, complete, ())


def _parameter_shapes(call: Call) -> list[Any]:
    return [leaf.shape for leaf in jax.tree.leaves(call.arguments[0])]


def _notes_on_arguments(
    exploration: Exploration, specs: Sequence[Spec], made_for: CompletedCall | None
) -> list[str]:
    """What may be the reason where sizes are refused."""
    notes = []
    if made_for is not None and (exploration.refusals or exploration.open_regions):
        notes += made_for.notes([SizeSet(region.sizes) for region in exploration.regions])
    if not exploration.regions:
        words = [one.text for one in specs if one.text.isidentifier() and len(one.text) > 1]
        notes += [f'"{word}" is the spec of one axis; a text is static("{word}")' for word in words]
    return notes


def seconds(timeout: Any) -> float:
    """Read a time limit.

    Args:
        timeout: what was passed.

    Raises:
        ValidationError: not a number of at least 0.
    """
    is_number = isinstance(timeout, int | float | np.number) and not isinstance(timeout, bool)
    if is_number and not isinstance(timeout, np.complexfloating) and timeout >= 0:
        return float(min(timeout, LONGEST))
    wrong = f"timeout is {shown(timeout)}, but must be a number of seconds, 0 or more."
    raise ValidationError([Diagnostic(wrong, "pass timeout=60.")])
