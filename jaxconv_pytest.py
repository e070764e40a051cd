"""The entry point by which pytest finds jaxconv's plugin; it imports jaxconv only when asked to.

It stands beside the package, since importing a module of a package imports the package, and so
JAX. And what pytest imports before a project's conftest.py escapes coverage and import hooks.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jaxconv.prover.verdict import Verdict


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--contracts``.

    Args:
        parser: of pytest's command line.
    """
    parser.getgroup("jaxconv").addoption(
        "--contracts",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="prove every contract in a package, a module or a FILE.py, each as a test; repeatable",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect contracts where they are asked for.

    Args:
        config: with the options.
    """
    if config.option.contracts:
        from jaxconv.testing import pytest_plugin

        config.pluginmanager.register(pytest_plugin, "jaxconv-contracts")


@pytest.fixture
def prove() -> "Callable[..., Verdict]":
    """Prove shapes in a test of your own: ``prove(fn, "b h w 3", returns="b 10")``."""
    from jaxconv.testing.pytest_plugin import prove

    return prove
