"""Programs for tests: the text of one as it is lowered, and what compiled functions compute."""

import functools
import os
import re

import jax
import jax.numpy as jnp
import numpy as np

# For jax.jit(compiler_options=): the machine code that users get. conftest.py turns off what
# takes time to compile.
OPTIMIZED = {
    "xla_backend_optimization_level": 3,
    "xla_cpu_parallel_codegen_split_count": 32,
    "xla_llvm_disable_expensive_passes": False,
}
if "xla_cpu_use_fusion_emitters" in os.environ.get("XLA_FLAGS", ""):
    OPTIMIZED["xla_cpu_use_fusion_emitters"] = True


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def lowered(function, *args, platform="cpu"):
    """The StableHLO of a function, whose name in it is always the same."""
    text = jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()
    return re.sub(r"@jit_\w+", "@program", text)


def agree(got, want, within=2e-5):
    """Compare with exact results, up to a part of the largest number."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for ours, exact in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (ours.shape, ours.dtype) == (exact.shape, exact.dtype)
        np.testing.assert_allclose(ours, exact, atol=within * float(jnp.abs(exact).max(initial=0)))


def exactly(fn, *args):
    """What a function computes when nothing is rounded on purpose."""
    with jax.default_matmul_precision("highest"):
        return jax.jit(fn)(*args)


def loops(infer):
    """How many loops a compiled program has."""
    run = functools.partial(infer._program.run, infer._program.constants)
    return str(jax.make_jaxpr(run)(infer.inputs)).count("scan[")
