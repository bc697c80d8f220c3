"""Which connection carries which topics: as few connections as the venue's limit asks for, evenly filled. Pure."""

from collections.abc import Collection, Iterable, Sequence
from heapq import heapify, heapreplace

from wick.market.trades import Topic


def place(lines: Sequence[Collection[Topic]], new: Iterable[Topic], most: int) -> list[list[Topic]]:
    """What each of `lines` gets beside what it carries; more places than lines where new ones have to be opened.

    No line comes to carry more than `most`, what is carried already stays where it is, and a symbol's new topics stay
    together: trades and book of one connection are in order.
    """
    carried = {topic for line in lines for topic in line}
    homes = {topic.symbol: at for at, line in enumerate(lines) for topic in line}
    symbols: dict[str, list[Topic]] = {}
    for topic in dict.fromkeys(new):
        if topic not in carried:
            symbols.setdefault(topic.symbol, []).append(topic)
    gets: list[list[Topic]] = [[] for _ in lines]
    loads = [len(line) for line in lines]
    groups: list[list[Topic]] = []
    for symbol, topics in symbols.items():
        home = homes.get(symbol)
        if home is not None and loads[home] + len(topics) <= most:
            gets[home] += topics
            loads[home] += len(topics)
        else:  # a symbol with more topics than a connection may have is the only one that is torn apart
            groups += [topics[at : at + most] for at in range(0, len(topics), most)]
    count = max(len(lines), -(-(sum(loads) + sum(map(len, groups))) // most))
    while (placed := _spread(groups, loads + [0] * (count - len(lines)), most)) is None:
        count += 1
    gets += [[] for _ in range(count - len(lines))]
    for at, group in placed:
        gets[at] += group
    return gets


def _spread(groups: list[list[Topic]], loads: list[int], most: int) -> list[tuple[int, list[Topic]]] | None:
    """Each group to the line that has least; None where that does not fit."""
    if not groups:
        return []
    heap = [(load, at) for at, load in enumerate(loads)]
    heapify(heap)
    placed = []
    for group in groups:
        if not heap or heap[0][0] + len(group) > most:
            return None
        load, at = heap[0]
        placed.append((at, group))
        heapreplace(heap, (load + len(group), at))
    return placed
