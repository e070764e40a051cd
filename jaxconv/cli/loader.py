"""What a user names: ``pkg.module:Net.encode``, ``models:make(classes=10)``, a package, a FILE.py.

Names are read, never evaluated: a module, names in it, calls with literals. What goes wrong in the
user's code is told as Python tells it, without our frames.
"""

import ast
import contextlib
import difflib
import functools
import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from flax import nnx

from jaxconv.errors import ShapeError
from jaxconv.models.vgg import STAGES
from jaxconv.prover.check import check
from jaxconv.prover.contract import contract_of
from jaxconv.prover.verdict import Verdict
from jaxconv.source import JAX, Origin, definition, folder_of
from jaxconv.symbolic.specs import parse_contract

OURS = (str(Path(__file__).parents[1]) + os.sep, str(importlib.__file__), "<frozen ")
CALLED_THROUGH = (*OURS, *JAX, folder_of("flax"), str(contextlib.__file__))


class TargetError(ValueError):
    """What is named cannot be had; the message says why, or is the error of the user's code."""


@dataclass(frozen=True)
class Obligation:
    """Something to prove.

    Attributes:
        name: as it can be named on the command line.
        origin: the line where it is defined.
        find: gives the function or model; it may have to be made first.
        inputs: specs of the arguments; none where a contract has them.
        returns: specs of what it returns; None where nothing is promised, or by a contract.
    """

    name: str
    origin: Origin
    find: Callable[[], Any]
    inputs: Sequence[str] = ()
    returns: tuple[str, ...] | None = None

    def prove(self, where: str | None = None) -> Verdict:
        """Prove it for every size.

        Raises:
            TargetError: where the user's code, or a spec, does not let it begin.
        """
        with users_code(f"proving {self.name}"):
            return check(self.find(), *self.inputs, returns=self.returns, where=where)


Build = Callable[[Callable[[], Any]], Any]  # calls what makes a model


def _abstract(make: Callable[[], Any]) -> Any:
    """A model of Flax NNX without its weights, anything else as it is made.

    Where shapes alone do not do, the plain call does, or fails as the user knows it.
    """
    try:
        found = nnx.eval_shape(make)
    except Exception:
        found = None
    return found if isinstance(found, nnx.Module) else make()


def _plain(make: Callable[[], Any]) -> Any:
    """A model with its weights."""
    return make()


def obligation(text: str, spec: str | None) -> Obligation:
    """What is to be proven of a function or model: shapes, or the contract that it has.

    Args:
        text: its name, as :func:`resolve` takes it.
        spec: ``"b h w 3 -> b 10"``, or arguments only; None for its contract.

    Raises:
        TargetError: a name that leads nowhere, or that has no contract.
        SpecError: a spec that cannot be read.
    """
    fn = resolve(text)
    if spec is None:
        if contract_of(fn) is None:
            raise TargetError(
                f"{text} has no contract.\n"
                '  Fix: say what it takes and returns, such as "b h w 3 -> b 10".'
            )
        return Obligation(text, definition(fn), lambda: fn)
    signature = parse_contract(spec if "->" in spec else f"{spec} -> ...")
    inputs = [part.text for part in signature.inputs]
    if callable(fn):
        _refuse_misfit(fn, text, inputs, {}, 'write a spec for each argument, "b h w 3, b -> b 10"')
    outputs = tuple(part.text for part in signature.outputs) if "->" in spec else None
    return Obligation(text, definition(fn), lambda: fn, inputs, outputs)


def obligations(text: str) -> list[Obligation]:
    """Every contract in a module, in a package with all modules below it, or in a FILE.py.

    Raises:
        TargetError: none there, or nothing that can be imported.
    """
    found: dict[int, Obligation] = {}
    for module in _modules(_imported(text)):
        for owner, name, value in _members(module):
            contract = contract_of(value)
            if contract and contract.function.__module__ == module.__name__:
                find = functools.partial(_found, module, owner, name)
                qualified = f"{module.__name__}:{owner.__name__ + '.' if owner else ''}{name}"
                one = Obligation(qualified, _place(contract.function), find)
                found.setdefault(id(contract), one)
    if not found:
        raise TargetError(
            f"{text} has no contract.\n  Fix: put @jaxconv.contract(...) above a function in it, "
            'or say what to prove: jaxconv check module:name "b h w 3 -> b 10".'
        )
    return list(found.values())


def _place(fn: Callable[..., Any]) -> Origin:
    """Where a function of the user's stands, also if it is installed."""
    code = inspect.unwrap(fn).__code__
    return Origin(code.co_filename, code.co_firstlineno)


def is_object(text: str) -> bool:
    """Whether a text names a function or a model rather than a module."""
    return ":" in text or _without_call(text) in STAGES


