"""Run-time type checks: every annotation of the package is checked if a variable is set, as in CI.

With them, an argument of a wrong type is refused before our own code.
"""

import ast
import importlib
import inspect
import os
import pkgutil
import random
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import pytest

TYPE_CHECKS = "JAXCONV_CHECK_TYPES" in os.environ
WITHOUT_TYPE_CHECKS = pytest.mark.skipif(TYPE_CHECKS, reason="the type checks refuse the argument")


def check_annotations() -> None:
    """Check every annotation of the package, which nothing may have imported yet."""
    import beartype._check.code.codemain as beartype_code
    import beartype._decor._nontype.decornontype as beartype_functions
    from beartype import BeartypeConf, BeartypeDecorPlace
    from beartype.claw import beartype_package

    # It examines one element of a list, chosen at random. By a generator of its own, since a
    # function that draws numbers from the one that all code shares is proven in more traces.
    assert beartype_code.getrandbits == random.getrandbits
    beartype_code.getrandbits = random.Random(0).getrandbits
    beartype_functions.beartype_func = _checked_once_made(beartype_functions.beartype_func)

    # Innermost, so that what a decorator makes of a function is checked by what the function says;
    # an int is a float, as static checkers have it.
    first = BeartypeDecorPlace.FIRST
    conf = BeartypeConf(claw_decor_place_func=first, is_pep484_tower=True)
    beartype_package("jaxconv", conf=conf)
    _name_what_is_imported_for_types()


def _checked_once_made(check: Callable[..., Any]) -> Callable[..., Any]:
    """Make the checks of an inner function once, rather than each time that it is defined.

    To make them takes far longer than to run them: they are code that is written and compiled.
    What differs the next time is the function that they call.
    """
    made: dict[CodeType, tuple[dict[str, Any], FunctionType]] = {}

    def checked(func: Any, *args: Any, **kwargs: Any) -> Any:
        inner = isinstance(func, FunctionType) and "<locals>" in func.__qualname__
        annotations, before = made.get(func.__code__, (None, None)) if inner else (None, None)
        if before is None or annotations != func.__annotations__:
            after = check(func, *args, **kwargs)
            if inner and after is not func:
                made[func.__code__] = func.__annotations__, _calling(after, check)
            return after
        return _calling(before, func)

    return checked


def _calling(checks: FunctionType, func: Callable[..., Any]) -> FunctionType:
    """Return the checks around another function."""
    code, names = checks.__code__, checks.__globals__
    after = FunctionType(code, names, checks.__name__, checks.__defaults__, checks.__closure__)
    assert checks.__kwdefaults__["__beartype_func"] is checks.__wrapped__
    after.__kwdefaults__ = checks.__kwdefaults__ | {"__beartype_func": func}
    after.__dict__.update(checks.__dict__, __wrapped__=func)
    after.__annotations__, after.__qualname__ = checks.__annotations__, checks.__qualname__
    after.__module__, after.__doc__ = checks.__module__, checks.__doc__
    return after


def _name_what_is_imported_for_types() -> None:
    """Give each module what it imports for a static checker only: the checks need it, too."""
    import jaxconv

    for info in pkgutil.walk_packages(jaxconv.__path__, "jaxconv."):
        module = importlib.import_module(info.name)
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                code = compile(ast.Module(node.body, []), str(module.__file__), "exec")
                exec(code, vars(module))
