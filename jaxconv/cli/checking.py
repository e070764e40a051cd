"""Prove all that a target names, and report one function after the other."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from jaxconv.cli.loader import is_object
from jaxconv.cli.models import keyword_arguments
from jaxconv.cli.obligations import Work, obligation, obligations
from jaxconv.cli.reports import Report, layer_lines, report
from jaxconv.cli.result_cache import ResultCache, content_of
from jaxconv.cli.settings import project_folder, read_settings
from jaxconv.cli.user_code import TargetError
from jaxconv.errors import ShapeError


@dataclass(frozen=True)
class Request:
    """What to prove.

    Attributes:
        targets: a function or model, or modules, packages and files.
        specs: shapes of the inputs and outputs of a function or model.
        given: values of arguments, each as NAME=VALUE.
        where: a condition on the sizes.
        cached: whether reports of earlier runs are used, and those of this one kept.
        layers: whether each report is followed by one with the layers.
    """

    targets: tuple[str, ...]
    specs: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    where: str | None = None
    cached: bool = False
    layers: bool = False


class NotStarted(NamedTuple):
    """A proof that could not start.

    Attributes:
        name: of the function or model.
        message: why, and the fix.
        is_required: whether a contract asks for it.
        path: of the file that defines it; empty where none is known.
        line: where it is defined.
    """

    name: str
    message: str
    is_required: bool
    path: str
    line: int


class Tally(NamedTuple):
    """How many functions there are.

    Attributes:
        obligations: to prove.
        without_shapes: that say nothing to prove.
        ignored: that comments or the settings leave out.
    """

    obligations: int
    without_shapes: int
    ignored: int


def check_all(request: Request, tell: Callable[[Report | NotStarted], None]) -> Tally:
    """Prove one by one.

    Args:
        request: what to prove.
        tell: is called with the result for each function, at once, since the next may take a while.

    Returns:
        How many functions there are.

    Raises:
        TargetError: there is nothing to prove, or the settings cannot be read.
        ShapeError: an argument of the request cannot be read.
    """
    settings = read_settings(Path.cwd())
    given = keyword_arguments(request.given)
    if request.specs or is_object(request.targets[0]):
        spec = ", ".join(request.specs) if request.specs else None
        work = Work([obligation(request.targets[0], spec, given, request.specs)], 0, 0)
    else:
        work = obligations(request.targets, settings.exclude)
    cache = ResultCache(project_folder(Path.cwd())) if request.cached else None
    content_by_module = functools.cache(content_of)
    ignored = 0
    for one in work.obligations:
        question = (one.name, replace(request, targets=()), settings)
        content = content_by_module(one.module) if cache else ""
        try:
            found = cache and cache.read(question, content)
            if not found:
                start = time.monotonic()
                verdict = one.prove(request.where, given, settings)
                found = report(one.name, one.origin, verdict)
                if cache and time.monotonic() - start < settings.seconds:
                    cache = cache if cache.write(question, content, found) else None
        except (ShapeError, TargetError) as error:
            tell(
                NotStarted(one.name, str(error), one.is_required, one.origin.path, one.origin.line)
            )
            continue
        if found.is_ignored(one.ignored):
            ignored += 1
            continue
        tell(found)
        if request.layers and not found.layers:
            rows = one.layers(request.where, given, settings)
            if rows:
                found = replace(found, layers=tuple(layer_lines(rows)))
                tell(found)
                if cache:
                    cache.write(question, content, found)
    return Tally(len(work.obligations) - ignored, work.without_shapes, work.ignored + ignored)