def resolve(text: str, abstract: bool = True) -> Callable[..., Any]:
    """The function or model that a text names.

    A class is made without arguments. Random streams, ``rngs`` or ``key``, need not be given. A
    model of Flax NNX that is made here has no weights, only their shapes.

    Args:
        text: ``module:name``, ``module:Class.method``, ``module:make(classes=10)``, with FILE.py
            in place of the module if you like; or vgg11, vgg13, vgg16, vgg19 for those of jaxconv.
        abstract: False makes models of Flax NNX with their weights.

    Raises:
        TargetError: a name that leads nowhere, or user's code that fails.

    Example:
        >>> resolve("vgg16(classes=10)").fc8.kernel.shape
        (4096, 10)
    """
    if _without_call(text) in STAGES:
        text = f"jaxconv:{text}" if "(" in text else f"jaxconv:{text}()"
    module, colon, inside = text.partition(":")
    if not colon:
        raise TargetError(
            f"{text} names no function and no model.\n"
            f"  Fix: write module:name, such as models:Net, or one of {', '.join(STAGES)}."
        )
    build = _abstract if abstract else _plain
    found = _value(_imported(module), _expression(inside), build)
    return _made(found, build=build) if isinstance(found, type) else found


def _without_call(text: str) -> str:
    return text.partition("(")[0]


def _imported(text: str) -> ModuleType:
    """Import a module by name, or a FILE.py under the name that it has in its package."""
    _put_first(Path.cwd())
    if not text.endswith(".py"):
        return _import(text)
    path = Path(text).resolve()
    if not path.is_file():
        offer = _offer(path.name, (file.name for file in path.parent.glob("*.py")))
        raise TargetError(f"There is no file {text}.\n  Fix: {offer or 'name one that is there'}.")
    root, names = path.parent, [path.stem]
    while (root / "__init__.py").exists():
        names.insert(0, root.name)
        root = root.parent
    _put_first(root)
    module = _import(".".join(names).removesuffix(".__init__"))
    if not path.samefile(module.__file__ or os.devnull):
        raise TargetError(
            f"{text} cannot be imported: {module.__name__} is {module.__file__ or 'built in'}.\n"
            "  Fix: rename the file."
        )
    return module


def _put_first(folder: Path) -> None:
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def _import(name: str) -> ModuleType:
    with users_code(f"importing {name}"):
        try:
            return importlib.import_module(name)
        except (ModuleNotFoundError, TypeError, ValueError) as error:
            # Also "" and ".x", at which importlib raises others than ModuleNotFoundError.
            missing = getattr(error, "name", None) or name
            if _users_frames(error) or not f"{name}.".startswith(f"{missing}."):
                raise
    parent, _, last = missing.rpartition(".")
    path = getattr(sys.modules[parent], "__path__", []) if parent else [str(Path.cwd())]
    where = f"{parent} has no module {last}" if parent else f"There is no module {name!r}"
    offer = _offer(last, (found.name for found in pkgutil.iter_modules(path)))
    elsewhere = "run it in the folder where the module lies, or install its package"
    raise TargetError(f"{where}.\n  Fix: {offer or elsewhere}.")


def _offer(wrong: str, there: Iterable[str]) -> str:
    """Names to write in place of a wrong one: those like it, else some; empty where none are."""
    names = sorted(name for name in there if not name.startswith("_"))
    offered = difflib.get_close_matches(wrong, names, 3) or names[:6]
    return f"write {'one of ' * (len(offered) > 1)}{', '.join(offered)}" if offered else ""


def _expression(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _unreadable(text) from None


def _unreadable(text: str) -> TargetError:
    form = "write names and calls with literals only, such as Net, Net.encode or make(classes=10)"
    return TargetError(f"{text!r} cannot be read.\n  Fix: {form}.")


def _value(module: ModuleType, tree: ast.expr, build: Build) -> Any:
    """What an expression of names, attributes and calls with literals stands for."""
    match tree:
        case ast.Name(id=name):
            return _member(module, name)
        case ast.Attribute(value=inner, attr=name):
            owner = _value(module, inner, build)
            found = _member(owner, name)
            return _method(owner, name, build=build) if _needs_self(owner, name) else found
        case ast.Call(func=callee, args=args, keywords=words) if all(word.arg for word in words):
            options = {str(word.arg): _literal(word.value) for word in words}
            values = [_literal(arg) for arg in args]
            return _made(_value(module, callee, build), values, options, build=build)
    raise _unreadable(ast.unparse(tree))


def _literal(tree: ast.expr) -> Any:
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError):
        raise _unreadable(ast.unparse(tree)) from None


def _member(owner: Any, name: str) -> Any:
    label = getattr(owner, "__name__", type(owner).__name__)
    with users_code(f"reading {name} of {label}"):
        missing = object()
        found = getattr(owner, name, missing)
        there = dir(owner) if found is missing else []
    if found is missing:
        offer = _offer(name, there) or "define it there"
        raise TargetError(f"{label} has no {name}.\n  Fix: {offer}.")
    return found


def _needs_self(owner: Any, name: str) -> bool:
    """Whether an attribute of a class belongs to its instances."""
    if not isinstance(owner, type):
        return False
    static = inspect.getattr_static(owner, name)
    return not isinstance(static, staticmethod | classmethod | type)


