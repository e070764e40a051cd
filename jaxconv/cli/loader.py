"""From a name to a function or model: ``vgg16``, ``pkg.module:Net.encode``, ``FILE.py:make(10)``.

Names are read, never evaluated: a module, names in it, calls with literals.
"""

import ast
import contextlib
import difflib
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
from flax import nnx

from jaxconv.adapters.libraries import loaded
from jaxconv.cli.cells import STANDARD_INPUT, import_notebook, import_standard_input
from jaxconv.cli.models import made_by
from jaxconv.cli.user_code import TargetError, user_code, user_frames
from jaxconv.models.registry import registered_models
from jaxconv.prover.contract import contract_of
from jaxconv.source import CODE, NOTEBOOK

# What makes random numbers is passed to a class or factory that takes it and does not get it.
RANDOM: dict[str, Callable[[], Any]] = {
    "rngs": lambda: nnx.Rngs(0),
    "key": lambda: jax.random.key(0),
}
PASS_LITERALS = "pass its arguments, such as models:make(classes=10)"


def is_object(text: str) -> bool:
    """Return whether a text names a function or a model rather than a module.

    Args:
        text: what a user wrote, such as "vgg16(classes=10)" or "pkg.module".
    """
    return ":" in text or text.partition("(")[0] in registered_models()


def resolve(text: str, abstract: bool = True) -> Callable[..., Any]:
    """Return the function or model that a text names.

    A class is instantiated without arguments, and so is a function called that makes a model and
    needs none. Random streams, ``rngs`` or ``key``, need not be
    passed. A model of Flax NNX or Keras that is made here has no weights, only their shapes, and a
    function of ``keras.applications`` downloads none. A module of Haiku is made inside a
    transformation.

    Args:
        text: ``module:name``, ``module:Class.method``, ``module:make(classes=10)``, with FILE.py,
            a notebook or ``-`` in place of the module if you like; or the name of a registered
            model.
        abstract: False makes models of Flax NNX and Keras with weights.

    Raises:
        TargetError: the name cannot be resolved, or the user's code fails.

    Example:
        >>> resolve("vgg16(classes=10)").fc8.kernel.shape
        (4096, 10)
    """
    models = registered_models()
    name = text.partition("(")[0]
    if name in models:
        owner: Any = SimpleNamespace(**{name: models[name].make})
        expression = text if "(" in text else f"{text}()"
    else:
        module, colon, expression = text.partition(":")
        if not colon:
            package, dot, _ = name.rpartition(".")
            is_dotted = dot and not name.endswith(CODE)
            example = f"{package}:{text[len(package) + 1 :]}" if is_dotted else "models:Net"
            raise TargetError(
                f"{text} does not name a function or a model.\n"
                f"  Fix: write module:name, such as {example}, or one of {', '.join(models)}."
            )
        owner = import_target(module)
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _unreadable(expression) from None
    value = _read_expression(tree, owner, abstract)
    if isinstance(value, type):
        return call(value, abstract=abstract)
    is_call = isinstance(tree, ast.Call) or name in models
    return value if is_call else made_by(value, text, lambda: call(value, abstract=abstract))


def import_target(text: str) -> ModuleType:
    """Import a module by name, or a FILE.py under the name that it has in its package.

    Args:
        text: "pkg.module", found in the working folder first; a path that ends in .py or .ipynb;
            or "-" for code that comes from standard input.

    Raises:
        TargetError: there is no such module or file, or importing it fails.
    """

    def search_first(folder: Path) -> None:
        sys.path[:] = [str(folder), *(entry for entry in sys.path if entry != str(folder))]

    search_first(Path.cwd())
    os.environ.setdefault("KERAS_BACKEND", "jax")  # which Keras reads when it is imported
    if text in STANDARD_INPUT:
        return import_standard_input()
    if not text.endswith(CODE):
        return import_module(text)
    path = Path(text).resolve()
    if not path.is_file():
        fix = _suggestion(path.name, (file.name for file in path.parent.glob(f"*{path.suffix}")))
        raise TargetError(f"There is no file {text}.\n  Fix: {fix or 'check the path'}.")
    if path.suffix == NOTEBOOK:
        search_first(path.parent)
        return import_notebook(path)
    root, names = path.parent, [path.stem]
    while (root / "__init__.py").exists():
        names.insert(0, root.name)
        root = root.parent
    search_first(root)
    module = import_module(".".join(names).removesuffix(".__init__"))
    if not path.samefile(module.__file__ or os.devnull):
        raise TargetError(
            f"{text} cannot be imported: {module.__name__} is {module.__file__ or 'built in'}.\n"
            "  Fix: rename the file."
        )
    return module


