"""Run a function for all sizes at once, and prove what it accepts and returns.

A run traces the function under a domain of sizes. An order that holds on a part of it splits the
domain; an equality that does is answered False and remembered, and the domain is split on it only
if the run fails. What can be read off a finished trace needs no further run: maps that would be
empty, reshapes that do not fit and promises about the result are sets of sizes, cut out in turn.
"""

import functools
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import islpy as isl
import jax
import numpy as np
from flax import nnx
from jax.extend import core

from jaxconv.shapes.contracts import (
    ANY,
    REST,
    Formula,
    Spec,
    SpecError,
    parse_spec,
)
from jaxconv.shapes.sets import SizeSet
from jaxconv.shapes.sizes import (
    Asked,
    Place,
    Size,
    Split,
    Trial,
    Undecided,
    domain_of,
    equality,
    is_inside_jax,
    moved,
    unite,
)

RUNS = 300  # traces after which the rest is tested, not proven
SAMPLES = 12  # sizes tried where nothing can be proven


@dataclass(frozen=True)
class Failure:
    """Why some sizes are not accepted.

    Attributes:
        sizes: all of them.
        smallest: the first of them.
        where: ``file.py:88`` of the user's code; empty where no line is known.
        message: a sentence.
    """

    sizes: SizeSet
    smallest: dict[str, int]
    where: str
    message: str

    def __str__(self) -> str:
        first = ", ".join(f"{name} = {size}" for name, size in self.smallest.items())
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.message}\n    for {self.sizes}; first for {first}"


@dataclass(frozen=True)
class Verdict:
    """What :func:`check` found.

    Attributes:
        status: "proven": all sizes asked about are accepted, and return what was promised;
            "refuted": some are not; "tested": some sizes could only be tried, not proven.
        accepts: exactly the sizes accepted; of those only tried, the ones that worked.
        outputs: the shapes returned, formulas over ``accepts``, in the structure of the result;
            None where nothing is accepted.
        failures: why the rest fails.
        untried: sizes about which nothing is known.
        notes: what could not be proven and why.
        runs: how many traces it took.
    """

    status: str
    accepts: SizeSet
    outputs: Any
    failures: tuple[Failure, ...]
    untried: SizeSet
    notes: tuple[str, ...]
    runs: int

    @property
    def ok(self) -> bool:
        """Whether every size asked about is proven to be accepted."""
        return self.status == "proven"

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "status": self.status,
            "accepts": str(self.accepts),
            "outputs": str(self.outputs),
            "failures": [
                {
                    "sizes": str(failure.sizes),
                    "smallest": failure.smallest,
                    "where": failure.where,
                    "message": failure.message,
                }
                for failure in self.failures
            ],
            "untried": str(self.untried),
            "notes": list(self.notes),
            "runs": self.runs,
        }

    def __str__(self) -> str:
        lines = [f"{self.status}: accepts {self.accepts}, returns {self.outputs}"]
        lines += [f"  fails at {failure}" for failure in self.failures]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def check(fn: Callable[..., Any], *args: Any, returns: Any = None, where: str = "") -> Verdict:
    """Prove, for every size at once, what a function accepts and returns.

    The function is traced, never run: it needs no data and no device.

    Args:
        fn: any function of JAX, or a model in Flax, Equinox, Haiku, ...
        *args: its arguments: specs such as ``"b h w 3"`` or ``"b h w 3:bfloat16"``, arrays,
            ShapeDtypeStructs, and pytrees of them. A name is any size of at least 1, the same
            wherever it stands.
        returns: what it must return, in the structure of the result: ``"b 1000"``, with formulas
            of the names, ``_`` for any size and ``...`` for any axes.
        where: the sizes asked about, such as ``"h >= 32 and w == h"``.

    Returns:
        The verdict.

    Raises:
        SpecError: a spec, a promise or a condition that cannot be read.

    Example:
        >>> import jaxconv as jc
        >>> print(jc.check(jc.max_pool, "b h w c", returns="b h//2 w//2 c", where="h >= 2, w >= 2"))
        proven: accepts h >= 2, w >= 2, returns (b, h//2, w//2, c)
    """
    fn, args = _pure(fn, args)
    template = jax.tree.map(_read, args)
    names = _names(template)
    promise = None if returns is None else jax.tree.map(parse_spec, returns)
    domain = domain_of(names, where)
    search = _Search(fn, template, promise)
    search.run(domain)
    return search.verdict(domain)


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(n, int | Size) for n in value)


