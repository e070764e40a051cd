"""The proof obligations: the shapes of a function or model, or the contracts in a package."""

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from jaxconv.cli.loader import (
    bound_method,
    check_arguments,
    import_module,
    import_target,
    needs_instance,
    resolve,
)
from jaxconv.cli.models import as_called
from jaxconv.cli.user_code import TargetError, user_code
from jaxconv.prover.check import check
from jaxconv.prover.contract import contract_of
from jaxconv.prover.verdict import Verdict
from jaxconv.source import Origin, definition
from jaxconv.symbolic.specs import parse_contract


@dataclass(frozen=True)
class Obligation:
    """Something to prove.

    Attributes:
        name: as it can be named on the command line.
        origin: the line where it is defined.
        load: returns the function or model, which may have to be made first.
        inputs: specs of the arguments; empty where a contract has them.
        returns: specs of the results; None where none are given, or a contract has them.
        named: keyword arguments.
    """

    name: str
    origin: Origin
    load: Callable[[], Any]
    inputs: Sequence[str] = ()
    returns: tuple[str, ...] | None = None
    named: Mapping[str, Any] = field(default_factory=dict)

    def prove(self, where: str | None = None) -> Verdict:
        """Prove it for every size.

        Args:
            where: a condition on the sizes, such as "h >= 32".

        Raises:
            TargetError: the proof could not start, because of the user's code or a spec.
        """
        with user_code(f"proving {self.name}"):
            fn = self.load()
            return check(fn, *self.inputs, returns=self.returns, where=where, **self.named)


def obligation(text: str, spec: str | None, named: Mapping[str, Any] | None = None) -> Obligation:
    """Return the proof obligation of a function or model.

    Args:
        text: its name, as :func:`resolve` takes it.
        spec: ``"b h w 3 -> b 10"``, or arguments only; None for its contract.
        named: keyword arguments.

    Raises:
        TargetError: the name cannot be resolved, or its function has no contract.
        SpecError: the spec cannot be read.
    """
    fn = resolve(text)
    if spec is None:
        if contract_of(fn) is None:
            raise TargetError(
                f"{text} has no contract.\n"
                '  Fix: add its input and output shapes, such as "b h w 3 -> b 10".'
            )
        return Obligation(text, definition(fn), lambda: fn, named=named or {})
    signature = parse_contract(spec if "->" in spec else f"{spec} -> ...")
    inputs = [part.text for part in signature.inputs]
    called, words = as_called(fn, text, inputs, named or {})
    if callable(called):
        fix = 'write a spec for each argument, "b h w 3, b -> b 10"'
        check_arguments(called, text, inputs, words, fix)
    outputs = tuple(part.text for part in signature.outputs) if "->" in spec else None
    return Obligation(text, definition(fn), lambda: called, inputs, outputs, words)


def obligations(text: str) -> list[Obligation]:
    """Return every contract in a module, in a package with all modules below it, or in a FILE.py.

    Args:
        text: "pkg.module", or a path that ends in .py.

    Raises:
        TargetError: there is none, or a module cannot be imported.
    """
    by_contract: dict[int, Obligation] = {}
    for module in _modules(import_target(text)):
        for owner, name, value in _members(module):
            contract = contract_of(value)
            if contract and contract.function.__module__ == module.__name__:
                code = inspect.unwrap(contract.function).__code__
                qualified = f"{module.__name__}:{owner.__name__ + '.' if owner else ''}{name}"
                origin = Origin(code.co_filename, code.co_firstlineno)
                load = _Contracted(module, owner, name)
                by_contract.setdefault(id(contract), Obligation(qualified, origin, load))
    if not by_contract:
        raise TargetError(
            f"{text} has no contract.\n  Fix: put @jaxconv.contract(...) above a function in it, "
            'or say what to prove: jaxconv check module:name "b h w 3 -> b 10".'
        )
    return list(by_contract.values())


@dataclass(frozen=True)
class _Contracted:
    """Loads an object with a contract: a function of a module, or a method of an instance."""

    module: ModuleType
    owner: type | None
    name: str

    def __call__(self) -> Any:
        if self.owner is None or not needs_instance(self.owner, self.name):
            return getattr(self.owner or self.module, self.name)
        make = f"@contract(..., self=lambda: {self.owner.__name__}(...))"
        return bound_method(self.owner, self.name, fix=f"give it in the contract, as in {make}")


def _modules(module: ModuleType) -> Iterator[ModuleType]:
    """A module and those below it; a __main__ is a program and would run."""
    yield module
    for info in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
        if not info.name.endswith(".__main__"):
            yield from _modules(import_module(info.name))


def _members(module: ModuleType) -> Iterator[tuple[type | None, str, Any]]:
    """What a module defines, and what its classes define, with the class."""
    for name, value in vars(module).items():
        yield None, name, value
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield from ((value, inner, member) for inner, member in vars(value).items())
