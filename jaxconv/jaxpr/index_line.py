"""Arrays of indices that count evenly, such as ``2 * jnp.arange(h // 2) + 1``, as formulas.

Where a size is a formula JAX reads slices with a stride by a gather, at indices that it computes.
"""

from collections.abc import Callable

from jaxconv.jaxpr.axis_field import is_at_least, is_equal
from jaxconv.jaxpr.equation import EquationContext, IndexLine, IndexLines

Rule = Callable[[EquationContext], IndexLines | None]


def _line(context: EquationContext, operand: int) -> IndexLine | None:
    lines = context.lines(context.eqn.invars[operand])
    return lines if isinstance(lines, IndexLine) else None


def iota_line(context: EquationContext) -> IndexLine:
    """Indices that count from 0.

    Args:
        context: the equation.
    """
    return IndexLine(context.params["dimension"], 0, 1)


def same_lines(context: EquationContext) -> IndexLines | None:
    """The indices of the operand.

    Args:
        context: the equation.
    """
    return context.lines(context.eqn.invars[0])


def sum_line(sign: int) -> Rule:
    """Make the rule of a sum or a difference of indices.

    Args:
        sign: -1 for a difference.
    """

    def rule(context: EquationContext) -> IndexLine | None:
        one, other = _line(context, 0), _line(context, 1)
        if one is None or other is None:
            return None
        if one.axis != other.axis and None not in (one.axis, other.axis):
            return None
        axis = other.axis if one.axis is None else one.axis
        return IndexLine(axis, one.first + sign * other.first, one.step + sign * other.step)

    return rule


def product_line(context: EquationContext) -> IndexLine | None:
    """Indices times one number.

    Args:
        context: the equation.
    """
    one, other = _line(context, 0), _line(context, 1)
    if one is None or other is None or None not in (one.axis, other.axis):
        return None
    line, factor = (other, one.first) if one.axis is None else (one, other.first)
    return IndexLine(line.axis, line.first * factor, line.step * factor)


def broadcast_lines(context: EquationContext) -> IndexLines | None:
    """Indices along another axis.

    Args:
        context: the equation.
    """
    lines, positions = context.lines(context.eqn.invars[0]), context.axes("broadcast_dimensions")
    (shape, *_), out = context.shapes, context.result_shape()
    if not isinstance(lines, IndexLine) or lines.axis is None:
        return lines if isinstance(lines, IndexLine) else None
    axis = positions[lines.axis]
    return lines.along(axis) if is_equal(shape[lines.axis], out[axis]) else None


def reshaped_line(context: EquationContext) -> IndexLine | None:
    """Indices where axes of one element come or go.

    Args:
        context: the equation.
    """
    line, (shape, *_), out = _line(context, 0), context.shapes, context.result_shape()
    if line is None or line.axis is None:
        return line
    before, after = (
        [axis for axis, size in enumerate(sizes) if not isinstance(size, int) or size != 1]
        for sizes in (shape, out)
    )
    matches = len(before) == len(after) and all(
        is_equal(shape[one], out[other]) for one, other in zip(before, after, strict=True)
    )
    if not matches or line.axis not in before:
        return None
    return line.along(after[before.index(line.axis)])


def reversed_line(context: EquationContext) -> IndexLine | None:
    """Indices from the last to the first.

    Args:
        context: the equation.
    """
    line = _line(context, 0)
    if line is None or line.axis not in context.axes("dimensions"):
        return line
    last = line.first + line.step * (context.shapes[0][line.axis] - 1)
    return IndexLine(line.axis, last, -line.step)


def concatenated_lines(context: EquationContext) -> IndexLines | None:
    """Indices side by side, for several axes.

    Args:
        context: the equation.
    """
    last = len(context.result_shape()) - 1
    lines = [_line(context, operand) for operand in range(len(context.eqn.invars))]
    columns = tuple(line for line in lines if line is not None and line.axis != last)
    ones = all(isinstance(shape[-1], int) and shape[-1] == 1 for shape in context.shapes)
    is_last = context.params["dimension"] == last
    return columns if is_last and ones and len(columns) == len(lines) else None


def less_line(context: EquationContext) -> IndexLine | None:
    """Whether indices are below a number, where that is the same for all.

    Args:
        context: the equation.
    """
    line, other = _line(context, 0), _line(context, 1)
    if line is None or other is None or other.axis is not None:
        return None
    grows = isinstance(line.step, int) and line.step >= 0
    return IndexLine(None, 0, 0) if grows and is_at_least(line.first, other.first) else None


def selected_lines(context: EquationContext) -> IndexLines | None:
    """The case that is chosen for all indices.

    Args:
        context: the equation.
    """
    chosen = _line(context, 0)
    if chosen is None or chosen.axis is not None or not isinstance(chosen.first, int):
        return None
    return context.lines(context.eqn.invars[1 + chosen.first])
