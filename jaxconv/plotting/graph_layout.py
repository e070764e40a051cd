"""Position the nodes of a layered graph, and route its edges around them."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from jaxconv.plotting.layered_graph import Edge, LayeredGraph, layered

COLUMN_GAP = 26.0  # smallest space between columns
NODE_GAP = 16.0  # smallest space between two nodes of a column
LANE = 5.0  # half of the space that a passing line gets
ROW_GAP = 46.0  # between rows of nodes
ROW_MARGIN = 40.0  # left and right of rows that continue
MIN_ROW_WIDTH = 1900.0  # a row that may be broken is about this wide, or wider
ASPECT = 1.7  # width over height of a drawing of several rows
Position = tuple[float, float]
PathSegment = tuple[Position, ...]


class NodeSize(NamedTuple):
    """The space that a node needs. Its edges enter and leave at one height, its axis.

    Attributes:
        width: width of the node.
        above: its height above the axis.
        below: its height below the axis.
        enter: where edges end, from its left side.
        leave: where edges begin, from its left side.
    """

    width: float
    above: float
    below: float
    enter: float
    leave: float


LANE_SIZE = NodeSize(0.0, LANE, LANE, 0.0, 0.0)


@dataclass(frozen=True)
class Path:
    """A path of an edge.

    Attributes:
        start: where it begins.
        steps: from point to point: 1 point for a straight line, 3 for a cubic Bezier curve.
    """

    start: Position
    steps: tuple[PathSegment, ...]

    def moved(self, x: float, y: float) -> "Path":
        """Move the path.

        Args:
            x: how far to the right.
            y: how far down.

        Returns:
            The moved path.
        """
        steps = (tuple((a + x, b + y) for a, b in step) for step in self.steps)
        return Path((self.start[0] + x, self.start[1] + y), tuple(steps))


@dataclass(frozen=True)
class GraphLayout:
    """The position of everything, from (0, 0), with x to the right and y down.

    Attributes:
        nodes: for each node its left side, and the height of its axis.
        paths: the paths of the edges.
        omitted: edges that would be too long.
        width: total width.
        height: total height.
    """

    nodes: list[Position]
    paths: dict[Edge, Path]
    omitted: tuple[Edge, ...]
    width: float
    height: float


def layout(sizes: Sequence[NodeSize], edges: Sequence[Edge]) -> GraphLayout:
    """Position nodes from left to right, in several rows if one would be too long.

    A row ends only after a node whose edges are the only ones that continue.

    Args:
        sizes: the space that each node needs.
        edges: pairs of nodes, from a smaller to a larger number.

    Returns:
        The positions of the nodes, and the paths of the edges.
    """
    arrangement = _Arrangement(layered(len(sizes), edges), sizes)
    graph = arrangement.graph
    return GraphLayout(
        [arrangement.position(node) for node in range(graph.count)],
        {edge: arrangement.path(route) for edge, route in graph.routes.items()},
        graph.omitted,
        arrangement.width,
        arrangement.height,
    )


class _Arrangement:
    """A graph with a height for each vertex, and a row and a left side for each column."""

    def __init__(self, graph: LayeredGraph, sizes: Sequence[NodeSize]) -> None:
        self.graph, self.sizes = graph, sizes
        self.gaps = graph.gaps()
        self.heights = _heights(graph, sizes)
        self.widths = [max(self._size(v).width for v in column) for column in graph.columns]
        # Columns are further apart where links between them are steep.
        self.spaces = [
            COLUMN_GAP
            + min(
                0.16 * max((abs(self.heights[a] - self.heights[b]) for a, b in gap), default=0.0),
                40.0,
            )
            for gap in self.gaps
        ]
        self.column = {v: i for i, column in enumerate(graph.columns) for v in column}
        self.rows = self._rows()
        self.row = {i: number for number, row in enumerate(self.rows) for i in row}
        self.lefts: list[float] = []
        for row in self.rows:
            x = ROW_MARGIN if len(self.rows) > 1 else 0.0
            for i in row:
                self.lefts.append(x)
                x += self.widths[i] + (self.spaces[i] if i < len(self.spaces) else 0.0)
        self.offsets: list[float] = []  # what to add to the heights in each row
        y = 0.0
        for row in self.rows:
            inside = [v for i in row for v in graph.columns[i]]
            top = min(self.heights[v] - self._size(v).above for v in inside)
            bottom = max(self.heights[v] + self._size(v).below for v in inside)
            self.offsets.append(y - top)
            y += bottom - top + ROW_GAP
        self.height = y - ROW_GAP
        self.width = max(self._right(row[-1]) for row in self.rows)
        self.width += ROW_MARGIN * (len(self.rows) > 1)

    def _size(self, vertex: int) -> NodeSize:
        return self.sizes[vertex] if vertex < self.graph.count else LANE_SIZE

    def _rows(self) -> list[range]:
        """The columns of each row, divided so that all rows are about equally long.

        The best length is the largest of three: that of a part that cannot be divided, that which
        gives the whole its aspect ratio, and a least width. The division minimises the sum of
        squared relative differences from it (as Knuth and Plass do for the lines of a paragraph).
        """
        count = len(self.widths)
        single = [i for i, gap in enumerate(self.gaps, 1) if len({a for a, _ in gap}) == 1]
        breaks = [0, *single, count]
        widths = map(sum, zip(self.widths, [*self.spaces, 0.0], strict=True))
        ends = [0.0, *itertools.accumulate(widths)]
        tall = max(height + self._size(v).below for v, height in enumerate(self.heights))
        parts = (ends[b] - ends[a] for a, b in itertools.pairwise(breaks))
        best = max(MIN_ROW_WIDTH, sqrt(ends[-1] * (tall + ROW_GAP) * ASPECT), *parts)
        cheapest: list[tuple[float, int]] = [(0.0, 0)]  # for each break: cost, break before it
        for i, end in enumerate(breaks[1:], 1):
            costs = ((ends[end] - ends[start]) / best - 1 for start in breaks[:i])
            cheapest.append(min((cheapest[j][0] + cost**2, j) for j, cost in enumerate(costs)))
        cuts = [len(breaks) - 1]
        while cuts[-1]:
            cuts.append(cheapest[cuts[-1]][1])
        return [range(breaks[a], breaks[b]) for a, b in itertools.pairwise(cuts[::-1])]

    def _right(self, column: int) -> float:
        return self.lefts[column] + self.widths[column]

    def position(self, vertex: int) -> Position:
        """The left side of a vertex, and the height of its axis.

        Args:
            vertex: a node or a dummy node.

        Returns:
            Its x and y.
        """
        column = self.column[vertex]
        x = self.lefts[column] + (self.widths[column] - self._size(vertex).width) / 2
        return x, self.heights[vertex] + self.offsets[self.row[column]]

    def path(self, route: Sequence[int]) -> Path:
        """The path of an edge.

        Args:
            route: the vertices that it passes, both ends included.

        Returns:
            Straight lines across columns, curves between them.
        """
        (left, y), size = self.position(route[0]), self._size(route[0])
        start = (left + size.leave, y)
        links = [step for a, b in itertools.pairwise(route) for step in self._link(a, b)]
        (left, end_y), size = self.position(route[-1]), self._size(route[-1])
        steps: list[PathSegment] = []
        horizontal: PathSegment | None = None  # consecutive lines at the same height become one
        for step in [*links, ((left + size.enter, end_y),)]:
            if len(step) == 1 and step[0][1] == y:
                horizontal = step
                continue
            steps += [horizontal, step] if horizontal else [step]
            y, horizontal = step[-1][1], None
        return Path(start, tuple(steps + ([horizontal] if horizontal else [])))

    def _link(self, a: int, b: int) -> Iterator[PathSegment]:
        """From the right of the column of ``a`` to the left of the next column, that of ``b``."""
        left, right = self.column[a], self.column[b]
        x, (_, y) = self._right(left), self.position(a)
        yield ((x, y),)
        if self.row[left] != self.row[right]:
            x = self.lefts[right] - COLUMN_GAP / 2
            below = self.heights[a] + self.offsets[self.row[right]]
            # To the left of the next row, through the gap between the rows.
            inside = (v for i in self.rows[self.row[left]] for v in self.graph.columns[i])
            gap = max(self.position(v)[1] + self._size(v).below for v in inside) + ROW_GAP / 2
            far, near = self.width - 10.0, 10.0
            corners = [(far, y), (far, gap), (near, gap), (near, below)]
            yield from _rounded([(far - 12, y), *corners, (near + 12, below)])
            y = below
            yield ((x, y),)
        end = (self.lefts[right], self.position(b)[1])
        middle = (x + end[0]) / 2
        yield (end,) if y == end[1] else ((middle, y), (middle, end[1]), end)


def _rounded(points: Sequence[Position], radius: float = 8.0) -> Iterator[PathSegment]:
    """Horizontal and vertical lines through points, with rounded corners."""

    def towards(point: Position, other: Position) -> Position:
        distance = abs(other[0] - point[0]) + abs(other[1] - point[1])  # one of them is 0
        share = min(radius / distance, 0.5) if distance else 0.0
        return point[0] + share * (other[0] - point[0]), point[1] + share * (other[1] - point[1])

    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        yield (towards(corner, before),)
        yield (corner, corner, towards(corner, after))


def _heights(graph: LayeredGraph, sizes: Sequence[NodeSize]) -> list[float]:
    """The height of each vertex such that the links rise as little as possible: a linear program.

    The links of a long edge and those of the longest path cost most, so that these are straight.
    """
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    spine = graph.spine()
    weights: dict[Edge, float] = {}  # what it costs per unit of height that a link rises
    for a, b in graph.links:
        dummies = (a >= graph.count) + (b >= graph.count)
        weights[a, b] = (3.0, 1.0, 8.0)[dummies] * (4.0 if a in spine and b in spine else 1.0)
    count = sum(map(len, graph.columns))
    rows: list[tuple[dict[int, float], float]] = []
    for i, (a, b) in enumerate(weights, count):
        rows += [({a: 1.0, b: -1.0, i: -1.0}, 0.0), ({b: 1.0, a: -1.0, i: -1.0}, 0.0)]
    for column in graph.columns:
        for a, b in itertools.pairwise(column):
            upper, lower = (sizes[v] if v < graph.count else LANE_SIZE for v in (a, b))
            both_dummies = min(a, b) >= graph.count
            distance = upper.below + lower.above + (0.0 if both_dummies else NODE_GAP)
            rows.append(({a: 1.0, b: -1.0}, -distance))
    if not rows:
        return [size.above for size in sizes]
    entries = [(i, v, x) for i, (row, _) in enumerate(rows) for v, x in row.items()]
    i, v, x = map(np.array, zip(*entries, strict=True))
    matrix = coo_array((x, (i, v)), shape=(len(rows), count + len(weights)))
    cost = np.concatenate([np.zeros(count), list(weights.values())])
    solution = linprog(cost, matrix.tocsr(), [bound for _, bound in rows], method="highs")
    return [round(float(y), 3) for y in solution.x[:count]]
