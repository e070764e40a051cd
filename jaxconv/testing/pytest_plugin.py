"""Contracts as tests of pytest; ``jaxconv_pytest`` beside this package loads it where asked for."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxconv.cli.loader import Obligation, TargetError, obligations
from jaxconv.errors import ShapeError
from jaxconv.prover.check import check
from jaxconv.prover.verdict import Verdict


class NotProvenError(Exception):
    """A verdict other than proven."""


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Add what ``--contracts`` names to what the session collects, test files or none."""
    report = yield
    if isinstance(collector, pytest.Session) and report.passed:
        for target in collector.config.option.contracts:
            report.result.append(Contracts.from_parent(collector, name=target, nodeid=target))
    return report


class Contracts(pytest.Collector):
    """The contracts of one package, module or FILE.py."""

    def collect(self) -> Iterator["ContractItem"]:
        """Find them; the user's errors are told as the user's."""
        try:
            found = obligations(self.name)
        except TargetError as error:
            raise self.CollectError(str(error)) from None
        for obligation in found:
            nodeid = obligation.name.replace(":", "::")
            name = nodeid.rpartition("::")[2]
            yield ContractItem.from_parent(self, name=name, nodeid=nodeid, obligation=obligation)


class ContractItem(pytest.Item):
    """One contract to prove."""

    def __init__(self, *, obligation: Obligation, **options: Any) -> None:
        super().__init__(**options)
        self.obligation = obligation

    def runtest(self) -> None:
        """Prove it."""
        verdict = self.obligation.prove()
        if not verdict.ok:
            raise NotProvenError(str(verdict))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The verdict, or the user's error, where others have a traceback."""
        if isinstance(excinfo.value, NotProvenError | TargetError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """File and line of the function; pytest counts lines from 0."""
        origin = self.obligation.origin
        return Path(origin.path), origin.line - 1, f"contract of {self.name}"


def prove(
    fn: Callable[..., Any], *args: Any, returns: Any = None, where: str | None = None
) -> Verdict:
    """Do what :func:`jaxconv.check` does; unless all is proven, fail the test with the verdict."""
    __tracebackhide__ = True
    try:
        verdict = check(fn, *args, returns=returns, where=where)
    except ShapeError as error:
        raise error.with_traceback(None) from None  # the test's line and the sentence, no more
    if not verdict.ok:
        pytest.fail(str(verdict), pytrace=False)
    return verdict
