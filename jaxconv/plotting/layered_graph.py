"""Put a graph in layers: which column each node is in, and the order of each column.

The method is Sugiyama's ("Methods for visual understanding of hierarchical system structures",
1981): columns by the longest path, a dummy node in each column that an edge passes, and sweeps
that sort each column by the mean position (barycentre) of the neighbours. All edges of one source
share their dummy nodes, so that a map that feeds many layers leaves as one line that branches.
"""

import bisect
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MAX_DUMMIES = 4000  # dummy nodes; a layout with this many takes seconds
SWEEPS = 12
Edge = tuple[int, int]


@dataclass
class LayeredGraph:
    """A graph in columns. Its vertices are the nodes 0, 1, ..., followed by the dummy nodes.

    Attributes:
        count: the number of nodes.
        columns: the vertices of each column, from top to bottom.
        links: pairs of vertices in neighbouring columns.
        routes: for each edge the vertices that it passes, both ends included.
        omitted: edges that are too long to have a route.
    """

    count: int
    columns: list[list[int]]
    links: list[Edge] = field(default_factory=list)
    routes: dict[Edge, list[int]] = field(default_factory=dict)
    omitted: tuple[Edge, ...] = ()

    def spine(self) -> set[int]:
        """The nodes of a longest path to the last node."""
        first_input: dict[int, int] = {}  # for each node the first one that feeds it directly
        for a, b in self.links:
            if a < self.count and b < self.count:
                first_input.setdefault(b, a)
        spine: set[int] = set()
        node: int | None = self.count - 1
        while node is not None and node not in spine:
            spine.add(node)
            node = first_input.get(node)
        return spine

    def gaps(self) -> list[list[Edge]]:
        """The links between each column and the next."""
        column = {vertex: i for i, column in enumerate(self.columns) for vertex in column}
        gaps: list[list[Edge]] = [[] for _ in self.columns[1:]]
        for start, end in self.links:
            gaps[column[start]].append((start, end))
        return gaps


def layered(count: int, edges: Sequence[Edge]) -> LayeredGraph:
    """Put nodes in columns such that each edge leads to the right and few edges cross.

    Args:
        count: the number of nodes.
        edges: pairs of nodes, from a smaller to a larger number.

    Returns:
        The ordered columns, and the routes of the edges.
    """
    # The column of each node: right of its inputs; without inputs, just before its first use.
    ranks, fed = [0] * count, {target for _, target in edges}
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        ranks[target] = max(ranks[target], ranks[source] + 1)
    for source, targets in _targets(edges).items():
        if source not in fed:
            ranks[source] = min(ranks[target] for target in targets) - 1
    max_span = _max_span(ranks, edges)
    short = [edge for edge in edges if ranks[edge[1]] - ranks[edge[0]] <= max_span]
    graph = LayeredGraph(count, [[] for _ in range(max(ranks, default=-1) + 1)])
    graph.omitted = tuple(edge for edge in edges if edge not in set(short))
    for node, rank in enumerate(ranks):
        graph.columns[rank].append(node)
    for source, targets in _targets(short).items():
        trunk = [source]  # and the dummy nodes that its edges share, up to the most distant target
        for rank in range(ranks[source] + 1, max(ranks[target] for target in targets)):
            dummy = sum(map(len, graph.columns))
            graph.columns[rank].append(dummy)
            graph.links.append((trunk[-1], dummy))
            trunk.append(dummy)
        for target in targets:
            route = trunk[: ranks[target] - ranks[source]]
            graph.links.append((route[-1], target))
            graph.routes[source, target] = [*route, target]
    _sort_columns(graph)
    return graph


def crossings(columns: Sequence[Sequence[int]], gaps: Iterable[Sequence[Edge]]) -> int:
    """Count the pairs of links that cross between the columns.

    Args:
        columns: the vertices of each column, from top to bottom.
        gaps: the links between each column and the next.

    Returns:
        The number of crossings.
    """
    position = {vertex: i for column in columns for i, vertex in enumerate(column)}
    count = 0
    for gap in gaps:
        ends: list[int] = []  # of the links above, sorted; those that end further down cross
        for _, end in sorted((position[a], position[b]) for a, b in gap):
            count += len(ends) - bisect.bisect_right(ends, end)
            bisect.insort(ends, end)
    return count


def _targets(edges: Iterable[Edge]) -> dict[int, list[int]]:
    targets: dict[int, list[int]] = defaultdict(list)
    for source, target in edges:
        targets[source].append(target)
    return targets


def _max_span(ranks: Sequence[int], edges: Sequence[Edge]) -> int:
    """How many columns an edge may span without making too many dummy nodes."""
    spans = [
        sorted(ranks[target] - ranks[source] for target in targets)
        for source, targets in _targets(edges).items()
    ]
    limit = max((each[-1] for each in spans), default=1)

    def dummies(each: Sequence[int]) -> int:
        """The dummy nodes of one source, without those of edges that are too long."""
        within = bisect.bisect_right(each, limit)
        return each[within - 1] - 1 if within else 0

    while sum(map(dummies, spans)) > MAX_DUMMIES:
        limit = limit * 3 // 4
    return limit


def _sort_columns(graph: LayeredGraph) -> None:
    """Sort each column: at first with passing lines above the nodes, then for few crossings."""
    for column in graph.columns:
        # Dummy nodes are numbered by their sources, so that the longest lines are outermost.
        column.sort(key=lambda vertex: (vertex < graph.count, vertex))
    gaps, (left, right) = graph.gaps(), _neighbours(graph.links)
    best, least = [list(c) for c in graph.columns], crossings(graph.columns, gaps)
    for sweep in range(SWEEPS):
        if least == 0:
            break
        # By the mean position of the neighbours in the column before, alternately from both ends.
        near, columns = (right, graph.columns[::-1]) if sweep % 2 else (left, graph.columns)
        for before, column in itertools.pairwise(columns):
            position = {vertex: i for i, vertex in enumerate(before)}
            mean = {v: sum(position[n] for n in near[v]) / len(near[v]) for v in column if near[v]}
            movable = iter(sorted(mean, key=lambda vertex: mean[vertex]))
            column[:] = [next(movable) if vertex in mean else vertex for vertex in column]
        _swap_neighbours(graph.columns, gaps)
        count = crossings(graph.columns, gaps)
        if count < least:
            best, least = [list(c) for c in graph.columns], count
    graph.columns = best


def _neighbours(links: Iterable[Edge]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """For each vertex its neighbours to the left, and those to the right."""
    left, right = defaultdict(list), defaultdict(list)
    for start, end in links:
        right[start].append(end)
        left[end].append(start)
    return left, right


def _swap_neighbours(columns: Sequence[list[int]], gaps: Sequence[Sequence[Edge]]) -> None:
    """Swap neighbours in a column as long as that reduces the number of crossings."""
    sides = _neighbours(link for gap in gaps for link in gap)
    position = {vertex: i for column in columns for i, vertex in enumerate(column)}

    def crossed(upper: int, lower: int) -> int:
        return sum(
            position[a] > position[b] for side in sides for a in side[upper] for b in side[lower]
        )

    for column in columns:
        for _ in column:
            swapped = False
            for i in range(len(column) - 1):
                upper, lower = column[i], column[i + 1]
                if crossed(lower, upper) < crossed(upper, lower):
                    column[i], column[i + 1] = lower, upper
                    position[lower], position[upper] = i, i + 1
                    swapped = True
            if not swapped:
                break
