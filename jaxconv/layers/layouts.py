"""Layouts: the names and the order of the axes of a batch of images, and of a kernel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxconv.errors import Diagnostic, OperandShape, ValidationError, choice

Shape = tuple[Any, ...]  # of ints, or of symbolic sizes
SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


@dataclass(frozen=True)
class Layout:
    """The order of axes of a batch of feature maps, and of the kernel that goes with it.

    Attributes:
        name: of N (batch), C (channels) and the spatial axes D(epth) H(eight) W(idth): "NHWC".
    """

    name: str

    @property
    def spatial(self) -> tuple[int, ...]:
        """Positions of the spatial axes, outermost first."""
        return tuple(i for i, letter in enumerate(self.name) if letter not in "NC")

    @property
    def channel(self) -> int:
        """Position of the channel axis."""
        return self.name.index("C")

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes as messages print them: b, d, h, w, c."""
        return tuple(letter.lower().replace("n", "b") for letter in self.name)

    @property
    def spatial_axes(self) -> tuple[str, ...]:
        """Names of the spatial axes."""
        return tuple(self.axes[i] for i in self.spatial)

    @property
    def kernel(self) -> str:
        """The kernel's order: spatial axes, then I (input channels of a group), then O."""
        return SPATIAL[len(self.spatial)] + "IO"

    @property
    def kernel_axes(self) -> tuple[str, ...]:
        """Names of the kernel's axes as messages print them."""
        return (*(f"k{axis}" for axis in self.spatial_axes), "c_in", "c_out")

    @property
    def other(self) -> "Layout":
        """The layout with the channels at the other end: NHWC for NCHW, and back."""
        spatial = SPATIAL[len(self.spatial)]
        return LAYOUTS[f"N{spatial}C" if self.channel == 1 else f"NC{spatial}"]

    def arrange(self, batch: Any, spatial: Iterable[Any], channels: Any) -> tuple[Any, ...]:
        """Put values, such as sizes, in the order of this layout.

        Args:
            batch: the value of the batch axis.
            spatial: those of the spatial axes.
            channels: that of the channel axis.
        """
        values = iter(spatial)
        fixed = {"N": batch, "C": channels}
        return tuple(fixed[a] if a in fixed else next(values) for a in self.name)

    def read(self, name: str, shape: Sequence[Any]) -> OperandShape:
        """Describe the shape of images in this layout, for a message.

        Args:
            name: of the argument.
            shape: of any rank.
        """
        return _operand_shape(name, shape, self.name, self.axes)

    def read_kernel(self, name: str, shape: Sequence[Any]) -> OperandShape:
        """Describe the shape of a kernel in this layout, for a message.

        Args:
            name: of the argument.
            shape: of any rank.
        """
        return _operand_shape(name, shape, self.kernel, self.kernel_axes)


def _operand_shape(
    name: str, shape: Sequence[Any], order: str, axes: Sequence[str]
) -> OperandShape:
    if len(shape) != len(axes):
        return OperandShape(name, shape)
    sizes = " ".join(f"{axis}={size}" for axis, size in zip(axes, shape, strict=True))
    return OperandShape(name, shape, f"read as {order}: {sizes}")


LAYOUTS = {n: Layout(n) for n in ("NHWC", "NCHW", "NWC", "NCW", "NDHWC", "NCDHW")}


def layout_named(name: object) -> Layout:
    """Look up a layout.

    Args:
        name: such as "NHWC".

    Raises:
        ValidationError: an unknown name.
    """
    if isinstance(name, str) and name in LAYOUTS:
        return LAYOUTS[name]
    raise ValidationError([choice("layout", name, LAYOUTS)])


def rank_diagnostics(name: str, shape: Sequence[Any], layout: Layout) -> list[Diagnostic]:
    """Compare the rank of an array with that of a layout; a missing batch axis is recognised.

    Args:
        name: of the argument.
        shape: of the array.
        layout: of the argument.

    Returns:
        Nothing where the ranks are equal.
    """
    want, got = len(layout.name), len(shape)
    if got == want:
        return []
    needs = f"layout {layout.name} needs {want} ({' '.join(layout.axes)})"
    wrong = f"{name} has {got} ax{'is' if got == 1 else 'es'}, but {needs}."
    fitting = [n for n in LAYOUTS if len(n) == got]
    other = f", or set layout= to one of {', '.join(map(repr, fitting))}." if fitting else "."
    if got != want - 1:
        return [Diagnostic(wrong, f"reshape {name} to {want} axes{other}")]
    hint = f"{name} may be one image without a batch axis."
    fix = f"add the batch axis with {name}[None] and take [0] of the result{other}"
    return [Diagnostic(wrong, fix, hint)]


def kernel_rank_diagnostics(shape: Sequence[Any], layout: Layout) -> list[Diagnostic]:
    """Compare the rank of a kernel with the one that goes with a layout.

    Args:
        shape: of the kernel.
        layout: of the images.

    Returns:
        Nothing where the ranks are equal.
    """
    axes = layout.kernel_axes
    if len(shape) == len(axes):
        return []
    count = f"{len(shape)} ax{'is' if len(shape) == 1 else 'es'}"
    wrong = f"kernel has {count}, but layout {layout.name} needs {len(axes)} ({' '.join(axes)})."
    fix = f"pass a kernel of shape ({', '.join(axes)}), where c_in is the channels of one group."
    return [Diagnostic(wrong, fix)]
