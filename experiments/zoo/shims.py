"""Names that old libraries import and that their dependencies have dropped since.

Without them these libraries cannot be imported beside a present JAX; no model is changed by them.
"""

import sys
import types
from typing import Any


def restore_key_array() -> None:
    """Put ``jax.random.KeyArray`` back, a type that annotations name."""
    import jax

    if not hasattr(jax.random, "KeyArray"):
        jax.random.KeyArray = jax.Array  # type: ignore[attr-defined]


def restore_equinox_experimental() -> None:
    """Put ``equinox.experimental`` back, as far as models without batch norm need it."""
    import equinox

    if "equinox.experimental" not in sys.modules:
        module: Any = types.ModuleType("equinox.experimental")
        module.BatchNorm = None
        sys.modules[module.__name__] = equinox.experimental = module  # type: ignore[attr-defined]


def without_torchvision() -> None:
    """Let a library read no photos: its models do not, and torchvision needs a build of its own."""
    if "torchvision" not in sys.modules:
        names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
        for name in names:
            sys.modules[name] = _Anything(name)


class _Named(type):
    """The type of a class that has every attribute, each the class itself."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Placeholder(metaclass=_Named):
    pass


class _Anything(types.ModuleType):
    """A module that has every name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # it is a package, as the import system asks

    def __getattr__(self, name: str) -> Any:
        return sys.modules.get(f"{self.__name__}.{name}") or getattr(_Placeholder, name)
