"""Candles to try the patterns on, (open, high, low, close) in whole ticks: recorded, drawn, and bred for each rule."""

import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson

from wick.metrics._declared import QUANTITIES
from wick.metrics._rules import RULES, names, shifted
from wick.metrics.patterns import ROWS, columns

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "binance-spot"

Candles = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

# ---------------------------------------------------------------------- recorded


def recorded(lengths_ms: tuple[int, ...]) -> Iterator[Candles]:
    """The trades of the recordings as candles of each length, a quiet period flat at the close before."""
    trades = defaultdict(dict)
    for path in sorted(RECORDINGS.glob("*.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            if b'@trade"' in line:
                trade = orjson.loads(line.partition(b" ")[2])["data"]
                trades[trade["s"]][trade["t"]] = trade["T"], round(float(trade["p"]) * 100)
    for of_symbol in trades.values():
        times, prices = np.array([of_symbol[number] for number in sorted(of_symbol)]).T
        for length in lengths_ms:
            period = times // length
            starts = np.flatnonzero(np.diff(period, prepend=-1))
            ends = np.append(starts[1:], len(times)) - 1
            made = np.stack(
                [prices[starts], np.maximum.reduceat(prices, starts), np.minimum.reduceat(prices, starts), prices[ends]]
            )
            every = np.arange(period[0], period[-1] + 1)
            at = np.searchsorted(period[starts], every, side="right") - 1
            quiet = period[starts][at] != every
            yield tuple(np.where(quiet, made[3, at], column[at]).astype(np.float64) for column in made)


# ---------------------------------------------------------------------- drawn


def drawn(seed: int, count: int, scales: tuple[int, ...]) -> Candles:
    """A walk of candles of changing size: `scales` are in ticks, so small ones make ties, dojis and equal prices."""
    random = np.random.default_rng(seed)

    def some(chance: float, scale: np.ndarray) -> np.ndarray:
        return np.where(random.random(count) < chance, np.rint(random.normal(0, scale)), 0)

    scale = random.choice(np.array(scales, float), count)
    shadows = np.abs([some(0.6, scale * random.choice([0.3, 1, 3], count)) for _ in range(2)])
    bodies = some(0.95, scale)
    close = np.cumsum(some(0.4, scale) + bodies)
    return _candles(close - bodies, close, *shadows)


def _candles(open_: np.ndarray, close: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> Candles:
    """From opens, closes and shadows, a candle a row, all so far up that no price is below one tick."""
    low = np.minimum(open_, close) - lower
    up = 1 - low.min(axis=0)
    return open_ + up, np.maximum(open_, close) + upper + up, low + up, close + up


# ---------------------------------------------------------------------- bred

KEPT, CHILDREN, PATIENCE = 24, 72, 20  # windows of each rule; rounds after which it begins anew
PAIRS = sorted({literal.pair for rules in RULES for rule in rules for literal in rule.literals})


def bred(seed: int, wanted: int, rounds: int) -> Candles:
    """A history that has, of every rule of every pattern, `wanted` windows of ROWS candles that it decides at the end.

    A directed search: of each rule's windows those that fulfil most of its conditions, or nearly, are kept and changed
    at random until there are enough; what got stuck begins anew, `rounds` is the most. That a window fulfils a rule is
    what wick says: whether TA-Lib finds the pattern there is for the tests.
    """
    random = np.random.default_rng(seed)
    rules = [(number, rule) for number, some in enumerate(RULES) for rule in some if rule.value]
    found: list[list[np.ndarray]] = [[] for _ in rules]
    active = list(range(len(rules)))
    for turn in range(rounds):
        if turn % PATIENCE == 0:
            genes = _step(random, 4, ROWS, len(active), KEPT)
            genes[2:] = np.abs(genes[2:])
        genes = np.concatenate([genes, _mutated(random, np.repeat(genes, CHILDREN // KEPT, axis=3))], axis=3)
        each = genes.shape[3]
        candles = _candles(*genes.reshape(4, ROWS, -1))
        said = columns(*candles, np.full(candles[0].shape[1], ROWS))
        true = _truth(candles)
        best = np.empty((len(active), KEPT), int)
        for at, of in enumerate(active):
            number, rule = rules[of]
            block = slice(at * each, (at + 1) * each)
            score = sum(true[PAIRS.index(literal.pair), block] == literal.holds for literal in rule.literals)
            best[at] = np.argsort(-score - 1.5 * random.random(each))[:KEPT]
            hits = np.flatnonzero((score == len(rule.literals)) & (said[number, block] == rule.value))
            hits = hits[: wanted - len(found[of])] + block.start
            found[of] += [np.stack([column[:, hit] for column in candles]) for hit in hits]
        genes = np.take_along_axis(genes, best[None, None], axis=3)
        going_on = [at for at, of in enumerate(active) if len(found[of]) < wanted]
        genes, active = genes[:, :, going_on], [active[at] for at in going_on]
        if not active:
            break
    return tuple(np.concatenate([window for windows in found for window in windows], axis=1))


def _step(random: np.random.Generator, *shape: int) -> np.ndarray:
    return np.rint(random.normal(0, random.choice([1.0, 3.0, 12.0], shape)))


def _mutated(random: np.random.Generator, genes: np.ndarray) -> np.ndarray:
    """Of each window up to three of its newest six candles get another open, close or shadow, or move as a whole."""
    windows = genes.reshape(4, ROWS, -1).copy()
    each = np.arange(windows.shape[2])
    for _ in range(3):
        gene, row = random.integers(0, 5, len(each)), ROWS - 1 - random.integers(0, 6, len(each))
        step = _step(random, len(each)) * (random.random(len(each)) < 0.7)
        windows[gene % 4, row, each] += step
        windows[1, row, each] += np.where(gene == 4, step, 0)  # which moves the open too
    windows[2:] = np.abs(windows[2:])
    return windows.reshape(genes.shape)


def _truth(candles: Candles) -> np.ndarray:
    """Of each of PAIRS whether its left value is less than its right one, for each window."""
    scope = {"max": np.maximum, "min": np.minimum, "abs": np.abs}
    known = {
        f"{n}{lag}": column[ROWS - 1 - lag] for n, column in zip("ohlc", candles, strict=True) for lag in range(ROWS)
    }

    def value(expression: str) -> np.ndarray:
        for name, lag in names(expression):
            if f"{name}{lag}" not in known:
                known[f"{name}{lag}"] = value(shifted(QUANTITIES[name], lag))
        return eval(expression, scope, known)

    return np.array([value(left) < value(right) for left, right in PAIRS])