def _pure(fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], Any]:
    """Make a Flax module's state an argument: it may be abstract, and change while tracing."""
    if not isinstance(fn, nnx.Module):
        return fn, args
    definition, state = nnx.split(fn)
    return lambda state, *args: nnx.merge(definition, state)(*args), (state, *args)


def _read(leaf: Any) -> Any:
    return parse_spec(leaf) if isinstance(leaf, str) else leaf


def _specs(template: Any) -> list[Spec]:
    leaves = jax.tree.leaves(template, is_leaf=lambda x: isinstance(x, Spec))
    return [leaf for leaf in leaves if isinstance(leaf, Spec)]


def _names(template: Any) -> list[str]:
    found: dict[str, None] = {}
    for spec in _specs(template):
        if {ANY, REST} & {axis for axis in spec.axes if isinstance(axis, str)}:
            raise SpecError("An argument has _ or ... as a size.\n  Fix: name its sizes, as b h w.")
        found |= dict.fromkeys(spec.names())
    return list(found)


@dataclass
class _Piece:
    """Sizes for which one run succeeded, and what it returned there."""

    trial: Trial
    sizes: isl.Set
    shapes: Any


@dataclass
class _Search:
    fn: Callable[..., Any]
    template: Any
    promise: Any
    pieces: list[_Piece] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    open: list[isl.Set] = field(default_factory=list)
    tried: list[isl.Set] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    runs: int = 0

    def run(self, domain: isl.Set) -> None:
        """Work through domains until each is accepted, refused, or open."""
        work = [domain]
        while work:
            domain = work.pop().coalesce()
            if domain.is_empty():
                continue
            if self.runs >= RUNS:
                self.notes.append(f"gave up after {RUNS} traces")
                self.open += [domain, *work]
                break
            self.runs += 1
            work += self._try(Trial(domain))
        for domain in self.open:
            self._sample(SizeSet(domain))

    def _try(self, trial: Trial) -> list[isl.Set]:
        """One run: the parts of its domain that must be run again."""
        try:
            closed, result = self._trace(trial)
        except Split as split:
            return _halves(trial.domain, split.condition)
        except Exception as error:
            return self._failed(trial, error)
        self._finished(trial, closed, result)
        return []

    def _trace(self, trial: Trial) -> tuple[Any, Any]:
        sizes = {name: trial.size(name) for name in trial.names()}
        args = jax.tree.map(
            lambda leaf: _struct(leaf, sizes), self.template, is_leaf=lambda x: isinstance(x, Spec)
        )
        return jax.make_jaxpr(self.fn, return_shape=True)(*args)

    def _failed(self, trial: Trial, error: Exception) -> list[isl.Set]:
        at = _place_of(error)
        asked, doubts = _relevant(trial, at), _doubts(trial, error)
        if asked:
            conditions = [a.condition for a in asked]
            hopeless = None if doubts else self._hopeless(trial.domain, conditions, at)
            if hopeless is None:
                return _halves(trial.domain, conditions[-1])
            self._refuse(hopeless, _line_of(error), _sentence(error))
            return [trial.domain.subtract(hopeless)]
        if doubts:
            self._leave_open(trial.domain, doubts)
        else:
            self._refuse(trial.domain, _line_of(error), _sentence(error))
        return []

    def _hopeless(self, domain: isl.Set, asked: Sequence[isl.Set], at: Place) -> isl.Set | None:
        """Where an operation fails although as many of its equalities hold as can hold at once.

        An equality only makes more things legal, so where fewer hold it fails too. None where
        it does not fail, or not there.
        """
        best, others = domain, isl.Set.empty(domain.space)
        for condition in reversed(asked):
            both = best.intersect(condition)
            if both.is_empty():
                others = others.union(condition)
            else:
                best = both
        self.runs += 1
        trial = Trial(best.coalesce())
        try:
            self._trace(trial)
        except Split:
            return None
        except Exception as error:
            settled = not _relevant(trial, at) and not _doubts(trial, error)
            if _place_of(error) == at and settled:
                return domain.subtract(others)
        return None

    def _leave_open(self, sizes: isl.Set, doubts: Sequence[str]) -> None:
        self.notes += [f"not decided: {doubt}" for doubt in dict.fromkeys(doubts)]
        self.open.append(sizes)

    def _refuse(self, sizes: isl.Set, where: str, message: str) -> None:
        """Note why sizes fail, together with others that fail for the same reason."""
        if sizes.is_empty():
            return
        found = SizeSet(sizes)
        new = Failure(found, found.smallest(), where, message)
        for i, known in enumerate(self.failures):
            if _reason(known) == _reason(new):
                both = known.sizes | found
                first = known if known.smallest == both.smallest() else new
                self.failures[i] = replace(first, sizes=both)
                return
        self.failures.append(new)

    def _finished(self, trial: Trial, closed: Any, result: Any) -> None:
        """Cut what a finished trace shows to fail out of its domain; keep the rest."""
        sizes = trial.domain
        try:
            for eqn in _equations(closed.jaxpr):
                line = _line_of_equation(eqn)
                sizes = self._keep(sizes, line, _no_empty_map(trial, eqn))
                if eqn.primitive.name == "reshape" and not sizes.is_empty():
                    sizes = self._keep(sizes, line, _all_numbers(Trial(sizes), eqn))
            shapes = jax.tree.map(lambda leaf: tuple(leaf.shape), result)
            if self.promise is not None:
                conditions = _promised(trial, self.promise, shapes)
                sizes = self._keep(sizes, "", conditions)
        except Undecided as error:
            self._leave_open(sizes, [str(error)])
            return
        if not sizes.is_empty():
            self.pieces.append(_Piece(trial, sizes, shapes))

    def _keep(
        self, sizes: isl.Set, where: str, conditions: Iterator[tuple[isl.Set, str]]
    ) -> isl.Set:
        for condition, message in conditions:
            self._refuse(sizes.subtract(condition), where, message)
            sizes = sizes.intersect(condition)
        return sizes

    def _sample(self, sizes: SizeSet) -> None:
        """Try some sizes of an open domain one by one."""
        for sample in _samples(sizes):
            point = SizeSet(sizes.points)
            for name, value in sample.items():
                point = point & SizeSet.parse(sizes.names, f"{name} = {value}")
            self.tried.append(point.points)
            self._try(Trial(point.points))

    def verdict(self, domain: isl.Set) -> Verdict:
        """Put together what was found."""
        empty = isl.Set.empty(domain.space)
        accepts = SizeSet(functools.reduce(isl.Set.union, [p.sizes for p in self.pieces], empty))
        tried = functools.reduce(isl.Set.union, self.tried, empty)
        untried = SizeSet(functools.reduce(isl.Set.union, self.open, empty).subtract(tried))
        status = "refuted" if self.failures else "tested" if self.open else "proven"
        self.failures.sort(key=lambda failure: tuple(failure.smallest.values()))
        notes = list(self.notes)
        if self.tried:
            notes.append(f"tried {len(self.tried)} sizes one by one")
        return Verdict(
            status, accepts, self._outputs(), tuple(self.failures), untried, tuple(notes), self.runs
        )

    def _outputs(self) -> Any:
        if not self.pieces:
            return None
        first, *_ = trees = [piece.shapes for piece in self.pieces]
        leaves = [jax.tree.leaves(tree, is_leaf=_is_shape) for tree in trees]
        structure = jax.tree.structure(first, is_leaf=_is_shape)
        merged = []
        for shapes in zip(*leaves, strict=True):
            axes = zip(*shapes, strict=True)
            merged.append(tuple(self._unite(axis) for axis in axes))
        return jax.tree.unflatten(structure, merged)

    def _unite(self, axis: Sequence[Any]) -> Any:
        return unite([(p.trial, p.sizes, size) for p, size in zip(self.pieces, axis, strict=True)])


