"""The records of primitives: which are missing, what an unknown one means, and what one is for."""

import re
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import primitives

import jaxconv as jc
import jaxconv.jaxpr.primitives as records
from jaxconv.compat import Primitive, lower_fun, register_lowering
from jaxconv.jaxpr.interpreter import shape_of
from jaxconv.jaxpr.patch_reader import MapAxes, PatchReader, window_values
from jaxconv.jaxpr.primitives import PrimitiveRecord, is_registered, record_of, register, registry
from jaxconv.jaxpr.window_axis import WindowAxis

CALLS_AND_LOOPS = {  # the interpreter reads these
    *("call", "closed_call", "cond", "custom_jvp_call", "custom_lin", "custom_vjp_call", "jit"),
    *("remat2", "scan", "while"),
}
# Treated conservatively: whatever is made of them may see the whole image.
WITHOUT_RECORD = {
    # Whole arrays
    *("approx_top_k", "dynamic_update_slice", "fft", "select_and_scatter", "reduce", "top_k"),
    *("scatter", "scatter-add", "scatter-max", "scatter-min", "scatter-mul", "scatter-sub"),
    *("stack", "tile", "unstack"),
    # Linear algebra
    *("cholesky", "custom_linear_solve", "eig", "eigh", "hessenberg", "householder_product", "lu"),
    *("qr", "schur", "svd", "triangular_solve", "tridiagonal", "tridiagonal_solve"),
    # Number by number, but hardly ever in a network
    *("bessel_i0e", "bessel_i1e", "bitcast_convert_type", "clz", "complex", "conj", "eq_to"),
    *("igamma", "igamma_grad_a", "igammac", "le_to", "lt_to", "mulhi", "polygamma"),
    *("population_count", "regularized_incomplete_beta", "zeta"),
    # Random numbers
    *("random_bits", "random_fold_in", "random_gamma", "random_seed", "random_split"),
    *("rng_bit_generator", "rng_uniform", "threefry2x32"),
    # Several devices, state and effects
    *("after_all", "all_gather", "all_to_all", "axis_index", "create_token", "dce_sink"),
    *("device_put", "empty2", "get", "pmax", "pmin", "ppermute", "psum", "ragged_all_to_all"),
    *("stage", "swap"),
}
NOT_IN_EVERY_JAX = {  # without a record
    *("call", "closed_call", "custom_lin", "dce_sink", "empty2", "eq_to", "eval_jaxpr", "get"),
    *("le_to", "lt_to", "mulhi", "polynomial", "ragged_all_to_all", "random_gamma", "stack"),
    *("stage", "swap", "tile", "unstack"),
}


def lax_primitives():
    """The names of the primitives that ``jax.lax`` and ``jax.extend`` show."""
    shown = (getattr(module, name) for module in (primitives, lax) for name in dir(module)
             if name.endswith("_p"))  # fmt: skip
    return {primitive.name for primitive in shown if hasattr(primitive, "abstract_eval")}


def test_every_primitive_without_a_record_is_known():
    """Where JAX adds a primitive, decide whether it needs a record, or extend the list above."""
    missing = {name for name in lax_primitives() if not is_registered(name)}
    expected = CALLS_AND_LOOPS | WITHOUT_RECORD
    assert missing - expected - NOT_IN_EVERY_JAX == set(), (
        "new in JAX, or their record is lost: register one, or add them to WITHOUT_RECORD above"
    )
    assert expected - missing - NOT_IN_EVERY_JAX == set(), (
        "these have a record now: remove them from WITHOUT_RECORD above"
    )


def test_records_are_of_primitives_that_some_jax_has():
    """A misspelt name would stand for nothing."""
    only_newer = {"log2", "one_minus_square"}
    not_shown = {"ragged_dot", "ragged_dot_general"}
    unknown = set(registry._RECORDS) - lax_primitives() - only_newer - not_shown
    assert unknown == set(), (
        "neither jax.lax nor jax.extend has these: correct the name, add it to only_newer or "
        "not_shown above, or register it in the package that defines the primitive"
    )


def test_a_primitive_has_one_record():
    with pytest.raises(ValueError, match="conv_general_dilated has a record already"):
        register(PrimitiveRecord(), "conv_general_dilated")


def test_what_is_known_of_a_primitive_is_in_one_file():
    """No other file names it, but for ``compat``, its CPU formulations and JAX's function."""
    package = Path(jc.__file__).parent
    for name in ("conv_general_dilated", "dot_general", "reduce_window_max", "concatenate", "pad"):
        files = [
            path.relative_to(package).as_posix()
            for path in package.rglob("*.py")
            if f'"{name}"' in path.read_text() or f"{name}_p" in path.read_text()
        ]
        records = [file for file in files if file.startswith("jaxpr/primitives/")]
        assert len(records) == 1, (name, records)
        may_name_it = ("jaxpr/primitives/", "kernels/", "compat.py", "__init__.py")
        assert all(file.startswith(may_name_it) for file in files), (name, files)


# --- a primitive that jaxconv has never seen -----------------------------------------------------


def stencil_shape(shape):
    b, h, w, c = shape
    return b, (h - 3) // 2 + 1, (w - 3) // 2 + 1, c


def stencil_values(x, kernel):
    """Every channel convolved with the same 3x3 kernel, stride 2, without padding."""
    _, h, w, _ = stencil_shape(x.shape)
    rows = [x[:, i : i + 2 * h - 1 : 2] for i in range(3)]
    parts = [[row[:, :, j : j + 2 * w - 1 : 2] for j in range(3)] for row in rows]
    return sum(kernel[i, j] * parts[i][j] for i in range(3) for j in range(3))


