"""Topics over connections: every one once, never over the limit, evenly, and what is carried stays where it is."""

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from wick.market.trades import Topic
from wick.stream.plan import place

CHANNELS = ("trade", "quote", "depth")


def topics(names: list[int], channels: tuple[str, ...] = CHANNELS) -> list[Topic]:
    return [Topic(f"S{name}-USDT", channel) for name in names for channel in channels]


def grown(lines: list[list[Topic]], gets: list[list[Topic]]) -> list[list[Topic]]:
    return [[*line, *got] for line, got in zip([*lines, *[[]] * (len(gets) - len(lines))], gets, strict=True)]


some_topics = st.lists(st.builds(Topic, st.integers(0, 30).map(lambda n: f"S{n}"), st.sampled_from(CHANNELS)))


@given(st.integers(1, 12), st.lists(st.tuples(some_topics, some_topics), max_size=6))
def test_whatever_is_added_and_dropped_each_topic_has_one_place_and_no_line_too_many(most, changes) -> None:
    lines: list[list[Topic]] = []
    wanted: set[Topic] = set()
    for added, dropped in changes:
        gets = place(lines, added, most)
        assert len(gets) >= len(lines)
        lines = grown(lines, gets)
        wanted |= set(added)
        carried = [topic for line in lines for topic in line]
        assert len(carried) == len(set(carried))
        assert set(carried) == wanted
        assert all(0 < len(line) <= most for line in lines)
        wanted -= set(dropped)
        lines = [kept for line in lines if (kept := [topic for topic in line if topic not in dropped])]


@given(st.integers(3, 40), st.lists(st.integers(0, 200), min_size=1, unique=True), st.sampled_from([1, 2, 3]))
def test_the_first_symbols_fill_as_few_lines_as_can_be_evenly(most, names, channels) -> None:
    lines = place([], topics(names, CHANNELS[:channels]), most)
    assert len(lines) == ceil(len(names) / (most // channels))
    sizes = sorted(map(len, lines))
    assert sizes[-1] - sizes[0] <= channels
    assert all(len({topic.symbol for topic in line}) * channels == len(line) for line in lines)  # whole symbols


@given(st.integers(3, 40), st.lists(some_topics, min_size=1, max_size=5))
def test_the_topics_of_a_symbol_that_come_together_stay_together(most, batches) -> None:
    lines: list[list[Topic]] = []
    for batch in batches:
        gets = place(lines, batch, most)
        for symbol in {topic.symbol for topic in batch}:
            assert sum(any(topic.symbol == symbol for topic in got) for got in gets) <= 1
        lines = grown(lines, gets)


def test_a_symbols_next_channel_goes_where_the_symbol_is() -> None:
    lines = place([], topics([1, 2, 3, 4, 5, 6], ("trade",)), 4)
    for name in range(1, 7):
        gets = place(lines, topics([name], ("depth",)), 4)
        assert len(gets) == 2
        at = next(at for at, got in enumerate(gets) if got)
        assert Topic(f"S{name}-USDT", "trade") in lines[at]


def test_lines_with_room_are_filled_before_another_is_opened() -> None:
    lines = [topics([1, 2]), topics([3])]
    assert place(lines, topics([4]), 6) == [[], topics([4])]
    assert place(lines, topics([4, 5]), 6) == [[], topics([5]), topics([4])]
    assert place(lines, topics([1, 3]), 6) == [[], []]
    assert place(lines, [], 6) == [[], []]