def _relevant(trial: Trial, at: Place) -> list[Asked]:
    """The equalities that could have mended a failure.

    One that another operation asked was a shortcut of it, and it went well without.
    """
    return [
        asked
        for asked in trial.asked
        if asked.place == at
        and not any(half.is_empty() for half in _halves(trial.domain, asked.condition))
    ]


def _struct(leaf: Any, sizes: dict[str, Any]) -> Any:
    if not isinstance(leaf, Spec):
        return leaf
    shape = [axis.value(sizes) for axis in leaf.axes if isinstance(axis, Formula)]
    return jax.ShapeDtypeStruct(tuple(shape), np.dtype(jax.numpy.dtype(leaf.dtype)))


def _halves(domain: isl.Set, condition: isl.Set) -> list[isl.Set]:
    return [domain.subtract(condition), domain.intersect(condition)]


def _equations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """All equations, those of inner jaxprs before the call that has them."""
    for eqn in jaxpr.eqns:
        for value in eqn.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(part, "jaxpr", part)
                if isinstance(inner, core.Jaxpr):
                    yield from _equations(inner)
        yield eqn


def _no_empty_map(trial: Trial, eqn: core.JaxprEqn) -> Iterator[tuple[isl.Set, str]]:
    """Where no result of an equation is empty."""
    nowhere = isl.Set.empty(trial.domain.space)
    for atom in eqn.outvars:
        shape = getattr(atom.aval, "shape", ())
        for size in shape:
            if isinstance(size, Size):
                condition = _positive(trial, size)
            else:
                condition = trial.domain if size >= 1 else nowhere
            if not trial.domain.is_subset(condition):
                yield condition, f"{eqn.primitive.name} makes an empty map of shape {_text(shape)}."


