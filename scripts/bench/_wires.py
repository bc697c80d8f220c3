"""The same made-up trades as every venue's frames, for feed_parse.py; and as those that cryptofeed reads.

Prices walk by ticks of 1 to 7 decimals, sizes vary, a few of 300 pairs trade most, as on a real stream.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import NamedTuple

SYMBOLS = 300
FIRST_US = 1_723_161_600_000_000
_UUIDS = random.Random(3)


class Made(NamedTuple):
    """A trade before it is written. `pair` is a number below SYMBOLS."""

    pair: int
    number: int
    price: str
    size: str
    buy: bool
    at_us: int


def walk(count: int, seed: int = 1) -> Iterator[Made]:
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(SYMBOLS)]
    decimals = [rng.randint(1, 7) for _ in range(SYMBOLS)]
    ticks = [rng.randint(1_000, 1_000_000) for _ in range(SYMBOLS)]
    ids = [rng.randrange(10**9) for _ in range(SYMBOLS)]
    for number, at in enumerate(rng.choices(range(SYMBOLS), weights, k=count)):
        ticks[at] += rng.choice((-1, 0, 0, 0, 1))
        ids[at] += 1
        price = f"{Decimal(ticks[at]).scaleb(-decimals[at]):.8f}"
        size = f"{round(rng.lognormvariate(0, 2), rng.choice((0, 1, 2, 5))) or 1:.8f}"
        yield Made(at, ids[at], price, size, rng.random() < 0.5, FIRST_US + number // 300 * 1000)


def grouped(count: int, each: int) -> Iterator[list[Made]]:
    """So many trades, in messages of `each` trades of one pair."""
    waiting: dict[int, list[Made]] = {}
    left = count // each
    for made in walk(count * 100):
        some = waiting.setdefault(made.pair, [])
        some.append(made)
        if len(some) == each:
            yield waiting.pop(made.pair)
            left -= 1
            if not left:
                return


def _rfc3339(at_us: int) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at_us // 10**6))}.{at_us % 10**6:06}Z"


def _side(made: Made, buy: str = "buy", sell: str = "sell") -> str:
    return buy if made.buy else sell


def _uuid() -> uuid.UUID:
    return uuid.UUID(int=_UUIDS.getrandbits(128), version=4)


# ---------------------------------------------------------------------- as wick reads them


def binance(some: list[Made]) -> str:
    (one,) = some
    ms = one.at_us // 1000
    return (
        f'{{"stream":"c{one.pair:03}usdt@trade","data":{{"e":"trade","E":{ms + 1},"s":"C{one.pair:03}USDT",'
        f'"t":{one.number},"p":"{one.price}","q":"{one.size}","T":{ms},"m":{_side(one, "false", "true")},"M":true}}}}'
    )


def binance_aggregates(some: list[Made]) -> str:
    (one,) = some
    ms = one.at_us // 1000
    return (
        f'{{"stream":"c{one.pair:03}usdt@aggTrade","data":{{"e":"aggTrade","E":{ms + 1},"s":"C{one.pair:03}USDT",'
        f'"a":{one.number},"p":"{one.price}","q":"{one.size}","f":{one.number + 7},"l":{one.number + 9},"T":{ms},'
        f'"m":{_side(one, "false", "true")},"M":true}}}}'
    )


def coinbase(some: list[Made]) -> str:
    (one,) = some
    return (
        f'{{"type":"match","trade_id":{one.number},"maker_order_id":"{_uuid()}","taker_order_id":"{_uuid()}",'
        f'"side":"{_side(one, "sell", "buy")}","size":"{one.size}","price":"{one.price}",'
        f'"product_id":"C{one.pair:03}-USDT","sequence":{one.number + 10**9},"time":"{_rfc3339(one.at_us)}"}}'
    )


def kraken(some: list[Made]) -> str:
    rows = [
        f'{{"symbol":"C{one.pair:03}/USDT","side":"{_side(one)}","price":{one.price},"qty":{one.size},'
        f'"ord_type":"limit","trade_id":{one.number},"timestamp":"{_rfc3339(one.at_us)}"}}'
        for one in some
    ]
    return f'{{"channel":"trade","type":"update","data":[{",".join(rows)}]}}'


def bybit(some: list[Made]) -> str:
    rows = [
        f'{{"i":"{2_290_000_000_000_000_000 + one.number}","T":{one.at_us // 1000},"p":"{one.price}","v":"{one.size}",'
        f'"S":"{_side(one, "Buy", "Sell")}","seq":{one.number + 10**9},"s":"C{one.pair:03}USDT","BT":false,"RPI":false}}'
        for one in some
    ]
    name, ms = f"C{some[0].pair:03}USDT", some[-1].at_us // 1000
    return f'{{"topic":"publicTrade.{name}","ts":{ms + 2},"type":"snapshot","data":[{",".join(rows)}]}}'


def okx(some: list[Made]) -> str:
    (one,) = some
    name = f"C{one.pair:03}-USDT"
    return (
        f'{{"arg":{{"channel":"trades","instId":"{name}"}},"data":[{{"instId":"{name}","tradeId":"{one.number}",'
        f'"px":"{one.price}","sz":"{one.size}","side":"{_side(one)}","ts":"{one.at_us // 1000}","count":"1",'
        f'"source":"0","seqId":{one.number + 10**9}}}]}}'
    )


# ---------------------------------------------------------------------- as cryptofeed reads them, where that differs


def coinbase_advanced(some: list[Made]) -> str:
    (one,) = some
    return (
        f'{{"channel":"market_trades","client_id":"","timestamp":"{_rfc3339(one.at_us + 900)}","sequence_num":{one.number},'
        f'"events":[{{"type":"update","trades":[{{"trade_id":"{one.number}","product_id":"C{one.pair:03}-USDT",'
        f'"price":"{one.price}","size":"{one.size}","side":"{_side(one, "BUY", "SELL")}",'
        f'"time":"{_rfc3339(one.at_us)}"}}]}}]}}'
    )


def kraken_v1(some: list[Made]) -> str:
    rows = [
        f'["{one.price}","{one.size}","{one.at_us // 10**6}.{one.at_us % 10**6:06}","{_side(one, "b", "s")}","l",""]'
        for one in some
    ]
    return f'[{some[0].pair},[{",".join(rows)}],"trade","C{some[0].pair:03}/USDT"]'


class Wire(NamedTuple):
    """How a venue's trades are written. `theirs`: for cryptofeed, which calls the venue `exchange`."""

    ours: Callable[[list[Made]], str]
    exchange: str
    theirs: Callable[[list[Made]], str]
    compared: Callable[[list[Made]], str]  # what wick is given in that comparison
    batches: bool = False  # several trades of a pair come in one message
    note: str = ""


WIRES = {
    "binance": Wire(
        binance, "BINANCE", binance_aggregates, binance_aggregates, note="aggTrade for both: it has no trade"
    ),
    "binance-usdm": Wire(binance_aggregates, "BINANCE_FUTURES", binance_aggregates, binance_aggregates),
    "bybit": Wire(bybit, "BYBIT", bybit, bybit, batches=True),
    "coinbase": Wire(
        coinbase, "COINBASE", coinbase_advanced, coinbase, note="it speaks Advanced Trade: the same trades so"
    ),
    "kraken": Wire(
        kraken, "KRAKEN", kraken_v1, kraken, batches=True, note="it speaks v1: the same trades so, without ids"
    ),
    "okx": Wire(okx, "OKX", okx, okx),
}


def frames(wire: Callable[[list[Made]], str], count: int, each: int = 1) -> list[bytes]:
    """`count` trades, so many a message."""
    return [wire(some).encode() for some in grouped(count, each)]
