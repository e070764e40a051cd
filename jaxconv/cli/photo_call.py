"""A model of any library, as a function of a batch of one photo with channels last."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxconv.adapters.call import bound_model
from jaxconv.adapters.libraries import adapter_of
from jaxconv.analysis.feature_maps import trace_call
from jaxconv.analysis.receptive_field import convolved_axes
from jaxconv.cli.arguments import UsageError
from jaxconv.cli.models import in_evaluation, keyword_arguments, mapped_over_batch
from jaxconv.cli.user_code import TargetError, user_code
from jaxconv.models.registry import registered_models
from jaxconv.models.weights import Preprocessing
from jaxconv.plotting.photos import CHANNELS_LAST, from_channels_last, is_grey, preprocess

Model = Callable[..., Any]
PIXELS = (1, 2)  # which of these axes are height and width
IMAGE_LAYOUTS = (CHANNELS_LAST, "NCHW", "HWC", "CHW")  # those without N are of one image


class PhotoCall(NamedTuple):
    """A function of a photo.

    Attributes:
        fn: takes a batch of one photo, with channels last.
        spec: its shape and dtype, as :func:`preprocess` makes it.
    """

    fn: Model
    spec: jax.ShapeDtypeStruct


class PhotoModel:
    """A model that the user names, to be called with photos of some size.

    Args:
        model: a function, or a model of any library.
        options: of the command: ``model``, ``layout`` and ``given``.
    """

    def __init__(self, model: Any, options: argparse.Namespace) -> None:
        self._model, self._name = model, options.model
        self._adapter = adapter_of(bound_model(model)[0])
        self._named = in_evaluation(model, self._name, 1, keyword_arguments(options.given))
        usual = self._adapter.layout(bound_model(model)[0]) if self._adapter else CHANNELS_LAST
        self._layouts = _layouts(options.layout or usual)
        self._is_layout_given = options.layout is not None
        self._arrays: Any = None  # of a model that lacked its parameters
        self.preprocessing = getattr(model, "preprocessing", None)
        if self._lacks_values():
            print(f"{self._name} has no weights of its own: they are random.", file=sys.stderr)

    def __call__(self, height: int, width: int) -> PhotoCall:
        """Prepare the model for photos of one size.

        Args:
            height: of a photo.
            width: likewise.

        Raises:
            TargetError: the model takes the photo in no layout.
        """
        spec = jax.ShapeDtypeStruct(self._shape(height, width), np.float32)
        try:
            return self._in_layout(self._layouts[0], spec)
        except TargetError as error:
            for layout in self._layouts[1:]:
                try:
                    call = self._in_layout(layout, spec)
                except TargetError:
                    continue
                if self._is_layout_given:
                    raise TargetError(f"{error}\n  Fix: pass --layout {layout}.") from None
                self._layouts = (layout,)
                print(f"{self._name} takes photos in layout {layout}.", file=sys.stderr)
                return call
            raise

    def _lacks_values(self) -> bool:
        model, _ = bound_model(self._model)
        adapter = self._adapter
        return (
            adapter is not None and adapter.initialise is not None and adapter.is_incomplete(model)
        )

    def _shape(self, height: int, width: int) -> tuple[int, ...]:
        preprocessing = self.preprocessing
        if preprocessing is None or isinstance(preprocessing, Preprocessing):
            return (1, height, width, 1 if is_grey(preprocessing) else 3)
        # A function of the user's may change the size.
        return preprocess(self, np.zeros((height, width, 3), np.uint8)).shape

    def _in_layout(self, layout: str, spec: jax.ShapeDtypeStruct) -> PhotoCall:
        sizes = dict(zip(CHANNELS_LAST, spec.shape, strict=True))
        taken = jax.ShapeDtypeStruct([sizes[letter] for letter in layout], spec.dtype)
        with user_code(f"running {self._name} on an image {taken.shape}"):
            fn = from_channels_last(self._callable(taken), layout)
            fn.preprocessing = self.preprocessing
            axes = convolved_axes(trace_call(fn, spec).network)
        if axes not in ((), PIXELS):  # a model that makes its parameters takes any channels
            wrong = f"{self._name} convolves other axes than height and width"
            raise TargetError(f"{wrong} of an image of shape {taken.shape}.")
        return PhotoCall(fn, spec)

    def _callable(self, spec: jax.ShapeDtypeStruct) -> Model:
        """The model as a function of an image in its layout.

        One without values gets random ones, which are made again where their shapes change.
        """
        named = {name: getattr(value, "value", value) for name, value in self._named.items()}
        if not self._lacks_values():
            fn: Any = mapped_over_batch(self._model, [spec], named)
            return (lambda x: fn(x, **named)) if named else fn
        model, method = bound_model(self._model)
        assert self._adapter is not None
        assert self._adapter.complete is not None
        assert self._adapter.initialise is not None
        pure = self._adapter.complete(model, method, (spec,), named)
        if self._arrays is None or _shapes(self._arrays) != _shapes(pure.arrays):
            self._arrays = self._adapter.initialise(model, method, (spec,), named).arrays
        apply, arrays = pure.fn, self._arrays
        return lambda x: apply(arrays, x, **named)


def _layouts(first: str) -> tuple[str, ...]:
    """The layouts to try."""
    if sorted(first) not in (sorted("NHWC"), sorted("HWC")):
        wrong = f"--layout {first} is not a layout of colour photos."
        raise UsageError(f"{wrong} Fix: pass one of {', '.join(IMAGE_LAYOUTS)}.")
    return (first, *(layout for layout in IMAGE_LAYOUTS if layout != first))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)


def photo_model(model: Any, options: argparse.Namespace) -> Callable[[int, int], PhotoCall]:
    """Prepare a model to be called with photos.

    Args:
        model: as :func:`jaxconv.cli.inputs.outline` returned it.
        options: of the command.

    Returns:
        A function of height and width of a photo.

    Raises:
        UsageError: a layout or keyword arguments for a registered model.
    """
    if options.model not in registered_models():
        return PhotoModel(model, options)
    if options.layout not in (None, CHANNELS_LAST) or options.given:
        flag = "--with" if options.given else "--layout"
        raise UsageError(f"{options.model} takes no {flag}. Fix: omit it.")
    channels = 1 if is_grey(getattr(model, "preprocessing", None)) else 3
    return lambda h, w: PhotoCall(model, jax.ShapeDtypeStruct((1, h, w, channels), np.float32))
