"""Runtime type checks for the whole package, and the number of random configurations."""

from jaxtyping import install_import_hook

install_import_hook("jaxconv", "beartype.beartype")

import pytest  # noqa: E402 - the hook must come before anything imports jaxconv


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--configurations",
        type=int,
        default=100,
        help="random configurations of each layer compared with PyTorch and NumPy",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--configurations")))
