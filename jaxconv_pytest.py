"""The door by which pytest finds jaxconv's plugin: it loads nothing of jaxconv until asked.

It stands beside the package, since importing anything of a package imports the package, and so
JAX; and what pytest imports before a project's conftest.py is measured by no coverage and seen by
no import hook.
"""

from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--contracts``."""
    parser.getgroup("jaxconv").addoption(
        "--contracts",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="prove every contract in a package, a module or a FILE.py, each as a test; repeatable",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect contracts where they are asked for."""
    if config.option.contracts:
        from jaxconv.testing import pytest_plugin

        config.pluginmanager.register(pytest_plugin, "jaxconv-contracts")


@pytest.fixture
def prove() -> Any:
    """Prove shapes in a test of your own: ``prove(fn, "b h w 3", returns="b 10")``."""
    from jaxconv.testing.pytest_plugin import prove

    return prove
