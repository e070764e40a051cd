"""``jaxconv.jit`` is ``jax.jit`` wherever it stands, with our options where they can count."""

import functools

import jax
import jax.numpy as jnp
import pytest

import jaxconv as jc
from jaxconv.aot import options
from tests.support.processes import forked
from tests.support.programs import agree, normal

X = jnp.asarray(normal(2, 4))


@jc.jit
def double(x):
    """Twice x."""
    return 2 * x


INSIDE = {
    "jit": jax.jit(lambda x: double(x) + 1),
    "itself": jc.jit(lambda x: double(x) + 1),
    "grad": jax.grad(lambda x: (double(x) ** 2).sum()),
    "vmap": jax.vmap(double),
    "scan": lambda x: jax.lax.scan(lambda x, _: (double(x), None), x, None, length=2)[0],
    "checkpoint": jax.checkpoint(double),
    "compile": lambda x: jc.compile(double, x)(x),
}


@pytest.mark.parametrize("fn", INSIDE.values(), ids=INSIDE)
def test_it_can_stand_inside(fn):
    expected = {"jit": 2 * X + 1, "itself": 2 * X + 1, "grad": 8 * X, "scan": 4 * X}
    (name,) = [name for name, each in INSIDE.items() if each is fn]
    agree(fn(X), expected.get(name, 2 * X))
    agree(double(X), 2 * X)


class Scaled:
    def __init__(self, by):
        self.by = by

    @functools.partial(jc.jit, static_argnums=0)
    def times(self, x):
        return self.by * x


def test_it_makes_methods():
    agree(Scaled(3).times(X), 3 * X)
    agree(Scaled(5).times(X), 5 * X)


def test_it_has_the_metadata_of_the_wrapped_function():
    assert (double.__name__, double.__doc__) == ("double", "Twice x.")
    assert double.eval_shape(X).shape == X.shape
    assert double.trace(X).jaxpr.out_avals[0].shape == X.shape
    assert not hasattr(double, "no_such_name")


def used(monkeypatch, **given):
    found = []
    jit = jax.jit
    monkeypatch.setattr(
        options.jax, "jit", lambda fn, **o: found.append(o["compiler_options"]) or jit(fn, **o)
    )
    assert jc.jit(double, **given).lower
    return found[0]


def test_options_of_the_user_count_first(monkeypatch):
    name, *others = options.CPU_OPTIONS
    assert used(monkeypatch) == options.CPU_OPTIONS
    given = used(monkeypatch, compiler_options={name: "FUSION_TYPE_DOT"})
    assert given == {name: "FUSION_TYPE_DOT"} | {
        other: options.CPU_OPTIONS[other] for other in others
    }


@pytest.mark.parametrize(
    "name", ["LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION", "LIBRARY_FUSION_TYPE_REDUCE"]
)
def test_the_library_of_xla_computes_sums_and_single_convolutions(name):
    def program(x, kernel):
        if name.endswith("REDUCE"):
            return (x * x).sum((0, 1, 2))
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=ORDER)

    given = jnp.ones((4, 32, 32, 64)), jnp.ones((5, 5, 64, 64))
    assert "ynn_fusion" in jc.jit(program).lower(*given).compile().as_text()
    # This XLA knows the name: without it, it computes the operation itself.
    others = [one for one in options.LIBRARY_FUSIONS if one != name]
    rest = {"xla_cpu_experimental_ynn_fusion_type": ",".join(others)}
    alone = jc.jit(program, compiler_options=rest)
    assert "ynn_fusion" not in alone.lower(*given).compile().as_text()


ORDER = ("NHWC", "HWIO", "NHWC")


def test_other_platforms_get_no_options(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert options.compiler_options() == {}


def test_decorating_starts_no_device():
    code = """
import functools, jaxconv as jc
from jax._src.xla_bridge import backends_are_initialized
@functools.partial(jc.jit, donate_argnums=0)
def double(x):
    return 2 * x
assert not backends_are_initialized()
double(1.0)
assert backends_are_initialized()
"""
    forked("-c", code).check_returncode()