def _all_numbers(trial: Trial, eqn: core.JaxprEqn) -> Iterator[tuple[isl.Set, str]]:
    """Where a reshape has as many numbers after as before; JAX does not look for symbolic sizes."""
    before, after = (getattr(a.aval, "shape", ()) for a in (eqn.invars[0], eqn.outvars[0]))
    counts: list[Any] = [1, 1]
    for i, shape in enumerate((before, after)):
        for size in shape:
            counts[i] = moved(trial, size) * counts[i]
    message = f"the reshape from {_text(before)} to {_text(after)} does not keep all numbers."
    yield _equal(trial, *counts), message


def _positive(trial: Trial, size: Size) -> isl.Set:
    """Where a size is at least 1; of a product, where every factor is."""
    if not size.products:
        return size.affine.ge_set(trial.formula(1))
    if cast(Any, size) >= 1:
        return trial.domain
    raise Undecided(f"whether {size} is at least 1")


def _equal(trial: Trial, a: Any, b: Any) -> isl.Set:
    if isinstance(a, int) and isinstance(b, int):
        return trial.domain if a == b else isl.Set.empty(trial.domain.space)
    a, b = (x if isinstance(x, Size) else Size(trial, trial.formula(x), {}) for x in (a, b))
    condition, exact = equality(a, b)
    if not exact:
        raise Undecided(f"whether {a} equals {b}")
    return condition


