"""Contracts: each is found once, at its line."""

import pytest

from jaxconv.cli.obligations import obligations

CONTRACTS = [
    ("nets.py", ["nets:Net.__call__", "nets:padded"]),
    ("nets", ["nets:Net.__call__", "nets:padded"]),
    (
        "held",
        [f"held:Plain.{name}" for name in ("ready", "given", "static", "of_class")]
        + ["held:filtered"],
    ),
    ("pack", ["pack.inner.deep:f"]),
    ("pack/inner/deep.py", ["pack.inner.deep:f"]),
    ("pack/__init__.py", ["pack.inner.deep:f"]),
    ("sub/my-net.py", ["my-net:f"]),
]


@pytest.mark.parametrize(("target", "names"), CONTRACTS)
def test_every_contract_is_found_once_where_it_is_defined(project, target, names):
    assert [obligation.name for obligation in obligations([target]).obligations] == names


def test_a_contract_knows_its_line_wherever_it_is_installed(project):
    found = {obligation.name: obligation.origin for obligation in obligations(["held"]).obligations}
    assert found["held:Plain.given"].line == 20
    assert found["held:Plain.given"].path == str(project / "held.py")


NESTED = """
from jaxtyping import Array, Float


class Outer:
    class Inner:
        @staticmethod
        def turned(x: Float[Array, "a b"]) -> Float[Array, "b a"]:
            return x.T

        class Innermost:
            @staticmethod
            def kept(x: Float[Array, "a b"]) -> Float[Array, "b a"]:
                return x


Outer.Inner.itself = Outer
"""


def test_classes_within_classes_are_found(project):
    (project / "nested.py").write_text(NESTED)
    found = obligations(["nested.py"]).obligations
    statuses = {one.name: one.prove().status for one in found}
    assert statuses == {
        "nested:Outer.Inner.turned": "proven",
        "nested:Outer.Inner.Innermost.kept": "refuted",
    }


GENERIC = """
from functools import cached_property
from typing import Generic, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

X = TypeVar("X")
Y = TypeVar("Y")


class Pair(eqx.Module, Generic[X, Y]):
    left: X
    right: Y


class Mixed(Pair[Float[Array, "m"], Y]):
    pass


class Scale(Mixed[tuple[Float[Array, "c"], Float[Array, "m"]]]):
    def apply(self, x: Float[Array, "b c"]) -> Float[Array, "b c"]:
        return x * self.right[0]

    def mixed(self, x: Float[Array, "b m"]) -> Float[Array, "b m"]:
        return x * self.left + self.right[1]

    def wrong(self, x: Float[Array, "b m"]) -> Float[Array, "b m"]:
        return x + self.right[0]

    @property
    def doubled(self) -> Float[Array, "m"]:
        return self.left * 2

    @property
    def cut(self) -> Float[Array, "m"]:
        return self.left[1:]

    @cached_property
    def size(self) -> Float[Array, ""]:
        return jnp.sum(self.left)
"""


def test_generic_classes_and_properties_are_proven(project):
    (project / "generic.py").write_text(GENERIC)
    found = obligations(["generic"]).obligations
    status = {one.name.rpartition(".")[2]: one.prove().status for one in found}
    assert status == {
        "apply": "proven",
        "mixed": "proven",
        "wrong": "refuted",
        "doubled": "proven",
        "cut": "refuted",
        "size": "proven",
    }
