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
    symbols: dict[str, list[Topic]] = {}
    for topic in dict.fromkeys(new):
        if topic not in carried:
            symbols.setdefault(topic.symbol, []).append(topic)
    # A symbol with more topics than a connection may have is the only one that is torn apart.
    groups = [topics[at : at + most] for topics in symbols.values() for at in range(0, len(topics), most)]
    gets: list[list[Topic]] = [[] for _ in lines]
    loads = [len(line) for line in lines]
    groups = [group for group in groups if not _joins(group, lines, gets, loads, most)]
    groups.sort(key=len, reverse=True)  # the large ones first: they need the room; else in the order of asking
    total = sum(loads) + sum(map(len, groups))
    count = max(len(lines), -(-total // most))
    while (placed := _spread(groups, loads + [0] * (count - len(lines)), most)) is None:
        count += 1
    gets += [[] for _ in range(count - len(lines))]
    for place_, group in placed:
        gets[place_] += group
    return gets


def _joins(
    group: list[Topic], lines: Sequence[Collection[Topic]], gets: list[list[Topic]], loads: list[int], most: int
) -> bool:
    """Put `group` on the line that has other topics of its symbol, where there is one with room."""
    symbol = group[0].symbol
    for at, line in enumerate(lines):
        if loads[at] + len(group) <= most and any(topic.symbol == symbol for topic in line):
            gets[at] += group
            loads[at] += len(group)
            return True
    return False


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
