"""jaxconv: convolutional networks whose shapes are checked and whose feature maps are visible."""

from jaxconv.compiled.inference import Inference, compile  # noqa: A004
from jaxconv.compiled.options import jit
from jaxconv.inspect.effective import EffectiveField, effective_receptive_field
from jaxconv.inspect.features import feature_maps
from jaxconv.inspect.neuron import Neuron, neuron
from jaxconv.inspect.receptive import ReceptiveField, receptive_field
from jaxconv.inspect.summary import summary
from jaxconv.inspect.table import Summary
from jaxconv.layers.conv import conv, conv_shape, conv_transpose
from jaxconv.layers.dense import dense, flatten
from jaxconv.layers.fast import conv_general_dilated
from jaxconv.layers.pool import avg_pool, global_avg_pool, max_pool, pool_shape
from jaxconv.models.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from jaxconv.shapes.contracts import contract
from jaxconv.shapes.errors import ShapeError
from jaxconv.shapes.proof import Verdict, check
from jaxconv.shapes.sets import SizeSet
from jaxconv.shapes.sizes import Size, Undecided, sizes
from jaxconv.shapes.specs import SpecError

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
