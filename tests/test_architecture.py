"""The architecture: which subpackage may import which, read off the source."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import jaxconv

PACKAGE = Path(__file__).parents[1] / "jaxconv"
# From the ground up: what each subpackage and module of the package may import.
MAY_IMPORT = {
    "errors": set(),
    "display": set(),
    "source": set(),
    "compat": {"source"},
    "symbolic": {"compat", "display", "source", "errors"},
    "jaxpr": {"compat", "symbolic"},
    "adapters": {"compat", "symbolic", "source", "errors"},
    "prover": {"adapters", "jaxpr", "symbolic", "compat", "display", "source", "errors"},
    "kernels": {"jaxpr", "compat"},
    "layers": {"kernels", "errors"},
    "models": {"layers", "errors"},
    "analysis": {
        "adapters",
        "jaxpr",
        "compat",
        "display",
        "prover",
        "symbolic",
        "source",
        "errors",
    },
    "aot": {"adapters", "jaxpr", "compat", "kernels", "prover", "symbolic", "source", "errors"},
    "plotting": {
        "analysis",
        "compat",
        "display",
        "layers",
        "jaxpr",
        "prover",
        "symbolic",
        "errors",
    },
    "testing": {"cli", "compat", "prover", "errors"},
    "cli": {
        "adapters",
        "aot",
        "compat",
        "models",
        "plotting",
        "analysis",
        "prover",
        "symbolic",
        "layers",
        "source",
        "errors",
    },
    "__main__": {"cli"},
    "__init__": {
        "adapters",
        "aot",
        "analysis",
        "kernels",
        "layers",
        "models",
        "plotting",
        "prover",
        "symbolic",
        "errors",
    },
}
HEAVY = {"matplotlib", "PIL", "rich", "onnx", "huggingface_hub", "safetensors", "platformdirs",
         "torch", "torchvision", "timm", "keras", "h5py", "onnxruntime", "openvino"}  # fmt: skip
LIGHT = {"jax", "flax", "chex", "numpy"}


def subpackage(path):
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
def test_imports_follow_the_architecture(path):
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("jaxconv.")}
    assert ours <= MAY_IMPORT[subpackage(path)] | {subpackage(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_package_needs_neither_its_experiments_nor_its_tests(path):
    assert not {name.split(".")[0] for name in imported(path)} & {"experiments", "tests"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_importing_jaxconv_stays_light(path):
    tops = {name.split(".")[0] for name in imported(path, top_level_only=True)}
    assert not tops & HEAVY


def test_sizes_and_their_arithmetic_do_not_know_jax():
    rules = [
        PACKAGE / f"layers/{name}.py" for name in ("windows", "layouts", "channels", "shape_rules")
    ]
    light = dict.fromkeys(rules, LIGHT)
    light |= dict.fromkeys((PACKAGE / "symbolic").glob("*.py"), LIGHT - {"numpy"})
    for path, packages in light.items():
        assert not {name.split(".")[0] for name in imported(path, top_level_only=True)} & packages


TESTS = Path(__file__).parent
# Test files of no single module: what they test instead.
CROSS_CUTTING = {
    "test_architecture.py": "imports, and this table",
    "test_docs.py": "the pages of docs/",
    "cli/editor/test_neovim.py": "the language server in a real editor",
    "test_fixes.py": "the fixes that messages propose",
    "test_notebooks.py": "the notebooks that are made from pages",
    "test_readme.py": "README.md",
    "test_repository.py": "workflows, versions and addresses",
    "analysis/test_receptive_field_traps.py": "networks that mislead receptive fields",
    "experiments/bench/test_main.py": "python -m experiments.bench",
    "kernels/test_exactness.py": "rounding, compared with PyTorch",
    "layers/test_parity.py": "every layer against NumPy, onnxruntime and PyTorch",
    "plotting/test_explorer_in_browser.py": "the explorer's page in Chromium",
    "prover/test_traps.py": "functions that mislead proofs",
}


def module_of(path):
    """Where the module of a test file is, which may be a file or a folder."""
    parts = path.relative_to(TESTS).with_name(path.stem.removeprefix("test_")).parts
    root = PACKAGE.parent if parts[0] == "experiments" else PACKAGE
    return root.joinpath(*parts)


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("test_*.py")), ids=lambda p: str(p.relative_to(TESTS))
)
def test_a_test_file_has_the_name_of_its_module(path):
    module = module_of(path)
    is_module = module.is_dir() or module.with_name(f"{module.name}.py").is_file()
    assert is_module != (str(path.relative_to(TESTS)) in CROSS_CUTTING), module


def test_each_cross_cutting_test_file_exists():
    assert not [name for name in CROSS_CUTTING if not (TESTS / name).is_file()]


def test_static_tools_see_the_public_names_where_they_are():
    """The imports for static tools and the table for the first use say the same."""
    (block,) = (node for node in ast.parse((PACKAGE / "__init__.py").read_text()).body
                if isinstance(node, ast.If))  # fmt: skip
    imports = {node.module: tuple(alias.name for alias in node.names) for node in block.body}
    assert imports == {f"jaxconv.{module}": names for module, names in jaxconv._NAMES.items()}
    for module, names in imports.items():
        assert all(getattr(jaxconv, name) is getattr(import_module(module), name) for name in names)
    assert {*jaxconv.__all__} <= {*dir(jaxconv)}


def test_importing_jaxconv_imports_nothing_heavy():
    code = """if True:
    import sys, jaxconv
    print([name for name in sys.modules if name.split(".")[0] in ("jax", "flax", "numpy")])
    print([name for name in sys.modules if name.startswith("jaxconv.")])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"
