"""Random convolutions of one kind, compared with NumPy in float64 and with `lax` in float32."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv as jc
from jaxconv.kernels.lowering import is_cpu_primitive, schedule_of_equation
from tests.support import reference
from tests.support.configurations import ConvCase

MOST = 3  # times the error of lax
LARGEST = 1e-6  # error of lax, which reads memory that is not its own in some cases (padding.py)
ROUNDING = 1.5e-7  # of the root mean square: a smaller error is as good as none
SLOW = "stablehlo.convolution"


def random_case(seed, kind, **changes):
    """A convolution of 1 to 3 axes: "depthwise", "grouped", "plain", or "transposed"."""
    rng = np.random.default_rng([seed, len(kind)])
    rank = int(rng.choice([1, 2, 2, 3]))
    draw = partial(_draw, rng, rank)
    size, kernel = draw(1, 7 if rank == 3 else 13), draw(1, 4 if rank == 3 else 6)
    groups, inputs, outputs = (int(rng.choice(n)) for n in ((2, 3, 4), (1, 2, 4, 8), (1, 2, 3, 8)))
    if kind == "depthwise":
        groups, inputs, outputs = int(rng.choice([2, 5, 16])), 1, int(rng.choice([1, 1, 2, 3]))
    if kind == "plain":
        groups, inputs, outputs = 1, int(rng.choice([1, 3, 16])), int(rng.choice([1, 3, 16]))
    if kind == "transposed":
        groups = int(rng.choice([1, 1, 2]))
    dilation = draw(1, 3)
    pads = [(int(a), int(b)) for a, b in rng.integers(0, 4, (rank, 2))]
    for i, (n, k, d) in enumerate(zip(size, kernel, dilation, strict=True)):
        missing = max((k - 1) * d + 1 - n - sum(pads[i]), 0)
        pads[i] = (pads[i][0], pads[i][1] + missing)
    case = ConvCase(
        batch=int(rng.choice([1, 2, 9, 17])),
        sizes=size,
        c_in=groups * inputs,
        c_out=groups * outputs,
        kernel=kernel,
        stride=draw(1, 4),
        padding=tuple(pads),
        dilation=dilation,
        groups=groups,
        first=bool(rng.integers(3) == 0),
    )
    if kind == "transposed":
        case = replace(case, padding="VALID", output_padding=(0,) * rank)
    return replace(case, **changes)


def _draw(rng, rank, low, high):
    return tuple(int(n) for n in rng.integers(low, high, rank))


def layer(case):
    """Our layer with the options of a case."""
    return partial(jc.conv if case.output_padding is None else jc.conv_transpose, **case.options)


def by_lax(monkeypatch, function, *args):
    """What a function computes where our layers call lax; it must not have been compiled before."""
    with monkeypatch.context() as patch:
        patch.setattr("jaxconv.layers.conv.conv_general_dilated", lax.conv_general_dilated)
        return jax.jit(partial(function))(*args)


def derivatives(case, x, kernel, g):
    """The result and both gradients."""
    y, pull = jax.vjp(layer(case), x, kernel)
    return y, *pull(g)


def second(case, x, kernel, g):
    """Gradients of the size of both gradients."""

    def size(x, kernel):
        _, pull = jax.vjp(layer(case), x, kernel)
        return sum((a**2).mean() for a in pull(g))

    return jax.grad(size, (0, 1))(x, kernel)


def batches(case, x, kernel, g):
    """Results and gradients for two images and two kernels, and each alone."""
    two = [jnp.stack([a, a[::-1]]) for a in (x, kernel, g)]
    run = partial(derivatives, case)
    return (
        jax.vmap(run)(*two),
        jax.vmap(run, (0, None, None))(two[0], kernel, g),
        jax.vmap(run, (None, 0, 0))(x, *two[1:]),
    )


def inside(case, x, kernel, g):
    """Both gradients in a loop, a branch and a checkpoint, in one program."""
    run = jax.checkpoint(layer(case))

    def total(x, kernel):
        def body(carry, scale):
            return carry + (run(x * scale, kernel) * g).mean(), None

        looped, _ = lax.scan(body, 0.0, np.float32([1, 2]))
        return looped + lax.cond(
            looped > 1e9, lambda x: 0.0, lambda x: (run(x, kernel) * g).mean(), x
        )

    return jax.grad(total, (0, 1))(x, kernel)


def arrays(case, seed):
    """Images, a kernel and a direction of the result."""
    x, kernel, _ = case.arrays(seed)
    shape = jax.eval_shape(layer(case), x, kernel).shape
    return x, kernel, np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def exact(case, x, kernel, g):
    """The result and both gradients by NumPy loops in float64."""
    move = (lambda a: np.moveaxis(a, 1, -1)) if case.first else (lambda a: a)
    x, kernel, g = (np.asarray(a, np.float64) for a in (move(x), kernel, move(g)))
    names = ["stride", "padding", "dilation", "groups"]
    options = {name: getattr(case, name) for name in names}
    forward, backward = reference.conv, reference.conv_vjp
    if case.output_padding is not None:
        options["output_padding"] = case.output_padding
        forward, backward = reference.conv_transpose, reference.conv_transpose_vjp
    bias = np.zeros(case.c_out)
    y = forward(x, kernel, bias, **options)
    dx, dkernel, _ = backward(x, kernel, bias, g, **options)
    back = (lambda a: np.moveaxis(a, -1, 1)) if case.first else (lambda a: a)
    return back(y), back(dx), dkernel


def error(got, want):
    """The root of the mean square of the error, in parts of that of the exact numbers."""
    difference = np.asarray(got, np.float64) - want
    return np.linalg.norm(difference) / max(np.linalg.norm(want), 1e-30)


def compare(monkeypatch, case, seed):
    """Results and gradients are those of NumPy, about as exact as those of lax.

    Returns:
        The operations and formulations of our program, and its StableHLO.
    """
    given = arrays(case, seed)
    trace = jax.jit(partial(derivatives, case)).trace(*given)
    program = trace.lower()
    ours = program.compile()(*given)
    plain = by_lax(monkeypatch, partial(derivatives, case), *given)
    for mine, other, want in zip(ours, plain, exact(case, *given), strict=True):
        assert (mine.shape, mine.dtype) == (want.shape, np.float32)
        of_lax = np.fmin(error(other, want), LARGEST)
        assert error(mine, want) <= MOST * of_lax + ROUNDING, case
    return taken(trace.jaxpr), program.as_text()


def compare_with_lax(monkeypatch, program, case, seed):
    """A program gives what it gives by lax."""
    given = arrays(case, seed)
    ours = jax.tree.leaves(jax.jit(partial(program, case))(*given))
    plain = jax.tree.leaves(by_lax(monkeypatch, partial(program, case), *given))
    for mine, other in zip(ours, plain, strict=True):
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
        assert error(mine, np.float64(other)) <= 5e-6, case


def chosen(function, *args):
    """The operations and formulations of all convolutions of a function."""
    return taken(jax.make_jaxpr(function)(*args))


def taken(closed):
    """The operations and formulations of all convolutions of a trace."""
    replaced = (eqn for eqn in closed.eqns if is_cpu_primitive(eqn.primitive))
    schedules = map(schedule_of_equation, replaced)
    return [(s.selected.operation, s.formulation) for s in schedules if s and s.selected]
