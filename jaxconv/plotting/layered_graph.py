"""Put a graph in layers: which column each node stands in, and in which order from top to bottom.

The method is Sugiyama's ("Methods for visual understanding of hierarchical system structures",
1981): columns by the longest path, a dummy node in each column that an edge passes, and sweeps
that sort each column by the mean place of the neighbours. All edges of one source share their
dummy nodes, so that a map that many layers take leaves as one line that branches.
"""

import bisect
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MOST = 4000  # dummy nodes, for which a layout takes seconds
SWEEPS = 12
Edge = tuple[int, int]


@dataclass
class Layered:
    """A graph in columns. Its vertices are the nodes 0, 1, ..., and after them the dummy nodes.

    Attributes:
        count: of the nodes.
        columns: the vertices of each column, from top to bottom.
        links: pairs of vertices in neighbouring columns.
        ways: for each edge the vertices that it passes, its ends included.
        omitted: edges that are so long that they have no way.
    """

    count: int
    columns: list[list[int]]
    links: list[Edge] = field(default_factory=list)
    ways: dict[Edge, list[int]] = field(default_factory=dict)
    omitted: tuple[Edge, ...] = ()

    def gaps(self) -> list[list[Edge]]:
        """The links between each column and the next."""
        column = {vertex: i for i, column in enumerate(self.columns) for vertex in column}
        found: list[list[Edge]] = [[] for _ in self.columns[1:]]
        for start, end in self.links:
            found[column[start]].append((start, end))
        return found


def layered(count: int, edges: Sequence[Edge]) -> Layered:
    """Put nodes in columns, each edge leading to the right, with few crossings.

    Args:
        count: of the nodes.
        edges: pairs of nodes, from a smaller to a larger one.

    Returns:
        The columns, ordered, and the ways of the edges.
    """
    ranks = _ranks(count, edges)
    longest = _longest(ranks, edges)
    short = [edge for edge in edges if ranks[edge[1]] - ranks[edge[0]] <= longest]
    graph = Layered(count, [[] for _ in range(max(ranks, default=-1) + 1)])
    graph.omitted = tuple(edge for edge in edges if edge not in set(short))
    for node, rank in enumerate(ranks):
        graph.columns[rank].append(node)
    for source, targets in _targets(short).items():
        _lead(graph, ranks, source, targets)
    _order(graph)
    return graph


def crossings(columns: Sequence[Sequence[int]], gaps: Iterable[Sequence[Edge]]) -> int:
    """How many pairs of links cross between the columns."""
    place = {vertex: i for column in columns for i, vertex in enumerate(column)}
    return sum(_inversions(sorted((place[a], place[b]) for a, b in gap)) for gap in gaps)


def _inversions(pairs: Sequence[Edge]) -> int:
    seen: list[int] = []
    found = 0
    for _, end in pairs:
        found += len(seen) - bisect.bisect_right(seen, end)
        bisect.insort(seen, end)
    return found


def _targets(edges: Iterable[Edge]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for source, target in edges:
        found[source].append(target)
    return found


def _ranks(count: int, edges: Sequence[Edge]) -> list[int]:
    """The column of each node: after all that feed it; what nothing feeds, just before its use."""
    ranks, fed = [0] * count, {target for _, target in edges}
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        ranks[target] = max(ranks[target], ranks[source] + 1)
    for source, targets in _targets(edges).items():
        if source not in fed:
            ranks[source] = min(ranks[target] for target in targets) - 1
    return ranks


def _longest(ranks: Sequence[int], edges: Sequence[Edge]) -> int:
    """How many columns an edge may span, so that there are not too many dummy nodes."""
    spans = {
        source: sorted(ranks[target] - ranks[source] for target in targets)
        for source, targets in _targets(edges).items()
    }
    limit = max((each[-1] for each in spans.values()), default=1)
    while sum(_reach(each, limit) for each in spans.values()) > MOST:
        limit = limit * 3 // 4
    return limit


def _reach(spans: Sequence[int], limit: int) -> int:
    """The dummy nodes of a source whose edges span so many columns, without those too long."""
    within = bisect.bisect_right(spans, limit)
    return spans[within - 1] - 1 if within else 0


def _lead(graph: Layered, ranks: Sequence[int], source: int, targets: Sequence[int]) -> None:
    """Lead one source to its targets, through dummy nodes that all of them share."""
    trunk, start = [source], ranks[source]
    for column in range(start + 1, max(ranks[target] for target in targets)):
        dummy = sum(map(len, graph.columns))
        graph.columns[column].append(dummy)
        graph.links.append((trunk[-1], dummy))
        trunk.append(dummy)
    for target in targets:
        way = trunk[: ranks[target] - start]
        graph.links.append((way[-1], target))
        graph.ways[source, target] = [*way, target]


def _order(graph: Layered) -> None:
    """Order each column: lines that pass above blocks at first, then what crosses least."""
    for column in graph.columns:
        # Dummy nodes are numbered by their sources, so that the longest lines are outermost.
        column.sort(key=lambda vertex: (vertex < graph.count, vertex))
    gaps = graph.gaps()
    best, least = [list(c) for c in graph.columns], crossings(graph.columns, gaps)
    for sweep in range(SWEEPS):
        if least == 0:
            break
        _sweep(graph, forward=sweep % 2 == 0)
        _swap(graph.columns, gaps)
        found = crossings(graph.columns, gaps)
        if found < least:
            best, least = [list(c) for c in graph.columns], found
    graph.columns = best


def _neighbours(links: Iterable[Edge]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Of each vertex those to the left, and those to the right."""
    left, right = defaultdict(list), defaultdict(list)
    for start, end in links:
        right[start].append(end)
        left[end].append(start)
    return left, right


def _sweep(graph: Layered, *, forward: bool) -> None:
    """Sort each column by the mean place of its neighbours in the one before."""
    left, right = _neighbours(graph.links)
    near, columns = (left, graph.columns) if forward else (right, graph.columns[::-1])
    for before, column in itertools.pairwise(columns):
        place = {vertex: i for i, vertex in enumerate(before)}
        mean = {v: sum(place[n] for n in near[v]) / len(near[v]) for v in column if near[v]}
        movable = iter(sorted(mean, key=lambda vertex: mean[vertex]))
        column[:] = [next(movable) if vertex in mean else vertex for vertex in column]


def _swap(columns: Sequence[list[int]], gaps: Sequence[Sequence[Edge]]) -> None:
    """Swap neighbours in a column as long as fewer links cross then."""
    left, right = _neighbours(link for gap in gaps for link in gap)
    place = {vertex: i for column in columns for i, vertex in enumerate(column)}
    for column in columns:
        for i in _worse(column, (left, right), place):
            column[i], column[i + 1] = column[i + 1], column[i]
            place[column[i]], place[column[i + 1]] = i, i + 1


def _worse(
    column: Sequence[int], sides: Sequence[Mapping[int, list[int]]], place: Mapping[int, int]
) -> Iterator[int]:
    """The places of neighbours that should be swapped; the column may be changed meanwhile."""
    for _ in column:
        swaps = 0
        for i in range(len(column) - 1):
            upper, lower = column[i], column[i + 1]
            now = sum(_crossed(side[upper], side[lower], place) for side in sides)
            then = sum(_crossed(side[lower], side[upper], place) for side in sides)
            if then < now:
                swaps += 1
                yield i
        if not swaps:
            return


def _crossed(upper: Sequence[int], lower: Sequence[int], place: Mapping[int, int]) -> int:
    return sum(place[a] > place[b] for a in upper for b in lower)
