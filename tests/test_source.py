"""Whose code a line is."""

import subprocess
import sys

import flax.linen as nn
import jax
from jax import lax

import jaxconv as jc
from jaxconv.source import is_inside_jax


class Rows(nn.Module):
    """Fails: x has 5 columns."""

    def __call__(self, x):
        return x.reshape(-1, 7)


class Nested(nn.Module):
    """Two levels of modules around it."""

    depth: int

    @nn.compact
    def __call__(self, x):
        inner = Nested(self.depth - 1, name=f"block{self.depth}") if self.depth else Rows()
        return inner(x)


def test_the_layer_of_an_error_is_the_innermost_module():
    failures = jc.check(lambda x: Nested(2).apply({}, x), "3 5").failures
    assert [failure.layer for failure in failures] == ["block2.block1.Rows_0"]


def test_a_function_of_an_installed_package_is_no_part_of_jax():
    assert not is_inside_jax(jc.__file__)
    assert is_inside_jax(jax.__file__)
    assert is_inside_jax(lax.__file__)
    verdict = jc.check(jc.max_pool, "b h w c")
    assert verdict.accepts == jc.SizeSet.parse("b h w c", "h >= 2 and w >= 2")


TYPED = """
import sys
sys.modules["beartype"] = None  # as where it is not installed
import jaxconv as jc

def f(x):
    return x[:, :7] if x.shape[1] in {7, 14} else x[:, : x.shape[1] // 2]

print(jc.check(f, "b h", where="h >= 2").status)
"""


def test_code_without_a_file_is_the_users_own():
    """What is typed has the file "<string>" or "<stdin>"."""
    done = subprocess.run([sys.executable, "-c", TYPED], capture_output=True, text=True, check=True)
    assert done.stdout == "proven\n"
