"""Whose code a line is."""

import flax.linen as nn
import jax
from jax import lax

import jaxconv as jc
from jaxconv.source import is_inside_jax
from tests.support.processes import forked


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
sys.modules["beartype"] = sys.modules["jaxtyping"] = None  # as where they are not installed
import jaxconv as jc

def f(x):
    return x[:, :7] if x.shape[1] in {7, 14} else x

print(jc.check(f, "b h").status)
"""


def test_code_without_a_file_is_the_users_own():
    """What is typed has the file "<string>" or "<stdin>"."""
    assert forked("-c", TYPED).stdout == "proven\n"
