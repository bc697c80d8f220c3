"""Trades, books and stats that a front passes on: every trade is told once, or counted as missed, or a new epoch says
that nobody can tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wick.errors import WireError
from wick.market.trades import BookDepth, Quote, Trade
from wick.stream import relays
from wick.stream.cohorts import Slices
from wick.stream.fanout import Fanout
from wick.stream.relays import LINGER_NS, SILENT_NS, Relays, Trades, joined
from wick.stream.shards import SHARDS, shard_of
from wick.wire.codec import pack, pack_json, unpack
from wick.wire.messages import TickHeader, book_frames, pack_depth, pack_quote, pack_trade, stats_topic, ticks_topic
from wick.wire.session import Kind, Topic
from wick.wire.topics import KINDS, TRADES_KEPT

VENUE, SYMBOL, FEED = "binance", "BTC-USDT", 7_000
SHARD = shard_of(VENUE, SYMBOL)
TRADES, BOOK, STATS = Topic("trades", VENUE, SYMBOL, -1), Topic("book", VENUE, SYMBOL, -1), Topic("stats", "", "", -1)


def trade(number, symbol=SYMBOL, *, price=100, decimals=(2, 5)):
    return Trade(symbol, number * 1000, number, price, decimals[0], 10 + number, decimals[1], number % 2 == 0, 3)


def ticks(seq, *records, epoch=FEED, outage=False, symbols=(SYMBOL,), counts=None):
    """A message of the feed's mirror."""
    packed = [pack_trade(one, 5) if isinstance(one, Trade) else one for one in records]
    names, numbers = ([], []) if not packed else (list(symbols), list(counts or [len(packed)]))
    header = TickHeader(epoch, 1, 0, VENUE, 9, 9, [[SHARD, seq, outage, names, numbers]])
    return [ticks_topic(VENUE, SHARD), header.pack(), b"".join(packed)]


class Client:
    """As much of a client as the fan-out knows, and what it was told. `takes`: whether its socket does."""

    __slots__ = ("behind", "cohort", "globs", "place", "said", "takes")

    def __init__(self):
        self.said, self.takes = [], True


class World:
    """A fan-out with relays. Its clients take whole frames or nothing: what they do not take comes later."""

    def __init__(self, epoch=1_000):
        self.relays = Relays(epoch)
        self.fanout = Fanout(self, SHARDS, shard_of, kinds=self.relays.kinds, slices=Slices(1, 4))
        self.rests = {}

    def client(self, topic, position=None):
        client = Client()
        self.fanout.enter(client, json=False, deflate=False)
        self.resumed = self.subscribe(client, topic, position)
        return client

    def subscribe(self, client, topic, position=None):
        _, resumed = self.fanout.subscribe(client, topic, position)
        self.fanout.tell(client)
        return resumed

    def take(self, *messages):
        for frames in messages:
            self.relays.take(frames, self.fanout.put)

    def flush(self):
        for band in self.fanout.slices.bands[0]:
            self.fanout.flush(band)
        self.fanout.trim()

    def wake(self, client):
        client.takes = True
        client.said += self.rests.pop(client)
        self.fanout.writable(client)

    # what a Server does

    def send(self, client, data):
        size = data[1]
        at = 2 if size < 126 else 4 if size == 126 else 10
        message = unpack(data[at:])
        messages = message[1:] if message[0] == Kind.BATCH else [message]
        if client.takes:
            client.said += messages
        else:
            assert client not in self.rests
            self.rests[client] = messages
        return client.takes

    def send_all(self, clients, frames):
        return [client for client, data in zip(clients, frames, strict=True) if not self.send(client, data)]


@pytest.fixture
def world():
    return World()


def numbers(client):
    """The ids of the trades that a client has been told, and of those it missed None each."""
    epoch = told = None
    found = []
    for kind, _, its_epoch, seq, missed, _, _, rows in client.said:
        assert kind == Kind.TRADES
        if epoch == its_epoch:
            assert seq == told + missed + len(rows), "each is told once, or counted as missed"
        epoch, told = its_epoch, seq
        found += [None] * missed + [row[0] for row in rows]
    return found


def test_trades_are_told_as_the_feed_received_them(world):
    client = world.client(TRADES)
    [first] = client.said
    assert first[:2] + first[3:] == [Kind.TRADES, first[1], 0, 0, 0, 0, []]  # nothing yet: a position
    world.take(ticks(1, trade(1), trade(2)))
    world.flush()
    told = [[1, 1, 100, 11, False, 3], [2, 2, 100, 12, True, 3]]
    assert client.said[1:] == [[Kind.TRADES, first[1], first[2], 2, 0, 2, 5, told]]