def import_module(name: str) -> ModuleType:
    """Import a module of the user's.

    Args:
        name: dotted.

    Raises:
        TargetError: there is no such module, or importing it fails.
    """
    with user_code(f"importing {name}"):
        try:
            return importlib.import_module(name)
        except (ModuleNotFoundError, TypeError, ValueError) as error:
            # Also "" and ".x", at which importlib raises others than ModuleNotFoundError.
            missing = getattr(error, "name", None) or name
            if user_frames(error) or not f"{name}.".startswith(f"{missing}."):
                raise
    parent, _, last = missing.rpartition(".")
    path = getattr(sys.modules[parent], "__path__", []) if parent else [str(Path.cwd())]
    problem = f"{parent} has no module {last}" if parent else f"There is no module {name!r}"
    fix = _suggestion(last, (info.name for info in pkgutil.iter_modules(path)))
    elsewhere = "run the command in the folder that has the module, or install its package"
    raise TargetError(f"{problem}.\n  Fix: {fix or elsewhere}.")


def _suggestion(wrong: str, names: Iterable[str]) -> str:
    """Names to suggest for a wrong one: similar ones, otherwise a few; empty if there are none."""
    public = sorted(name for name in names if not name.startswith("_"))
    offered = difflib.get_close_matches(wrong, public, 3) or public[:6]
    return f"write {'one of ' * (len(offered) > 1)}{', '.join(offered)}" if offered else ""


def _unreadable(text: str) -> TargetError:
    form = "write names and calls with literals only, such as Net, Net.encode or make(classes=10)"
    return TargetError(f"{text!r} cannot be read.\n  Fix: {form}.")


def _read_expression(tree: ast.expr, module: Any, abstract: bool) -> Any:
    """What an expression of names, attributes and calls with literals stands for."""
    match tree:
        case ast.Name(id=name):
            return _attribute(module, name)
        case ast.Attribute(value=inner, attr=name):
            owner = _read_expression(inner, module, abstract)
            value = _attribute(owner, name)
            is_method = needs_instance(owner, name)
            return bound_method(owner, name, abstract=abstract) if is_method else value
        case ast.Call(func=callee, args=args, keywords=words) if all(word.arg for word in words):
            options = {str(word.arg): _literal(word.value) for word in words}
            values = [_literal(arg) for arg in args]
            return call(
                _read_expression(callee, module, abstract), values, options, abstract=abstract
            )
    raise _unreadable(ast.unparse(tree))


def _literal(tree: ast.expr) -> Any:
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError):
        raise _unreadable(ast.unparse(tree)) from None


def _attribute(owner: Any, name: str) -> Any:
    label = getattr(owner, "__name__", type(owner).__name__)
    missing = object()
    with user_code(f"reading {name} of {label}"):  # a module's __getattr__ is the user's code
        value = getattr(owner, name, missing)
        names = dir(owner) if value is missing else []
    if value is missing:
        fix = _suggestion(name, names) or "define it there"
        raise TargetError(f"{label} has no {name}.\n  Fix: {fix}.")
    return value


def needs_instance(owner: Any, name: str) -> bool:
    """Return whether an attribute of a class is a method of its instances.

    Args:
        owner: a class, or anything else, of which no attribute is.
        name: of the attribute.
    """
    if not isinstance(owner, type):
        return False
    static = inspect.getattr_static(owner, name)
    return not isinstance(static, staticmethod | classmethod | type)


def bound_method(owner: type, name: str, *, abstract: bool = True, fix: str = PASS_LITERALS) -> Any:
    """Return a method of an instance: one that the contract has, its module has, or a new one.

    Args:
        owner: the class.
        name: of the method.
        abstract: whether a new model of Flax NNX has shapes in place of weights.
        fix: what to do where the class needs arguments.

    Raises:
        TargetError: the class cannot be instantiated.
    """
    method = getattr(owner, name)
    if hasattr(method, "method_handler_wrapped"):
        raise TargetError(
            f"{owner.__name__} is a Linen module, which does not store its parameters.\n"
            "  Fix: put the contract on a function of them, as in "
            "@contract(..., variables=lambda: net.init(key, image)) above def apply(variables, x)."
        )
    contract = contract_of(method)
    given = contract.given.get("self") if contract else None
    if inspect.isroutine(given):
        with user_code(f"creating self for {owner.__name__}.{name}"):
            return getattr(_make_model(given, abstract, given), name)
    members = vars(sys.modules[owner.__module__]).values()
    instance = next((value for value in (given, *members) if type(value) is owner), given)
    if instance is None:
        instance = call(owner, abstract=abstract, fix=fix)
    return getattr(instance, name)


