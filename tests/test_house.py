"""The arrows of the house: which room may import which, read off the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxconv"
MAY_IMPORT = {
    "shapes": {"shapes"},
    "layers": {"layers", "shapes"},
    "inspect": {"inspect", "shapes"},
    "pictures": {"pictures", "inspect", "shapes"},
    "compiled": {"compiled", "inspect", "layers", "shapes"},
    "models": {"models", "layers", "shapes"},
    "targets": {"models", "shapes"},
    "bench": {"bench", "models"},
    "report": {"shapes"},
    "pytest_plugin": {"targets", "shapes"},
    "commands": {
        *("commands", "targets", "report", "bench", "models", "pictures", "inspect", "shapes")
    },
    "cli": {"commands", "targets", "models", "pictures", "shapes"},
    "__init__": {"compiled", "models", "inspect", "layers", "shapes"},
}
HEAVY = {"matplotlib", "PIL", "rich", "onnx", "huggingface_hub", "safetensors", "platformdirs",
         "torch", "onnxruntime", "openvino"}  # fmt: skip
LIGHT = {"jax", "flax", "chex", "numpy"}


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path, *, top_level_only=False):
    """Dotted names of the modules that a file imports."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_follow_the_plan(path):
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("jaxconv.")}
    assert ours <= MAY_IMPORT[room(path)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_package_needs_neither_its_experiments_nor_its_tests(path):
    assert not {name.split(".")[0] for name in imported(path)} & {"experiments", "tests"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_importing_jaxconv_stays_light(path):
    tops = {name.split(".")[0] for name in imported(path, top_level_only=True)}
    assert not tops & HEAVY


def test_the_arithmetic_of_the_shapes_room_does_not_know_jax():
    using = {
        path.stem
        for path in (PACKAGE / "shapes").glob("*.py")
        if {name.split(".")[0] for name in imported(path, top_level_only=True)} & LIGHT
    }
    assert using == {"contracts", "proof", "search", "traced"}