def test_quotes_depth_and_other_pairs_are_no_trades_of_the_pair(world):
    client = world.client(TRADES)
    other = next(f"X{n}-USDT" for n in range(1000) if shard_of(VENUE, f"X{n}-USDT") == SHARD)
    quote = pack_quote(Quote(SYMBOL, 1, 2, 3, 4, 5, 2, 5), 5)
    depth = pack_depth(BookDepth(SYMBOL, 1, 1, 1, 1, 1, 5), 5, 5, 2)
    world.take(ticks(1, trade(8, other), quote, trade(1), depth, trade(2), symbols=(other, SYMBOL), counts=(1, 4)))
    world.take(ticks(2), ticks(3, quote))  # a clock, and a flush without a trade
    world.flush()
    assert numbers(client) == [1, 2]


def test_all_that_came_since_the_last_flush_is_one_message(world):
    client = world.client(TRADES)
    world.take(ticks(1, trade(1)), ticks(2, trade(2), trade(3)), ticks(3, trade(4, decimals=(4, 5))))
    world.flush()
    assert len(client.said) == 2
    assert numbers(client) == [1, 2, 3, 4]
    *_, prices, quantities, rows = client.said[1]
    assert (prices, quantities) == (4, 5)
    assert [row[2] for row in rows] == [10_000, 10_000, 10_000, 100]  # in the finest unit, exact


def test_a_second_subscriber_begins_with_what_is_kept(world):
    world.client(TRADES)
    for seq in range(1, 301):
        world.take(ticks(seq, trade(seq)))
    second = world.client(TRADES)
    assert numbers(second) == list(range(301 - TRADES_KEPT, 301))
    world.take(ticks(301, trade(301)))
    world.flush()
    world.flush()
    assert numbers(second)[-1] == 301


@pytest.mark.parametrize(("many", "missed"), [(5, 0), (TRADES_KEPT, 0), (TRADES_KEPT + 44, 44)])
def test_a_slow_client_is_told_what_is_kept_and_how_many_are_not(world, many, missed):
    client = world.client(TRADES)
    world.take(ticks(1, trade(1)))
    client.takes = False
    world.flush()
    for seq in range(2, many + 2):
        world.take(ticks(seq, trade(seq)))
        world.flush()
    world.wake(client)
    world.flush()
    assert numbers(client) == [1, *[None] * missed, *range(2 + missed, many + 2)]
    assert client.said[-1][4] == missed


@pytest.mark.parametrize(
    ("meanwhile", "resumed"), [(0, True), (3, True), (TRADES_KEPT, True), (TRADES_KEPT + 1, False)]
)
def test_who_comes_back_goes_on_from_his_position(world, meanwhile, resumed):
    client = world.client(TRADES)
    world.take(ticks(1, trade(1), trade(2)))
    world.flush()
    epoch, seq = client.said[-1][2:4]
    world.fanout.leave(client)
    assert world.relays.wanted(1)
    for at in range(meanwhile):
        world.take(ticks(2 + at, trade(3 + at)))
    again = world.client(TRADES, (epoch, seq))
    assert world.resumed is resumed
    client.said += again.said
    missed = max(0, meanwhile - TRADES_KEPT)
    assert numbers(client) == [1, 2, *[None] * missed, *range(3 + missed, 3 + meanwhile)]


@pytest.mark.parametrize("position", [(1, 1), (1_001, 3)])
def test_a_position_of_another_epoch_or_of_the_future_begins_anew(world, position):
    world.client(TRADES)
    world.take(ticks(1, trade(1), trade(2)))
    again = world.client(TRADES, position)
    assert world.resumed is False
    assert numbers(again) == [1, 2]


@pytest.mark.parametrize(
    "frames",
    [ticks(3, trade(9)), ticks(2, trade(9), epoch=FEED + 1), ticks(2, trade(9), outage=True), ticks(1, trade(9))],
    ids=["a hole", "another feed", "an outage", "a step back"],
)
@pytest.mark.parametrize("slow", [False, True])
def test_where_trades_may_be_lost_a_new_epoch_begins(world, frames, slow):
    client = world.client(TRADES)
    world.take(ticks(1, trade(1)))
    if slow:
        client.takes = False
    world.flush()
    world.take(frames)
    world.flush()
    if slow:
        world.wake(client)
        world.flush()
    epochs = [said[2] for said in client.said]
    assert epochs[0] == epochs[1] < epochs[-1]
    assert client.said[-1][3:5] == [1, 0]
    assert numbers(client) == [1, 9]
    assert world.relays.restarts == 1