def call(
    callee: Any,
    args: Sequence[Any] = (),
    options: Mapping[str, Any] | None = None,
    *,
    abstract: bool = True,
    fix: str = PASS_LITERALS,
) -> Any:
    """Call a class or a factory of the user's, with random streams where it needs them.

    Args:
        callee: what to call.
        args: positional arguments.
        options: keyword arguments.
        abstract: whether a model of Flax NNX has shapes in place of weights.
        fix: what to do where the arguments do not fit.

    Raises:
        TargetError: it cannot be called, or fails.
    """
    name = getattr(callee, "__name__", type(callee).__name__)
    if not callable(callee):
        raise TargetError(f"{name} cannot be called.\n  Fix: remove the parentheses.")
    parameters = _signature(callee).parameters
    streams = {
        stream: make_stream
        for stream, make_stream in RANDOM.items()
        if stream in parameters
        and stream not in (options or {})
        # A ``key`` with a default is something else.
        and (stream == "rngs" or parameters[stream].default is inspect.Parameter.empty)
    }
    check_arguments(callee, name, args, {**(options or {}), **streams}, fix)
    defaults: dict[str, Any] = {}
    for adapter in loaded():
        if adapter.defaults is not None:
            defaults |= adapter.defaults(callee)
    given = defaults | dict(options or {})

    def make() -> Any:
        made = {stream: make_stream() for stream, make_stream in streams.items()}
        return callee(*args, **given, **made)

    with user_code(f"calling {name}"):
        for adapter in loaded():
            if adapter.construct is not None and (model := adapter.construct(callee, make)):
                return model
        return _make_model(make, abstract, callee)


def _make_model(make: Callable[[], Any], abstract: bool, source: Any) -> Any:
    """A model without its weights if requested; any other object as it is created.

    Where shapes alone are not enough, the plain call is made, and raises the user's own error.

    Args:
        make: creates it.
        abstract: whether its weights are left out.
        source: the class or function that is called: the libraries that it refers to are tried
            first, as a model that is made the way of another library may get all its weights.
    """
    if abstract:
        # The packages of a class and its bases, or of what the module of a function refers to.
        classes = source.__mro__ if isinstance(source, type) else (source,)
        modules = [getattr(one, "__module__", None) for one in classes]
        if not isinstance(source, type):
            values = getattr(inspect.unwrap(source), "__globals__", {}).values()
            modules += [getattr(value, "__module__", None) for value in values]
            modules += [value.__name__ for value in values if isinstance(value, ModuleType)]
        packages = {name.partition(".")[0] for name in modules if isinstance(name, str)}
        for adapter in sorted(loaded(), key=lambda adapter: adapter.package not in packages):
            if adapter.abstract is not None:
                with contextlib.suppress(Exception):
                    model = adapter.abstract(make)
                    if adapter.is_model(model):
                        return model
    return make()


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    """The signature of a call, which the metaclasses of Flax NNX and Equinox hide for a class."""
    try:
        signature = inspect.signature(fn.__init__ if isinstance(fn, type) else fn)
    except ValueError:  # functions in C may not have one
        return inspect.signature(lambda *args, **options: (args, options))
    return signature.replace(parameters=[*signature.parameters.values()][isinstance(fn, type) :])


def check_arguments(
    fn: Callable[..., Any], name: str, args: Sequence[Any], options: Mapping[str, Any], fix: str
) -> None:
    """Reject a call that does not fit the signature.

    Args:
        fn: what would be called.
        name: how the user wrote it.
        args: positional arguments.
        options: keyword arguments.
        fix: what to do.

    Raises:
        TargetError: too many arguments, too few, or unknown ones.
    """
    signature = _signature(fn)
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        raise TargetError(f"{name}{signature}: {error}.\n  Fix: {fix}.") from None
