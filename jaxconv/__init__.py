"""jaxconv: convolutional networks whose shapes are checked and whose feature maps are visible."""

from jaxconv.analysis.effective_field import EffectiveField, effective_receptive_field
from jaxconv.analysis.feature_maps import feature_maps
from jaxconv.analysis.neuron import Neuron, neuron
from jaxconv.analysis.receptive_field import ReceptiveField, receptive_field
from jaxconv.analysis.summary import summary
from jaxconv.analysis.summary_table import Summary
from jaxconv.aot.compile import Inference, compile  # noqa: A004
from jaxconv.aot.options import jit
from jaxconv.errors import ShapeError
from jaxconv.kernels.convolution import conv_general_dilated
from jaxconv.layers.conv import conv, conv_shape, conv_transpose
from jaxconv.layers.dense import dense, flatten
from jaxconv.layers.pool import avg_pool, global_avg_pool, max_pool, pool_shape
from jaxconv.models.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from jaxconv.prover.check import Verdict, check
from jaxconv.prover.contract import contract
from jaxconv.symbolic.domains import sizes
from jaxconv.symbolic.sets import SizeSet
from jaxconv.symbolic.size import Size
from jaxconv.symbolic.specs import SpecError
from jaxconv.symbolic.trace import Undecided

__version__: str

__all__ = [
    "VGG",
    "EffectiveField",
    "Inference",
    "Neuron",
    "ReceptiveField",
    "ShapeError",
    "Size",
    "SizeSet",
    "SpecError",
    "Summary",
    "Undecided",
    "Verdict",
    "avg_pool",
    "check",
    "compile",
    "contract",
    "conv",
    "conv_general_dilated",
    "conv_shape",
    "conv_transpose",
    "dense",
    "effective_receptive_field",
    "feature_maps",
    "flatten",
    "global_avg_pool",
    "jit",
    "max_pool",
    "neuron",
    "pool_shape",
    "receptive_field",
    "sizes",
    "summary",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
]


def __getattr__(name: str) -> str:
    """Read ``__version__`` from the metadata of the installed package when it is asked for."""
    if name != "__version__":
        raise AttributeError(f"module 'jaxconv' has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("jaxconv")
    except PackageNotFoundError:  # a checkout on PYTHONPATH
        return "unknown"