def test_the_position_after_a_loss_is_known_before_the_next_trade(world):
    client = world.client(TRADES)
    world.take(ticks(1, trade(1)), ticks(3))
    world.flush()
    assert client.said[-1][2:4] == [client.said[0][2] + 1, 0]


def test_another_front_gives_other_epochs():
    first, second = World(1_000), World(2_000)
    assert first.client(TRADES).said[0][2] != second.client(TRADES).said[0][2]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_fan_out_with_relays_has_channels_for_every_kind_of_topic(world, kind):
    venue, symbol = (VENUE, SYMBOL) if kind.parts else ("", "")
    client = world.client(Topic(kind.name, venue, symbol, 2 if "interval" in kind.parts else -1))
    assert {Kind(said[0]).name for said in client.said} <= set(kind.messages)


def test_only_what_somebody_wants_is_listened_to(world):
    assert world.relays.wanted(1) == set()
    stats = world.client(STATS)
    assert world.relays.wanted(2) == set()  # these come anyhow
    trades, book = world.client(TRADES), world.client(BOOK)
    streams = [ticks_topic(VENUE, SHARD), book_frames(VENUE, SHARD, "", 0, 0, [], [])[0]]
    assert world.relays.wanted(3) == set(streams)
    for client in (stats, book):
        world.fanout.leave(client)
    assert world.relays.wanted(4) == {streams[0]}
    world.take(ticks(1, trade(1)))
    world.fanout.leave(trades)
    assert world.relays.wanted(5) == {streams[0]}  # who comes back soon has missed nothing
    assert world.relays.wanted(5 + LINGER_NS - 1) == {streams[0]}
    assert world.relays.wanted(5 + LINGER_NS) == set()


def test_a_shard_that_was_not_listened_to_for_a_while_has_not_lost_anything(world):
    world.fanout.leave(world.client(TRADES))
    world.relays.wanted(1)
    client = world.client(TRADES)
    world.take(ticks(500, trade(1)))
    assert world.relays.restarts == 0
    world.flush()
    assert numbers(client) == [1]


def test_names_that_nothing_is_heard_of_leave_nothing_behind(world):
    for number in range(50):
        world.fanout.leave(world.client(Topic("trades", VENUE, f"NO-{number}", -1)))
    assert world.relays.wanted(1) == set()


def test_rings_that_linger_are_bounded_and_the_oldest_goes_first(world, monkeypatch):
    monkeypatch.setattr(relays, "MAX_LINGERING", 2)
    symbols = [symbol for symbol in map("X{}-USDT".format, range(1000)) if shard_of(VENUE, symbol) == SHARD][:4]
    clients = {symbol: world.client(TRADES._replace(symbol=symbol)) for symbol in symbols}
    for seq, symbol in enumerate(symbols, 1):
        world.take(ticks(seq, trade(1, symbol), symbols=[symbol]))
    for at_ns, symbol in enumerate(symbols[:3], 1):
        world.fanout.leave(clients[symbol])
        world.relays.wanted(at_ns)
    assert [numbers(world.client(TRADES._replace(symbol=symbol))) for symbol in symbols] == [[], [1], [1], [1]]


def test_of_books_the_newest_counts(world):
    client = world.client(BOOK)
    assert client.said == []
    for update_id in (4, 5):
        world.take(book_frames(VENUE, SHARD, SYMBOL, 12_345, update_id, [["1.5", "2", "7"]], []))
    world.flush()
    [[kind, _, *told]] = client.said
    assert [kind, *told] == [Kind.BOOK, 5, 12, [["1.5", "2"]], []]
    assert world.client(BOOK).said == client.said


def test_a_book_of_a_shard_that_is_listened_to_is_there_at_once(world):
    symbols = [symbol for symbol in map("X{}-USDT".format, range(1000)) if shard_of(VENUE, symbol) == SHARD][:2]
    first, second = (BOOK._replace(symbol=symbol) for symbol in symbols)
    clients = [world.client(first)]
    world.take(*[book_frames(VENUE, SHARD, symbol, 7_000, 5, [], []) for symbol in symbols])
    world.relays.wanted(1)
    clients.append(world.client(second))
    assert [said[2:] for said in clients[1].said] == [[5, 7, [], []]]
    for client in clients:
        world.fanout.leave(client)
    world.relays.wanted(2)
    assert world.client(second).said == [], "what is not listened to is not known"


