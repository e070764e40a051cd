"""Every name of JAX that jaxconv relies on is renamed once: proofs stop, layers keep working."""

import operator
import tomllib
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax._src import core
from jax._src.export import shape_poly

import jaxconv as jc
from jaxconv import compat
from tests.support.processes import forked

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _fresh():
    """Have the check, which runs once, run in each test, and once more after it."""
    compat.require_supported_jax.cache_clear()
    compat.require_dimensions.cache_clear()
    yield
    compat.require_supported_jax.cache_clear()
    compat.require_dimensions.cache_clear()


def test_this_jax_is_as_expected():
    assert [*compat._differences()] == []


def test_the_oldest_version_is_the_one_that_is_required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"jax>={compat.OLDEST}" in project["dependencies"]


RENAMED = """
import contextlib, importlib, sys
import jax, jax.numpy as jnp, numpy as np

sys.dont_write_bytecode, sys.pycache_prefix = False, sys.argv[1]  # all is imported again and again
x = np.random.default_rng(0).normal(size=(2, 9, 9, 16)).astype(np.float32)
kernel = np.random.default_rng(1).normal(size=(3, 3, 16, 16)).astype(np.float32)
order = ("NHWC", "HWIO", "NHWC")
expected = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=order)

def renamed(name):
    for loaded in [m for m in sys.modules if m == "jaxconv" or m.startswith("jaxconv.")]:
        del sys.modules[loaded]
    removed = []
    for module, name_there in places(name):
        with contextlib.suppress(ImportError, KeyError):  # where versions of JAX differ
            owner = importlib.import_module(module)
            removed.append((owner, name_there, vars(owner).pop(name_there)))
    assert removed, name
    sought = " or ".join(map(".".join, places(name)))
    try:
        import jaxconv as jc, jaxconv.compat
    finally:
        for owner, name_there, kept in removed:
            setattr(owner, name_there, kept)
    from flax import nnx
    assert np.allclose(jc.conv(x, kernel), expected, atol=1e-3), "conv"
    model = jc.VGG([(4,)], head=None, rngs=nnx.Rngs(0))
    assert jax.grad(lambda x: jc.max_pool(model(x)).sum())(jnp.ones((1, 8, 8, 3))).shape[1] == 8
    assert jc.jit(jc.max_pool)(x).shape == (2, 4, 4, 16)
    from jaxconv.compat import UnsupportedJaxError
    for proof in (
        lambda: jc.check(jc.max_pool, "b h w c"),
        lambda: jc.summary(jc.max_pool, "1 8 8 3"),
        lambda: jc.feature_maps(model)(x),
        lambda: jc.compile(jc.max_pool, "1 8 8 3"),
    ):
        try:
            proof()
        except UnsupportedJaxError as error:
            assert f"{sought} is missing" in str(error), error
            assert "Fix: python -m pip install 'jax>=" in str(error), error
        else:
            raise AssertionError(f"{sought} is missing, and nothing stops")

from jaxconv.compat import INTERNALS, places
for name in INTERNALS:
    renamed(name)
    print(name)
"""


@pytest.mark.slow
def test_without_an_internal_proofs_stop_and_layers_and_models_go_on(tmp_path):
    done = forked("-c", RENAMED, tmp_path, cwd=ROOT)
    assert done.stderr == ""
    assert done.stdout.split() == [*compat.INTERNALS]


def test_an_internal_is_found_in_the_first_place_that_has_it(monkeypatch):
    monkeypatch.setattr(compat, "missing", {})
    elsewhere = ("jax.nowhere", "jax.core:nothing", "jax.extend.core:Literal", "jax.core")
    monkeypatch.setitem(compat.INTERNALS, "Tracer", elsewhere)
    assert compat._find("Tracer") is compat.Literal
    assert compat.missing == {}
    monkeypatch.setitem(compat.INTERNALS, "Tracer", elsewhere[:2])
    with pytest.raises(compat.UnsupportedJaxError) as error:
        compat._find("Tracer")()
    assert "jax.nowhere.Tracer or jax.core.nothing is missing" in str(error.value)


CALLERS = {
    "_canonicalize_dimension": core._canonicalize_dimension,
    "is_constant_dim": core.is_constant_dim,
    "convert_to_index": core.canonicalize_slice,
    "__new__": core.ShapedArray.__new__,
    "to_tangent_aval": core.ShapedArray.to_tangent_aval,
}


def renamed(code, name):
    """The code of a function in which the function of a name, itself or inside, has another."""
    inner = tuple(
        renamed(part, name) if hasattr(part, "co_name") else part for part in code.co_consts
    )
    other = f"{name}_2" if code.co_name == name else code.co_name
    return code.replace(co_consts=inner, co_name=other)


@pytest.mark.parametrize("name", CALLERS)
def test_a_caller_of_another_name_stops_proofs(monkeypatch, name):
    function = CALLERS[name]
    monkeypatch.setattr(function, "__code__", renamed(function.__code__, name))
    jax.clear_caches()
    with pytest.raises(compat.UnsupportedJaxError, match=f"{name} no longer") as error:
        jc.check(jc.max_pool, "b h w c")
    assert f"this is JAX {jax.__version__}" in str(error.value)


