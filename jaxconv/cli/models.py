"""A model as the commands call it: in evaluation, with what its library needs beside the images."""

import argparse
import ast
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxconv.adapters.call import Static, bound_model, is_spec, shape_of_spec, static
from jaxconv.adapters.libraries import adapter_of
from jaxconv.cli.arguments import UsageError
from jaxconv.cli.quotes import unquoted_spec
from jaxconv.prover.contract import contract_of
from jaxconv.symbolic.specs import parse_spec

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# Arguments that choose between training and evaluation, and what they are in evaluation.
EVALUATION = {
    "train": False,
    "training": False,
    "is_training": False,
    "is_train": False,
    "deterministic": True,
    "inference": True,
}


def add_keyword_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the option that passes keyword arguments.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--with",
        dest="given",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the model by keyword, such as train=True; repeatable; default: "
        "evaluation, where the model must be told",
    )


def keyword_arguments(texts: Sequence[str]) -> dict[str, Static]:
    """Read keyword arguments, whose values are literals or texts.

    Args:
        texts: such as ``train=True``.

    Raises:
        UsageError: one is written in another way.
    """
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(f"--with {text} cannot be read. Fix: write it as train=True.")
        try:
            literal = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            literal = value  # a word, such as SAME
        given[name.strip()] = static(literal)
    return given


def images(layout: str | None) -> str:
    """Return the spec of a batch of colour images.

    Args:
        layout: such as "NCHW"; None is channels last.
    """
    sizes = {"N": "b", "H": "h", "W": "w", "C": "3"}
    return " ".join(sizes.get(letter, letter.lower()) for letter in layout or "NHWC")


def add_specs(parser: argparse.ArgumentParser) -> None:
    """Declare the specs of a model's inputs, which may be left out.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "specs",
        nargs="*",
        metavar="SPEC",
        help=f'shape of an input; default: the contract of the model, or "{images(None)}"',
    )


def specs_of(model: Any, options: argparse.Namespace) -> Sequence[str]:
    """Return the specs of a model's inputs: those that are given, or images.

    Args:
        model: a function or a model.
        options: of the command: ``specs`` and ``layout``.

    Returns:
        The specs; none where the model has a contract that says them.

    Raises:
        UsageError: a spec describes a result, too, or is not in quotes.
    """
    for spec in options.specs:
        inputs, arrow, _ = map(str.strip, spec.partition("->"))
        if arrow and inputs:
            raise UsageError(
                f'"{spec}" describes a result, and {options.command} takes inputs only.\n'
                f'  Fix: write "{inputs}".'
            )
    require_quotes(model, options.model, options.specs)
    adapter = adapter_of(model)
    layout = options.layout or (adapter.layout(model) if adapter else None)
    return options.specs or (() if contract_of(model) else (images(layout),))


def require_quotes(model: Any, name: str, specs: Sequence[str]) -> None:
    """Reject more specs than a model has arguments, where they are words of one spec.

    Args:
        model: a function or a model.
        name: as the user wrote it.
        specs: what the command got, one text for each argument of the command line.

    Raises:
        UsageError: the spec is not in quotes.
    """
    parameters = _parameters(model)
    if not parameters or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return  # how many arguments it takes is not known
    most = sum(p.kind in POSITIONAL for p in parameters)
    if len(specs) > most and (spec := unquoted_spec(specs)):
        takes = f"{name} takes {most} argument{'s' * (most != 1)}"
        raise UsageError(
            f"{takes}, but {', '.join(specs)} are {len(specs)} specs.\n"
            f"  Fix: quote the spec: {spec}."
        )


def as_called(
    model: Any, name: str, inputs: Sequence[Any], given: Mapping[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Prepare a model to be called with images.

    A model of Equinox that takes one image is mapped over the batch. An argument that the model
    needs, and that chooses training or evaluation, gets its value in evaluation, and a note on
    standard error says so.

    Args:
        model: a function or a model.
        name: as the user wrote it.
        inputs: the specs of its inputs.
        given: keyword arguments.

    Returns:
        What to call, and its keyword arguments.
    """
    if contract_of(model) is not None and not inputs:
        return model, dict(given)
    named = in_evaluation(model, name, len(inputs), given)
    return mapped_over_batch(model, inputs, named), named


def in_evaluation(model: Any, name: str, count: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the arguments that a model needs, and that choose training or evaluation.

    Args:
        model: a function or a model.
        name: as the user wrote it; a note on standard error says what is added.
        count: of positional arguments.
        given: keyword arguments.

    Returns:
        All keyword arguments.
    """
    named = dict(given)
    parameters = _parameters(model)
    lacking = [p for p in parameters if p.kind in POSITIONAL][count:]
    lacking += [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    required = {p.name for p in lacking if p.default is p.empty}
    for flag, value in EVALUATION.items():
        if flag in required and flag not in named:
            named[flag] = static(value)
            opposite = f"--with {flag}={not value}"
            note = f"{name} is called with {flag}={value}; for training add {opposite}."
            print(note, file=sys.stderr)
    return named


def mapped_over_batch(
    model: Any, inputs: Sequence[Any], named: Mapping[str, Any]
) -> Callable[..., Any]:
    """Map a model of Equinox that takes one image over the batch; other models stay as they are.

    Args:
        model: a function or a model.
        inputs: the specs or shapes of its inputs.
        named: keyword arguments.

    Returns:
        What to call.
    """
    adapter = adapter_of(bound_model(model)[0])
    if adapter is None or adapter.batched is None:
        return model
    specs = [parse_spec(one) if isinstance(one, str) else one for one in inputs]

    def examples(size: int) -> list[Any]:
        return [
            shape_of_spec(spec, dict.fromkeys(spec.names(), size)) if is_spec(spec) else spec
            for spec in specs
        ]

    values = {name: getattr(value, "value", value) for name, value in named.items()}
    return adapter.batched(model, examples, values)


def _parameters(model: Any) -> list[inspect.Parameter]:
    """The parameters of a call; none where they are not known."""
    fn: Any = getattr(model, "init", model) if isinstance(model, tuple) else model  # of Haiku
    try:
        parameters = [*inspect.signature(fn).parameters.values()]
    except (TypeError, ValueError):
        return []
    is_haiku = parameters and parameters[0].name == "rng" and fn is not model
    return parameters[1:] if is_haiku else parameters


def made_by(function: Any, name: str, make: Callable[[], Any]) -> Any:
    """Return the model that a function makes with its defaults, if it is such a function.

    Args:
        function: what a name without parentheses stands for.
        name: as the user wrote it.
        make: calls it.

    Returns:
        The model, after a note on standard error; or the function itself.
    """
    if not inspect.isfunction(function) or contract_of(function) is not None:
        return function
    parameters = inspect.signature(function).parameters.values()
    if not all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in parameters):
        return function  # which takes arguments
    try:
        made = make()
    except Exception:  # then it is checked as it is, and says more
        return function
    if adapter_of(made) is None and not callable(made):
        return function
    print(f"{name} is a function that makes a model: {name}() is used.", file=sys.stderr)
    return made