stencil_p = Primitive("toy_stencil")
stencil_p.def_impl(stencil_values)
stencil_p.def_abstract_eval(lambda x, kernel: x.update(shape=stencil_shape(x.shape)))
register_lowering(stencil_p, lower_fun(stencil_values, multiple_results=False))


def window(eqn):
    x, out = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    return [WindowAxis(axis, axis, x[axis], out[axis], 3, 2) for axis in (1, 2)]


def receptive_field(context):
    windows = {a.input_axis: a.substitute(context.substitute) for a in window(context.eqn)}
    return context.change(lambda a, axis: a.slide(windows[axis]) if axis in windows else a)


@dataclass(frozen=True)
class StencilPatch(PatchReader):
    kind = "convolution"
    axes = MapAxes((0,), (1, 2), (3,))

    def read(self, index, *operands):
        x, kernel = operands
        image, *position, channel = index
        patch = window_values(x[image, ..., channel], window(self.eqn), position, 0.0)
        return patch, kernel.astype(float)

    def slide(self, *operands):
        return None


STENCIL = PrimitiveRecord(
    kind="convolution",
    macs=lambda eqn, substitute, _: (*map(substitute, shape_of(eqn.outvars[0])), 9),
    weights=lambda eqn, substitute: (9,),
    weight_operands=(1,),
    receptive_field=receptive_field,
    window=window,
    patch=StencilPatch,
)


@pytest.fixture
def stencil(monkeypatch):
    """Register the record as a module of its own would, for one test."""
    monkeypatch.setattr(registry, "_RECORDS", dict(registry._RECORDS))
    register(STENCIL, "toy_stencil")
    return lambda x, kernel: jnp.tanh(stencil_p.bind(x, kernel))


KERNEL = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), jnp.float32)


def test_one_record_is_enough_for_the_summary(stencil):
    table = jc.summary(stencil, "b h w 3", KERNEL)
    (row,) = table.rows
    assert (row.kind, row.weights, row.parameters) == ("convolution", 9, 9)
    b, h, w = jc.sizes("b h w", where="h >= 3 and w >= 3")
    assert str(row.output) == str((b, (h + 1) // 2 - 1, (w + 1) // 2 - 1, 3))
    (row,) = jc.summary(stencil, "2 9 12 3", KERNEL).rows
    assert row.macs == 2 * 4 * 5 * 3 * 9
    assert row.field.short() == "3/2"


def test_one_record_is_enough_for_the_receptive_field(stencil):
    field = jc.receptive_field(stencil, "1 9 12 3", KERNEL, layer=1)
    assert (field.size, field.stride, field.offset, field.exact) == ((3, 3), (2, 2), (0, 0), True)
    assert field.box(3, 0) == ((6, 9), (0, 3))


def test_one_record_is_enough_for_a_neuron(stencil):
    x = jax.random.normal(jax.random.key(0), (2, 9, 12, 3))
    n = jc.neuron(lambda k, x: stencil(x, k), KERNEL, x, layer=1, at=(3, 2), channel=1, image=1)
    np.testing.assert_array_equal(n.patch, x[1, 6:9, 4:7, 1])
    assert n.then == ("tanh",)
    assert n.value == pytest.approx(n.map_value, abs=1e-5)
    assert n.map_value == pytest.approx(float(stencil(x, KERNEL)[1, 3, 2, 1]))


def test_one_record_is_enough_for_the_note_about_lost_pixels(stencil):
    verdict = jc.check(stencil, "b h w 3", KERNEL, where="h >= 3 and w >= 3")
    assert verdict.ok
    (note,) = [note for note in verdict.notes if "does not reach the end" in note]
    assert re.search(r"pad to sizes with .*odd|% 2", note)


# --- without a record ------------------------------------------------------------------------


def unknown(x, kernel):
    return jnp.tanh(stencil_p.bind(x, kernel))


def test_without_a_record_every_neuron_may_see_everything():
    network = lambda x, kernel: checkpoint_name(unknown(x, kernel), "result")  # noqa: E731
    field = jc.receptive_field(network, "1 9 12 3", KERNEL, layer="result")
    assert not field.exact
    assert (field.map, field.box()) == ((), ((0, 9), (0, 12)))


def test_without_a_record_an_operation_is_no_layer_and_ends_the_one_before():
    network = lambda k, x: unknown(jc.max_pool(x), k)  # noqa: E731
    x = jnp.ones((1, 16, 16, 3))
    (row,) = jc.summary(network, KERNEL, x).rows
    assert (row.kind, row.output, row.macs) == ("pool", (1, 8, 8, 3), 0)
    assert jc.neuron(network, KERNEL, x, layer=1, at=(0, 0), channel=0).then == ()
    assert jc.check(unknown, "b h w 3", KERNEL, where="h >= 3 and w >= 3").notes == ()


def test_a_product_inside_a_primitive_without_a_record_has_unknown_macs():
    def solve(a, b):
        matvec = lambda x: a @ x  # noqa: E731
        return lax.custom_linear_solve(matvec, b, lambda matvec, b: matvec(b), symmetric=True)

    (row,) = jc.summary(solve, jnp.eye(3), jnp.ones((3, 1))).rows
    assert (row.kind, row.macs) == ("unknown", None)


def test_the_default_record_promises_nothing():
    eqn = jax.make_jaxpr(unknown)(jnp.ones((1, 9, 9, 3)), KERNEL).eqns[0]
    record = record_of(eqn)
    assert record is records.DEFAULT
    assert record.receptive_field is registry.everything
    rest = {name: value for name, value in vars(record).items() if name != "receptive_field"}
    assert not any(rest.values())