def _method(owner: type, name: str, fix: str | None = None, build: Build = _abstract) -> Any:
    """A method of a model: one that its contract gives, or its module has, or that is made."""
    if hasattr(getattr(owner, name), "method_handler_wrapped"):
        raise TargetError(
            f"{owner.__name__} is a module of Linen and keeps no parameters.\n"
            "  Fix: put the contract on a function of them, as in "
            "@contract(..., variables=lambda: net.init(key, image)) above def apply(variables, x)."
        )
    contract = contract_of(getattr(owner, name))
    there = vars(sys.modules[owner.__module__]).values()
    given = contract.given.get("self") if contract else None
    model = next((value for value in there if type(value) is owner), None)
    if inspect.isroutine(given):
        with users_code(f"making self of {owner.__name__}.{name}"):
            model = build(given)
    elif given is not None:
        model = given
    if model is None:
        model = _made(owner, fix=fix or AS_LITERALS, build=build)
    return getattr(model, name)


RANDOM: dict[str, Callable[[], Any]] = {
    "rngs": lambda: nnx.Rngs(0),
    "key": lambda: jax.random.key(0),
}
AS_LITERALS = "write its arguments, such as models:make(classes=10)"


def _made(
    callee: Any,
    args: Sequence[Any] = (),
    options: Mapping[str, Any] | None = None,
    fix: str = AS_LITERALS,
    build: Build = _abstract,
) -> Any:
    """Call a class or a factory; what makes random numbers is given where it is not."""
    name = getattr(callee, "__name__", type(callee).__name__)
    if not callable(callee):
        raise TargetError(f"{name} cannot be called.\n  Fix: leave the brackets away.")
    given = dict(options or {})
    drawn = [stream for stream in RANDOM if stream not in given and _wants(callee, stream)]
    _refuse_misfit(callee, name, args, given | dict.fromkeys(drawn), fix)

    def make() -> Any:
        return callee(*args, **given, **{stream: RANDOM[stream]() for stream in drawn})

    with users_code(f"calling {name}"):
        return build(make)


def _wants(callee: Callable[..., Any], stream: str) -> bool:
    """Whether a parameter is a random stream; a ``key`` that may be left out is something else."""
    found = _signature(callee).parameters.get(stream)
    return found is not None and (stream == "rngs" or found.default is found.empty)


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    """What a call needs; a metaclass, as Flax NNX and Equinox have one, hides it for a class."""
    try:
        found = inspect.signature(fn.__init__ if isinstance(fn, type) else fn)
    except ValueError:  # those in C need not say
        return inspect.signature(lambda *args, **options: (args, options))
    return found.replace(parameters=[*found.parameters.values()][isinstance(fn, type) :])


def _refuse_misfit(
    fn: Callable[..., Any], name: str, args: Sequence[Any], options: Mapping[str, Any], fix: str
) -> None:
    signature = _signature(fn)
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        raise TargetError(f"{name}{signature}: {error}.\n  Fix: {fix}.") from None


def _modules(module: ModuleType) -> Iterator[ModuleType]:
    """A module and those below it; __main__ is no module but a program."""
    yield module
    for found in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
        if not found.name.endswith(".__main__"):
            yield from _modules(_import(found.name))


def _members(module: ModuleType) -> Iterator[tuple[type | None, str, Any]]:
    """What a module defines, and what its classes do, with the class."""
    for name, value in vars(module).items():
        yield None, name, value
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield from ((value, inner, member) for inner, member in vars(value).items())


def _found(module: ModuleType, owner: type | None, name: str) -> Any:
    """What a contract holds for."""
    if owner is None or not _needs_self(owner, name):
        return getattr(owner or module, name)
    fix = f"give it in the contract, as in @contract(..., self=lambda: {owner.__name__}(...))"
    return _method(owner, name, fix)


@contextlib.contextmanager
def users_code(doing: str) -> Iterator[None]:
    """Tell an error of the user's code as the user's; what it prints goes to standard error.

    Raises:
        TargetError: the error, with the user's frames only.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except TargetError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ShapeError) and not _users_frames(error):
            raise TargetError(str(error)) from None
        raise TargetError(f"{doing} fails.\n{_told(error)}") from None


def _users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    return _own(traceback.extract_tb(error.__traceback__))


def _own(frames: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """The frames of the user's code and of what it called, without ours."""
    known = [frame.filename.startswith(CALLED_THROUGH) for frame in frames]
    first = known.index(False) if False in known else len(frames)
    return [frame for frame in frames[first:] if not frame.filename.startswith(OURS)]


def _told(error: BaseException) -> str:
    """An error as Python prints it, without our frames; with them where the error is ours."""
    told = traceback.TracebackException.from_exception(error)
    users = _own(told.stack)
    if not users and isinstance(error, SyntaxError | ImportError):
        return "".join(told.format_exception_only()).rstrip()
    work = [told] if users else []
    while work:
        part = work.pop()
        part.stack = traceback.StackSummary.from_list(_own(part.stack))
        work += [linked for linked in (part.__cause__, part.__context__) if linked]
    return "".join(told.format()).rstrip()
