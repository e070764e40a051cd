"""Give the nodes of a layered graph places on paper, and its edges paths that pass no node."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from jaxconv.plotting.layered_graph import Edge, Layered, layered

GAP = 26.0  # between columns, at least
APART = 16.0  # between what stands in one column
LANE = 5.0  # half of the room of a passing line
GUTTER = 46.0  # between lines of blocks
MARGIN = 40.0  # left and right of lines that go on
NARROW = 1900.0  # a line of blocks that may be broken is about as wide, or wider
RATIO = 1.7  # of the width to the height of several lines
Point = tuple[float, float]


class Room(NamedTuple):
    """What a node needs: its edges come and go at a height between what is above and below.

    Attributes:
        width: of the whole node.
        above: its height above the edges.
        below: its height below them.
        enter: where edges end, from its left.
        leave: where they begin, from its left.
    """

    width: float
    above: float
    below: float
    enter: float
    leave: float


LANES = Room(0.0, LANE, LANE, 0.0, 0.0)


@dataclass(frozen=True)
class Path:
    """A start, and steps to a next point: a straight one of 1 point, or a curve of 3 (cubic)."""

    start: Point
    steps: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class Places:
    """Where all stands.

    Attributes:
        nodes: of each node the left end, and the height at which edges come and go.
        paths: of each edge.
        omitted: edges that would be too long.
        width: of the whole.
        height: of the whole.
    """

    nodes: list[Point]
    paths: dict[Edge, Path]
    omitted: tuple[Edge, ...]
    width: float
    height: float


def places(rooms: Sequence[Room], edges: Sequence[Edge]) -> Places:
    """Place nodes from left to right, in several lines where one would be too long.

    A line breaks only where the map of one node alone goes on.

    Args:
        rooms: of the nodes.
        edges: pairs of nodes, from a smaller to a larger one.

    Returns:
        Places with x to the right and y down, from (0, 0) on.
    """
    graph = layered(len(rooms), edges)
    return _Sheet(graph, rooms).places()


class _Sheet:
    """A graph with a height for each vertex, and a line and a left end for each column."""

    def __init__(self, graph: Layered, rooms: Sequence[Room]) -> None:
        self.graph, self.rooms = graph, rooms
        self.gaps = graph.gaps()
        self.heights = _heights(graph, rooms)
        self.widths = [max(self.room(v).width for v in column) for column in graph.columns]
        self.spaces = [self._space(gap) for gap in self.gaps]
        self.column = {v: i for i, column in enumerate(graph.columns) for v in column}
        self.lines = self._lines()
        self.line = {i: number for number, line in enumerate(self.lines) for i in line}
        self.lefts = [x for line in self.lines for x in self._lefts(line)]
        self.tops, self.height = self._stack()
        self.width = max(self._right(line[-1]) for line in self.lines)
        self.width += MARGIN * (len(self.lines) > 1)

    def room(self, vertex: int) -> Room:
        return self.rooms[vertex] if vertex < self.graph.count else LANES

    def _space(self, gap: Sequence[Edge]) -> float:
        """The space between two columns, more where lines rise steeply."""
        rise = max((abs(self.heights[a] - self.heights[b]) for a, b in gap), default=0.0)
        return GAP + min(0.16 * rise, 40.0)

    def _lines(self) -> list[range]:
        """The columns of each line, broken where one map goes on so that all are alike in length.

        Lines as long as those that cannot be broken, or as make the whole no long ribbon, are best.
        """
        count = len(self.widths)
        single = [i for i, gap in enumerate(self.gaps, 1) if len({a for a, _ in gap}) == 1]
        breaks = [0, *single, count]
        ends = [
            0.0,
            *itertools.accumulate(map(sum, zip(self.widths, [*self.spaces, 0.0], strict=True))),
        ]
        tall = max(height + self.room(v).below for v, height in enumerate(self.heights))
        pieces = (ends[b] - ends[a] for a, b in itertools.pairwise(breaks))
        best = max(NARROW, sqrt(ends[-1] * (tall + GUTTER) * RATIO), *pieces)
        found: list[tuple[float, int]] = [(0.0, 0)]
        for i, end in enumerate(breaks[1:], 1):
            costs = ((ends[end] - ends[start]) / best - 1 for start in breaks[:i])
            found.append(min((found[j][0] + cost**2, j) for j, cost in enumerate(costs)))
        cuts = [len(breaks) - 1]
        while cuts[-1]:
            cuts.append(found[cuts[-1]][1])
        return [range(breaks[a], breaks[b]) for a, b in itertools.pairwise(cuts[::-1])]

    def _lefts(self, line: range) -> Iterator[float]:
        x = MARGIN if len(self.lines) > 1 else 0.0
        for i in line:
            yield x
            x += self.widths[i] + (self.spaces[i] if i < len(self.spaces) else 0.0)

    def _right(self, column: int) -> float:
        return self.lefts[column] + self.widths[column]

    def _stack(self) -> tuple[list[float], float]:
        """What to add to the heights of each line, and the height of all lines together."""
        tops, y = [], 0.0
        for line in self.lines:
            inside = [v for i in line for v in self.graph.columns[i]]
            top = min(self.heights[v] - self.room(v).above for v in inside)
            bottom = max(self.heights[v] + self.room(v).below for v in inside)
            tops.append(y - top)
            y += bottom - top + GUTTER
        return tops, y - GUTTER

    def _y(self, vertex: int) -> float:
        return self.heights[vertex] + self.tops[self.line[self.column[vertex]]]

    def _left(self, vertex: int) -> float:
        column = self.column[vertex]
        return self.lefts[column] + (self.widths[column] - self.room(vertex).width) / 2

    def places(self) -> Places:
        nodes = [(self._left(v), self._y(v)) for v in range(self.graph.count)]
        paths = {edge: self._path(way) for edge, way in self.graph.ways.items()}
        return Places(nodes, paths, self.graph.omitted, self.width, self.height)

    def _path(self, way: Sequence[int]) -> Path:
        first, last = way[0], way[-1]
        start = (self._left(first) + self.room(first).leave, self._y(first))
        steps: list[tuple[Point, ...]] = []
        for a, b in itertools.pairwise(way):
            steps += self._link(a, b)
        end = (self._left(last) + self.room(last).enter, self._y(last))
        return Path(start, tuple(_merged(start, [*steps, (end,)])))

    def _link(self, a: int, b: int) -> Iterator[tuple[Point, ...]]:
        """From the column of one vertex to that of the next."""
        left, right = self.column[a], self.column[b]
        x, y = self._right(left), self._y(a)
        yield ((x, y),)
        if self.line[left] != self.line[right]:
            x = self.lefts[right] - GAP / 2
            below = self.heights[a] + self.tops[self.line[right]]
            yield from self._turn((self.width - 10.0, y), (10.0, below), self.line[left])
            y = below
            yield ((x, y),)
        end = (self.lefts[right], self._y(b))
        middle = (x + end[0]) / 2
        yield (end,) if y == end[1] else ((middle, y), (middle, end[1]), end)

    def _turn(self, start: Point, end: Point, line: int) -> Iterator[tuple[Point, ...]]:
        """From the right of one line to the left of the next, between both."""
        bottom = max(
            self._y(v) + self.room(v).below for i in self.lines[line] for v in self.graph.columns[i]
        )
        corners = [start, (start[0], bottom + GUTTER / 2), (end[0], bottom + GUTTER / 2), end]
        return _rounded([(start[0] - 12, start[1]), *corners, (end[0] + 12, end[1])])


def _rounded(points: Sequence[Point], radius: float = 8.0) -> Iterator[tuple[Point, ...]]:
    """Straight steps through points, whose corners are round."""
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        near, far = _towards(corner, before, radius), _towards(corner, after, radius)
        yield (near,)
        yield (corner, corner, far)


def _towards(point: Point, other: Point, length: float) -> Point:
    axis_field = abs(other[0] - point[0]) + abs(other[1] - point[1])  # one of them is 0
    share = min(length / axis_field, 0.5) if axis_field else 0.0
    return point[0] + share * (other[0] - point[0]), point[1] + share * (other[1] - point[1])


def _merged(start: Point, steps: Sequence[tuple[Point, ...]]) -> Iterator[tuple[Point, ...]]:
    """The steps, those along one level line as one."""
    y, held = start[1], None
    for step in steps:
        if len(step) == 1 and step[0][1] == y:
            held = step
            continue
        if held:
            yield held
        yield step
        y, held = step[-1][1], None
    if held:
        yield held


def _heights(graph: Layered, rooms: Sequence[Room]) -> list[float]:
    """The height of each vertex, so that the links rise as little as they can: a linear program.

    The links of a long edge and those of the longest path count most, so that these are straight.
    """
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    weights = _weights(graph)
    count = sum(map(len, graph.columns))
    rows: list[tuple[dict[int, float], float]] = []
    for i, (a, b) in enumerate(weights, count):
        rows += [({a: 1.0, b: -1.0, i: -1.0}, 0.0), ({b: 1.0, a: -1.0, i: -1.0}, 0.0)]
    for column in graph.columns:
        for a, b in itertools.pairwise(column):
            upper, lower = (rooms[v] if v < graph.count else LANES for v in (a, b))
            lane = min(a, b) >= graph.count
            apart = upper.below + lower.above + (0.0 if lane else APART)
            rows.append(({a: 1.0, b: -1.0}, -apart))
    if not rows:
        return [room.above for room in rooms]
    entries = [(i, v, x) for i, (row, _) in enumerate(rows) for v, x in row.items()]
    i, v, x = map(np.array, zip(*entries, strict=True))
    matrix = coo_array((x, (i, v)), shape=(len(rows), count + len(weights)))
    cost = np.concatenate([np.zeros(count), list(weights.values())])
    solved = linprog(cost, matrix.tocsr(), [bound for _, bound in rows], method="highs")
    return [round(float(y), 3) for y in solved.x[:count]]


def _weights(graph: Layered) -> Mapping[Edge, float]:
    """How much it costs that a link rises."""
    spine = _spine(graph)

    def weight(a: int, b: int) -> float:
        dummies = (a >= graph.count) + (b >= graph.count)
        return (3.0, 1.0, 8.0)[dummies] * (4.0 if a in spine and b in spine else 1.0)

    return {(a, b): weight(a, b) for a, b in graph.links}


def _spine(graph: Layered) -> set[int]:
    """The nodes of a longest path to the last node."""
    near = {}
    for a, b in graph.links:
        if a < graph.count and b < graph.count:
            near.setdefault(b, a)
    found, node = set(), graph.count - 1
    while node is not None and node not in found:
        found.add(node)
        node = near.get(node)
    return found