def _promised(trial: Trial, promise: Any, shapes: Any) -> Iterator[tuple[isl.Set, str]]:
    """Compare the shapes returned with those promised."""
    specs = jax.tree.leaves(promise, is_leaf=lambda x: isinstance(x, Spec))
    found = jax.tree.leaves(shapes, is_leaf=_is_shape)
    if len(specs) != len(found):
        message = f"the function returns {len(found)} arrays, the contract says {len(specs)}."
        yield isl.Set.empty(trial.domain.space), message
        return
    sizes = {name: trial.size(name) for name in trial.names()}
    for spec, shape in zip(specs, found, strict=True):
        yield from _promised_shape(trial, spec, shape, sizes)


def _promised_shape(
    trial: Trial, spec: Spec, shape: Sequence[Any], sizes: dict[str, Any]
) -> Iterator[tuple[isl.Set, str]]:
    axes = list(spec.axes)
    if REST in axes:
        at = axes.index(REST)
        axes[at : at + 1] = [ANY] * max(len(shape) - len(axes) + 1, 0)
    if len(axes) != len(shape):
        message = f"the function returns shape {_text(shape)}, the contract says {len(axes)} axes."
        yield isl.Set.empty(trial.domain.space), message
        return
    for i, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        if isinstance(axis, Formula):
            unknown = [name for name in axis.names() if name not in sizes]
            if unknown:
                raise SpecError(
                    f"returns= names {unknown[0]}, but the arguments have {', '.join(sizes)}.\n"
                    "  Fix: use the names of the arguments, or _ for any size."
                )
            message = f"axis {i} of the result is {size}, the contract says {axis.text}."
            yield _equal(trial, size, axis.value(sizes)), message


def _samples(sizes: SizeSet) -> Iterator[dict[str, int]]:
    """The smallest sizes of a set, and then larger ones, as far as they are in it."""
    seen = []
    for grow in (1, 2, 3, 5, 8, 16, 17, 32, 33, 64, 100, 224):
        floor = sizes & SizeSet.parse(
            sizes.names, " and ".join(f"{name} >= {grow}" for name in sizes.names)
        )
        if not floor.is_empty() and (sample := floor.smallest()) not in seen:
            seen.append(sample)
            yield sample
        if len(seen) == SAMPLES:
            return


def _reason(failure: Failure) -> tuple[str, str]:
    """What two failures have in common: the line, and the message up to its numbers."""
    return failure.where, re.sub(r"\(.*", "", failure.message)


def _doubts(trial: Trial, error: BaseException | None) -> list[str]:
    """The undecided questions that may have led to an error: a failure then proves nothing."""
    found = list(trial.doubts)
    while error is not None:
        if isinstance(error, Undecided):
            found.append(str(error))
        error = error.__cause__ or error.__context__
    return found


def _text(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def _sentence(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    kind = "" if type(error).__name__ == "ShapeError" else f"{type(error).__name__}: "
    return kind + first


OURS = str(Path(__file__).parents[1])


def is_inside_library(file: str) -> bool:
    """Whether a file is part of this package or of an installed one, not the user's own."""
    return file.startswith((OURS, "<")) or "site-packages" in file


def _place_of(error: Exception) -> Place:
    """The innermost instruction outside JAX in a traceback."""
    found, step = None, error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        found = found if is_inside_jax(code.co_filename) else (code, step.tb_lasti)
        step = step.tb_next
    assert found is not None
    return found


def _line_of(error: Exception) -> str:
    """The innermost line of the user's own code in a traceback."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if not is_inside_library(f.filename)
    ]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _line_of_equation(eqn: core.JaxprEqn) -> str:
    found = getattr(eqn.source_info, "traceback", None)
    frames = [f for f in found.frames if not is_inside_library(f.file_name)] if found else []
    return f"{Path(frames[0].file_name).name}:{frames[0].line_num}" if frames else ""
