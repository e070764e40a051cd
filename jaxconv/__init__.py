# ruff: noqa: A004, F401, PLE0604 - "compile" is the name, and these imports are for static tools
"""jaxconv: convolutional networks whose shapes are proven and whose feature maps are visible."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxconv.adapters.call import static
    from jaxconv.analysis.effective_field import EffectiveField, effective_receptive_field
    from jaxconv.analysis.feature_maps import feature_maps
    from jaxconv.analysis.neuron import Neuron, neuron
    from jaxconv.analysis.receptive_field import ReceptiveField, receptive_field
    from jaxconv.analysis.summary import summary
    from jaxconv.analysis.summary_table import Summary
    from jaxconv.aot.compile import Inference, compile
    from jaxconv.aot.export import export
    from jaxconv.aot.options import jit
    from jaxconv.errors import ShapeError
    from jaxconv.kernels.convolution import conv_general_dilated
    from jaxconv.layers.conv import conv, conv_shape, conv_transpose
    from jaxconv.layers.dense import dense, flatten
    from jaxconv.layers.pool import avg_pool, global_avg_pool, max_pool, pool_shape
    from jaxconv.models.vgg import VGG, vgg11, vgg13, vgg16, vgg19
    from jaxconv.plotting.explorer import explore
    from jaxconv.plotting.network_diagram import draw
    from jaxconv.plotting.shown_maps import show
    from jaxconv.prover.check import Verdict, check
    from jaxconv.prover.contract import contract
    from jaxconv.symbolic.domains import sizes
    from jaxconv.symbolic.sets import SizeSet
    from jaxconv.symbolic.size import Size
    from jaxconv.symbolic.spec_errors import SpecError
    from jaxconv.symbolic.trace import Undecided

# Where the public names are. A module is imported when one of its names is first used, so that
# `import jaxconv` costs next to nothing.
_NAMES = {
    "adapters.call": ("static",),
    "analysis.effective_field": (
        "EffectiveField",
        "effective_receptive_field",
    ),
    "analysis.feature_maps": ("feature_maps",),
    "analysis.neuron": (
        "Neuron",
        "neuron",
    ),
    "analysis.receptive_field": (
        "ReceptiveField",
        "receptive_field",
    ),
    "analysis.summary": ("summary",),
    "analysis.summary_table": ("Summary",),
    "aot.compile": (
        "Inference",
        "compile",
    ),
    "aot.export": ("export",),
    "aot.options": ("jit",),
    "errors": ("ShapeError",),
    "kernels.convolution": ("conv_general_dilated",),
    "layers.conv": (
        "conv",
        "conv_shape",
        "conv_transpose",
    ),
    "layers.dense": (
        "dense",
        "flatten",
    ),
    "layers.pool": (
        "avg_pool",
        "global_avg_pool",
        "max_pool",
        "pool_shape",
    ),
    "models.vgg": (
        "VGG",
        "vgg11",
        "vgg13",
        "vgg16",
        "vgg19",
    ),
    "plotting.explorer": ("explore",),
    "plotting.network_diagram": ("draw",),
    "plotting.shown_maps": ("show",),
    "prover.check": (
        "Verdict",
        "check",
    ),
    "prover.contract": ("contract",),
    "symbolic.domains": ("sizes",),
    "symbolic.sets": ("SizeSet",),
    "symbolic.size": ("Size",),
    "symbolic.spec_errors": ("SpecError",),
    "symbolic.trace": ("Undecided",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = [*_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]
__version__: str


def __getattr__(name: str) -> Any:
    """Import a public name, or read the version from the metadata of the installed package."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("jaxconv")
        except PackageNotFoundError:  # a checkout on PYTHONPATH
            return "unknown"
    if name not in _MODULES:
        raise AttributeError(f"module 'jaxconv' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"jaxconv.{_MODULES[name]}"), name)
    globals()[name] = value  # so that it is found without this function from now on
    return value


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