def test_every_caller_is_renamed():
    expected = {compat.ASKS_FOR_NEW_ARRAY, *compat.ASKS_IF_CONSTANT, *compat.HASHES_FOR_CACHE}
    assert CALLERS.keys() == expected


@pytest.mark.parametrize("path", compat.ATTRIBUTES)
def test_an_equation_without_an_attribute_is_noticed(path):
    tree = {}
    for other in compat.ATTRIBUTES:
        *parents, name = other.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        if other != path:
            place.setdefault(name, {})
    assert [*compat._missing_attributes(as_object(tree), compat.ATTRIBUTES)] == [path]


def as_object(tree):
    return SimpleNamespace(**{name: as_object(value) for name, value in tree.items()})


def test_a_function_of_the_users_is_not_taken_for_one_of_jax():
    def convert_to_index():
        """A name that JAX uses, too."""

    assert not compat.asks_if_constant(convert_to_index.__code__)


def test_a_convolution_has_its_own_operators_again_after_a_proof():
    names = jax.lax.conv_general_dilated.__globals__
    with compat.padding_by_sizes():
        assert names["operator"] is not operator
        assert names["operator"].index(np.int8(3)) == 3
    assert names["operator"] is operator


def test_a_size_is_symbolic_for_other_libraries_while_it_is_traced():
    def function(x):
        function.answers.append([is_symbolic_dim(x.shape[0]), jax.export.is_symbolic_dim(3)])
        return x

    function.answers = []  # an attribute of a function is not restored
    is_symbolic_dim = jax.export.is_symbolic_dim
    assert jc.check(function, "b").ok
    assert [True, False] in function.answers  # for formulas
    assert [False, False] in function.answers  # for numbers
    (size,) = jc.sizes("b")
    assert not is_symbolic_dim(size)
    assert is_symbolic_dim(jax.export.symbolic_shape("b")[0])


def test_a_function_that_no_longer_knows_symbolic_sizes_stops_proofs(monkeypatch):
    monkeypatch.setattr(core, "is_symbolic_dim", lambda size: False)
    assert "is_symbolic_dim no longer asks jax.core if a size is symbolic" in [
        *compat._differences()
    ]


@pytest.mark.parametrize("size", [lambda: jax.lax.psum(1, "i"), lambda: jax.lax.axis_size("i")])
def test_a_named_axis_has_a_symbolic_size(size):
    def mean(row):
        assert jax.lax.pmean(row, "i").shape == row.shape
        return jax.numpy.ones(size()) * jax.lax.pmean(row, "i").sum()

    assert jc.check(jax.vmap(mean, axis_name="i"), "b h", returns="b b").ok
    normed = jax.vmap(lambda row: row / jax.lax.psum(jax.numpy.float32(1), "i"), axis_name="i")
    assert jc.check(normed, "b h", returns="b h").ok


def test_the_dimensions_of_this_jax_are_as_expected():
    compat.require_dimensions()


@pytest.mark.parametrize("path", compat.DIMENSION_ATTRIBUTES)
def test_without_a_name_of_dimensions_exports_stop_and_proofs_go_on(monkeypatch, path):
    owner, _, name = path.rpartition(".")
    parts = dict(vars(shape_poly))
    if owner:
        kept = {part: 1 for part in dir(getattr(shape_poly, owner)) if part != name}
        parts[owner] = SimpleNamespace(**kept)
    else:
        del parts[name]
    monkeypatch.setattr(compat, "_dimensions_module", lambda: SimpleNamespace(**parts))
    with pytest.raises(compat.UnsupportedJaxError, match=r"Fix: python -m pip install") as error:
        jc.export(jc.max_pool, "b h w 3")
    assert f"{compat.DIMENSIONS}.{path} is missing" in str(error.value)
    assert jc.check(jc.max_pool, "b h w 3", where="h >= 2 and w >= 2").ok
    assert jc.export(jc.max_pool, "1 8 8 3").out_avals[0].shape == (1, 4, 4, 3)


@pytest.mark.parametrize("name", ["_normalize_sorted_terms", "_bounds_decision"])
def test_dimensions_that_are_decided_elsewhere_stop_exports(monkeypatch, name):
    class Deaf:
        """A module in which what is replaced is not what is called."""

        def __getattr__(self, asked):
            return getattr(shape_poly, asked)

    class Expression(shape_poly._DimExpr):
        pass

    deaf = Deaf()
    if name == "_normalize_sorted_terms":
        deaf._DimExpr = Expression
    monkeypatch.setattr(compat, "_dimensions_module", lambda: deaf)
    with pytest.raises(
        compat.UnsupportedJaxError, match=rf"no longer made or compared by .*{name}"
    ):
        jc.export(jc.max_pool, "b h w 3")
