"""The proof obligations: the shapes of a function or model, or the contracts in a package."""

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from jaxconv.analysis.summary import summary
from jaxconv.analysis.summary_table import Row
from jaxconv.cli.loader import (
    bound_method,
    check_arguments,
    import_module,
    import_target,
    needs_instance,
    resolve,
)
from jaxconv.cli.models import as_called, require_quotes
from jaxconv.cli.reports import RULES, ignored_rules
from jaxconv.cli.settings import DEFAULTS, Settings
from jaxconv.cli.user_code import TargetError, user_code
from jaxconv.errors import ShapeError
from jaxconv.prover.annotations import AnnotationError
from jaxconv.prover.check import check, check_calls
from jaxconv.prover.contract import annotations_of, contract_of, proofs_of
from jaxconv.prover.signatures import Annotations, read_type
from jaxconv.prover.terms import ProofCase
from jaxconv.prover.verdict import Verdict
from jaxconv.source import Origin, definition
from jaxconv.symbolic.specs import (
    Spec,
    joined_conditions,
    parse_condition,
    parse_contract,
    parse_inputs,
)


@dataclass(frozen=True)
class Obligation:
    """Something to prove.

    Attributes:
        name: as it can be named on the command line.
        origin: the line where it is defined.
        module: the name of the module that has it; empty for a registered model.
        load: returns the function or model, which may have to be made first.
        inputs: specs of the arguments; empty where a contract or annotations have them.
        returns: specs of the results; None where none are given, or a contract has them.
        named: keyword arguments.
        owner: the class of a method whose instance a proof makes from the annotated fields.
        is_required: whether a proof that cannot start is an error: not where only annotations,
            which may have been written for something else, say that there is one.
        ignored: the verdicts that a comment at the function asks to ignore.
    """

    name: str
    origin: Origin
    module: str
    load: Callable[[], Any]
    inputs: Sequence[str] = ()
    returns: tuple[str, ...] | None = None
    named: Mapping[str, Any] = field(default_factory=dict)
    owner: type | None = None
    is_required: bool = True
    ignored: frozenset[str] = frozenset()

    def prove(
        self,
        where: str | None = None,
        given: Mapping[str, Any] | None = None,
        settings: Settings = DEFAULTS,
    ) -> Verdict:
        """Prove it for every size.

        Args:
            where: a condition on the sizes, such as "h >= 32".
            given: values of arguments by name, where no spec is given.
            settings: of the project. Their condition applies where all its names are sizes.

        Raises:
            TargetError: the proof could not start, because of the user's code or a spec.
        """
        with user_code(f"proving {self.name}"):
            fn, timeout = self.load(), settings.seconds
            if self.inputs:
                options = {"returns": self.returns, "where": where, "timeout": timeout}
                return check(fn, *self.inputs, **options, **self.named)
            named = self._named(fn, given or {})
            if calls := self._calls(fn, named, settings):
                return check_calls(calls, where=where, timeout=timeout)
            return check(fn, where=where, timeout=timeout, **named)

    def layers(
        self,
        where: str | None = None,
        given: Mapping[str, Any] | None = None,
        settings: Settings = DEFAULTS,
    ) -> tuple[Row, ...]:
        """List the layers that it has for every size that it accepts.

        Args:
            where: a condition on the sizes.
            given: values of arguments by name, where no spec is given.
            settings: of the project.

        Returns:
            The rows of its summary: of its first case, where a contract leaves a choice; none where
            it has no summary.
        """
        try:
            with user_code(f"reading the layers of {self.name}"):
                fn = self.load()
                if self.inputs:
                    return summary(fn, *self.inputs, where=where, **self.named).rows
                calls = self._calls(fn, self._named(fn, given or {}), settings)
                if not calls:
                    return ()
                conditions = joined_conditions(calls[0].where, where)
                return summary(calls[0].fn, *calls[0].args, where=conditions or None).rows
        except (ShapeError, TargetError):
            return ()

    def _named(self, fn: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that a function gets by name."""
        named = {**self.named, **given}
        if self.is_required:
            return named
        parameters = inspect.signature(fn).parameters  # functions of a package have different ones
        return {name: value for name, value in named.items() if name in parameters}

    def _calls(self, fn: Any, named: Mapping[str, Any], settings: Settings) -> list[ProofCase]:
        """The calls that its contract or annotations ask to prove."""
        calls = []
        for call in proofs_of(fn, named, self.owner):
            names = {name for spec in call.args if isinstance(spec, Spec) for name in spec.names()}
            parts = parse_condition(settings.where) if settings.where else []
            is_of_call = all(names.issuperset(part.names()) for part in parts)
            where = joined_conditions(call.where, settings.where if is_of_call else None)
            calls.append(call._replace(where=where))
        return calls


def obligation(
    text: str,
    spec: str | None,
    named: Mapping[str, Any] | None = None,
    typed: Sequence[str] = (),
) -> Obligation:
    """Return the proof obligation of a function or model.

    Args:
        text: its name, as :func:`resolve` takes it.
        spec: ``"b h w 3 -> b 10"``, or arguments only; None for its contract or annotations.
        named: keyword arguments.
        typed: the parts of the spec as a shell passed them, if it did.

    Raises:
        UsageError: the spec was not in quotes.
        TargetError: the name cannot be resolved, or nothing says what its arguments are.
        SpecError: the spec cannot be read.
    """
    fn = resolve(text)
    name, colon, _ = text.partition(":")
    module = import_target(name).__name__ if colon else ""
    if spec is None:
        if contract_of(fn) is None and not annotations_of(fn).says_shapes():
            raise TargetError(
                f"{text} has no contract, and no shapes in its annotations.\n"
                '  Fix: add its input and output shapes, such as "b h w 3 -> b 10".'
            )
        return Obligation(text, definition(fn), module, lambda: fn, named=named or {})
    require_quotes(fn, text, typed)
    if "->" in spec:
        signature = parse_contract(spec)
        shapes, outputs = signature.inputs, tuple(part.text for part in signature.outputs)
    else:
        shapes, outputs = parse_inputs(spec), None
    inputs = [part.text for part in shapes]
    called, words = as_called(fn, text, inputs, named or {})
    if callable(called):
        fix = 'write a spec for each argument, "b h w 3, b -> b 10"'
        check_arguments(called, text, inputs, words, fix)
    return Obligation(text, definition(fn), module, lambda: called, inputs, outputs, words)


PROPERTIES = (property, functools.cached_property)


class NoShapesError(TargetError):
    """A module, package or file has nothing to prove."""


class Work(NamedTuple):
    """What there is to prove in a package.

    Attributes:
        obligations: every contract, and every function whose annotations say shapes.
        without_shapes: how many other functions there are.
        ignored: how many are left out by ``# jaxconv: ignore`` or the settings.
    """

    obligations: list[Obligation]
    without_shapes: int
    ignored: int


def obligations(texts: Sequence[str], exclude: Sequence[str] = ()) -> Work:
    """Find the contracts in modules, in packages with all modules below them, or in files.

    Args:
        texts: each "pkg.module", a path that ends in .py or .ipynb, or "-" for standard input.
        exclude: patterns of names that are left out, such as ``pkg.old.*``.

    Raises:
        NoShapesError: there is none.
        TargetError: a module cannot be imported.
    """
    found: dict[int, Obligation] = {}
    others: set[int] = set()
    ignored: set[int] = set()
    for module in (module for text in texts for module in _modules(import_target(text))):
        for owner, name, value in _members(module):
            function = _function(value)
            if function is None or function.__module__ != module.__name__:
                continue
            made = None if contract_of(value) else _class_of_fields(owner, name)
            if isinstance(value, PROPERTIES) and not made:  # of what cannot be made
                others.add(id(function))
                continue
            path = owner.__qualname__.rpartition("<locals>.")[2] + "." if owner else ""
            qualified = f"{module.__name__}:{path}{name}"
            code = inspect.unwrap(function).__code__
            rules = rules_ignored_by(code)
            if rules >= RULES.keys() or any(fnmatch(qualified, pattern) for pattern in exclude):
                ignored.add(id(code))
            elif contract_of(value) or _annotations_say_shapes(function):
                origin = Origin(code.co_filename, code.co_firstlineno)
                load = (lambda fn=function: fn) if made else _Loaded(module, owner, name)
                has_contract = contract_of(value) is not None
                one = Obligation(
                    qualified,
                    origin,
                    module.__name__,
                    load,
                    owner=made,
                    is_required=has_contract,
                    ignored=frozenset(rules),
                )
                found.setdefault(id(code), one)
            else:
                others.add(id(code))
    if not found and not ignored:
        named = f"{', '.join(texts)} {'have' if texts[1:] else 'has'}"
        raise NoShapesError(
            f"{named} no contract, and no function with shapes in its annotations.\n"
            "  Fix: put @jaxconv.contract(...) above a function in it, "
            'or say what to prove: jaxconv check module:name "b h w 3 -> b 10".'
        )
    return Work([*found.values()], len(others), len(ignored))


def _function(value: Any) -> Any:
    """The function of a member of a module or a class; None for what is no function."""
    contract = contract_of(value)
    if contract is not None:
        return contract.function
    if getattr(value, "__name__", "").startswith("__") and value.__name__ != "__call__":
        return None  # Python calls it, or a decorator made it
    if isinstance(value, PROPERTIES):
        value = value.fget if isinstance(value, property) else value.func
    value = getattr(value, "__func__", value)
    is_code = inspect.isfunction(inspect.unwrap(value)) if callable(value) else False
    return value if is_code and not isinstance(value, type) else None


def _annotations_say_shapes(function: Any) -> bool:
    try:
        return Annotations(function).says_shapes()
    except AnnotationError:  # the proof will say what is wrong with them
        return True


def _class_of_fields(owner: type | None, name: str) -> type | None:
    """The class of a method, if its annotated fields suffice to make an instance of it."""
    if owner is None or not needs_instance(owner, name) or not read_type(owner).has_shapes():
        return None
    return owner


def rules_ignored_by(code: CodeType) -> set[str]:
    """The rules that ``# jaxconv: ignore`` names in the lines above the body of a function.

    Args:
        code: of the function.

    Returns:
        Keys of :data:`~jaxconv.cli.reports.RULES`: all of them where it names none.
    """
    first = code.co_firstlineno
    body = min((line for _, _, line in code.co_lines() if line and line > first), default=first + 1)
    return ignored_rules(code.co_filename, first, body)


@dataclass(frozen=True)
class _Loaded:
    """Loads what is to be proven: a function of a module, or a method of an instance."""

    module: ModuleType
    owner: type | None
    name: str

    def __call__(self) -> Any:
        if self.owner is None or not needs_instance(self.owner, self.name):
            return getattr(self.module if self.owner is None else self.owner, self.name)
        make = f"@contract(..., self=lambda: {self.owner.__name__}(...))"
        return bound_method(self.owner, self.name, fix=f"give it in the contract, as in {make}")


def _modules(module: ModuleType) -> Iterator[ModuleType]:
    """A module and those below it; a __main__ is a program and would run."""
    yield module
    for info in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
        if not info.name.endswith(".__main__"):
            yield from _modules(import_module(info.name))


def _members(of: ModuleType | type) -> Iterator[tuple[type | None, str, Any]]:
    """What a module or a class defines, and what the classes within it define, with the class."""
    owner = of if isinstance(of, type) else None
    for name, value in vars(of).items():
        yield owner, name, value
        if not isinstance(value, type):
            continue
        if owner is None:
            is_defined_here = value.__module__ == of.__name__
        else:
            is_defined_here = value.__qualname__ == f"{owner.__qualname__}.{name}"
        if is_defined_here:
            yield from _members(value)
