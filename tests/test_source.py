"""Whose code a line is."""

import jax
from jax import lax

import jaxconv as jc
from jaxconv.source import is_inside_jax


def test_a_function_of_an_installed_package_is_no_part_of_jax():
    assert not is_inside_jax(jc.__file__)
    assert is_inside_jax(jax.__file__)
    assert is_inside_jax(lax.__file__)
    verdict = jc.check(jc.max_pool, "b h w c")
    assert verdict.accepts == jc.SizeSet.parse("b h w c", "h >= 2 and w >= 2")
