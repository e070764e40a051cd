"""Contracts as pytest items; ``jaxconv_pytest``, next to this package, registers it on request."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxconv.cli.obligations import Obligation, obligations
from jaxconv.cli.reports import report
from jaxconv.cli.settings import read_settings
from jaxconv.cli.user_code import TargetError
from jaxconv.compat import UnsupportedJaxError
from jaxconv.errors import ShapeError
from jaxconv.prover.check import check
from jaxconv.prover.verdict import Verdict


class NotProvenError(Exception):
    """A verdict other than proven."""


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Collect the contracts that ``--contracts`` names, with or without test files.

    Args:
        collector: any; that of the session gets the contracts.

    Returns:
        Its report.
    """
    report = yield
    if isinstance(collector, pytest.Session) and report.passed:
        for target in collector.config.option.contracts:
            report.result.append(Contracts.from_parent(collector, name=target, nodeid=target))
    return report


class Contracts(pytest.Collector):
    """The contracts of one package, module or FILE.py."""

    def collect(self) -> Iterator["ContractItem"]:
        """Return an item for each; errors of the user's code are reported as the user's."""
        try:
            work = obligations([self.name], read_settings(Path.cwd()).exclude).obligations
        except TargetError as error:
            raise self.CollectError(str(error)) from None
        for obligation in work:
            nodeid = obligation.name.replace(":", "::")
            name = nodeid.rpartition("::")[2]
            yield ContractItem.from_parent(self, name=name, nodeid=nodeid, obligation=obligation)


class ContractItem(pytest.Item):
    """One contract to prove."""

    def __init__(self, *, obligation: Obligation, **options: Any) -> None:
        super().__init__(**options)
        self.obligation = obligation

    def runtest(self) -> None:
        """Prove it.

        Raises:
            NotProvenError: it is refuted, or could only be tested.
            TargetError: the proof could not start.
        """
        one = self.obligation
        verdict = one.prove(settings=read_settings(Path.cwd()))
        is_ignored = report(one.name, one.origin, verdict).is_ignored(one.ignored)
        if not verdict.ok and not is_ignored:
            raise NotProvenError(str(verdict))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the verdict, or the user's error, in place of a traceback.

        Args:
            excinfo: the exception that failed the item.
            style: of a traceback, for other exceptions.
        """
        if isinstance(excinfo.value, NotProvenError | TargetError | UnsupportedJaxError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return file and line of the function, counted from 0 as pytest does, and a title."""
        origin = self.obligation.origin
        return Path(origin.path), origin.line - 1, f"contract of {self.name}"


def prove(
    fn: Callable[..., Any], *args: Any, returns: Any = None, where: str | None = None
) -> Verdict:
    """Call :func:`jaxconv.check`, and fail the test with the verdict unless it is proven.

    Args:
        fn: the function or model.
        *args: its arguments, such as specs.
        returns: what it must return.
        where: a condition on the sizes.

    Returns:
        The verdict.

    Raises:
        ShapeError: the proof could not start.
    """
    __tracebackhide__ = True
    try:
        verdict = check(fn, *args, returns=returns, where=where)
    except ShapeError as error:
        raise error.with_traceback(None) from None  # the test's line and the sentence, no more
    if not verdict.ok:
        pytest.fail(str(verdict), pytrace=False)
    return verdict