def stats(process, time_ns=10, **more):
    return [stats_topic(process), pack({"process": process, "time_ns": time_ns, **more})]


def test_of_stats_the_newest_of_each_process_counts(world):
    world.take(stats("feed-0", n=0), stats("sink-0"))
    client = world.client(STATS)
    assert [said[2] for said in client.said] == ["feed-0", "sink-0"]
    client.said.clear()
    world.take(stats("feed-0", n=1), stats("feed-0", n=2, lag={3: {"p50": 1}}), stats("sink-0"))
    world.flush()
    assert [said[2] for said in client.said] == ["feed-0", "sink-0"]
    told = client.said[0][3]
    assert told == {"process": "feed-0", "time_ns": 10, "n": 2, "lag": {"3": {"p50": 1}}}
    assert pack_json(told)  # keys are texts


def test_a_process_that_is_silent_is_forgotten_and_known_to_be_silent_until_it_speaks(world):
    world.take(stats("feed-0", 10), stats("sink-0", 20))
    world.relays.wanted(15 + SILENT_NS)
    assert set(world.relays.processes) == {"sink-0"} and world.relays.silent == {"feed-0"}
    world.take(stats("feed-0", 30))
    assert set(world.relays.processes) == {"sink-0", "feed-0"} and not world.relays.silent


@pytest.mark.parametrize(
    "frames",
    [
        [b"ticks.binance.03"],
        [b"ticks.binance.03", b"x"],
        [b"other.1", b"x"],
        [*ticks(1, trade(1))[:2], b"short"],
        [b"book.binance.03", pack([SYMBOL, 1, 2, []])],
        [b"book.binance.03", pack([SYMBOL, 1, "2", [], []])],
        [b"stats.x", pack([])],
        [b"stats.x", pack({"process": "x"})],
        [b"stats.x", pack({"process": 1, "time_ns": 1})],
        [],
    ],
)
def test_what_is_no_message_is_refused(world, frames):
    with pytest.raises(WireError):
        world.take(frames)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("trades"), st.sampled_from([1, 2, 30, 200])),
        st.tuples(st.sampled_from(["flush", "stall", "wake", "leave", "return", "hole", "look"]), st.just(0)),
    ),
    max_size=30,
)


@given(STEPS, st.booleans())
def test_whatever_happens_a_client_has_each_trade_once_or_knows_how_many_it_lacks(steps, holes):
    world = World()
    client = world.client(TRADES)
    past, last, seq, now_ns = [], 0, 0, 1
    for step, many in [*steps, ("wake", 0), ("return", 0), ("trades", 1), ("flush", 0), ("flush", 0)]:
        now_ns += 1
        if step == "trades":
            seq += 1
            world.take(ticks(seq, *[trade(last + n) for n in range(1, many + 1)]))
            last += many
        elif step == "flush":
            world.flush()
        elif step == "hole" and holes:
            seq, last = seq + 1, last + 5
        elif step == "look":
            world.relays.wanted(now_ns)
        elif step == "stall" and client:
            client.takes = False
        elif step == "wake" and client:
            client.takes = True
            if client in world.rests:
                world.wake(client)
        elif step == "leave" and client:
            world.fanout.leave(client)
            world.rests.pop(client, None)
            past, client = past + client.said, None
        elif step == "return" and not client:
            client = world.client(TRADES, tuple(past[-1][2:4]) if past else None)
    client.said[:0] = past
    told = numbers(client)
    known = [number for number in told if number is not None]
    assert known == sorted(set(known)) and known[-1] == last
    if not holes and world.relays.restarts == 0 and len({said[2] for said in client.said}) == 1:
        assert all(number in (None, place) for place, number in enumerate(told, 1))


ROWS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 2**63 - 1)), max_size=6)


@given(ROWS)
def test_joining_keeps_every_value_exactly(rows):
    parts = [
        Trades(prices, quantities, [[n, 0, value, value, True, 1]])
        for n, (prices, quantities, value) in enumerate(rows)
    ]
    whole = joined(parts)
    for (prices, quantities, value), row in zip(rows, whole.rows, strict=True):
        assert row[2] * 10**prices == value * 10**whole.price_decimals
        assert row[3] * 10**quantities == value * 10**whole.quantity_decimals
