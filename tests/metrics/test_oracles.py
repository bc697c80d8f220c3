"""The oracles of the metrics against each other: exact fractions, pandas, what TA-Lib has of our own formulas."""

import numpy as np
import pandas as pd
import pytest
import talib

from tests.metrics.bars import HISTORIES, SPIKE_AT, SPIKES, Bars, Reals, price_spike, random_walk
from tests.metrics.compare import SCALES, assert_equal, scale_of
from tests.metrics.exact import EXACT, exactly
from tests.metrics.oracles import ORACLES, RECURSIVE, seeded_ema

AN_ORACLE = 1e-12  # the oracles agree a thousand times closer than a metric has to


def short(history: str, seed: int) -> Bars:
    """Ninety candles with what a history is about: the spike, the stop."""
    first = {"price_spike": SPIKE_AT - 35, "volume_spike": SPIKE_AT - 35, "stopped": 20}.get(history, 0)
    return HISTORIES[history](600, seed)[first : first + 90]


def assert_exact(bars: Bars) -> None:
    for name, oracle in ORACLES.items():
        expected = np.array(exactly(name, bars))
        assert_equal(name, oracle.evaluate(bars), expected, oracle.n, scale_of(name, bars), relative=AN_ORACLE)


def test_every_oracle_has_an_exact_twin() -> None:
    assert EXACT.keys() == ORACLES.keys()
    assert RECURSIVE | SCALES.keys() <= ORACLES.keys()


@pytest.mark.parametrize("history", ["ties", "price_spike", "stopped"])
def test_the_oracles_are_what_the_definitions_say(history: str) -> None:
    assert_exact(short(history, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("history", HISTORIES)
def test_the_oracles_are_what_the_definitions_say_in_every_history(history: str) -> None:
    for seed in range(2, 7):
        assert_exact(short(history, seed))


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 1, 10, 14, 26, 33])
def test_the_oracles_are_what_the_definitions_say_where_a_recursion_begins_with_a_spike(at: int) -> None:
    assert_exact(price_spike(90, seed=1, at=at))


@pytest.mark.parametrize("history", HISTORIES)
def test_the_histories_are_such_as_trades_make(history: str) -> None:
    bars = HISTORIES[history](600, 1)
    prices = np.stack((bars.open, bars.close))
    assert (bars.low >= 1).all()
    assert (bars.low <= prices).all()
    assert (bars.high >= prices).all()
    assert ((bars.buy_volume >= 0) & (bars.buy_volume <= bars.volume)).all()
    columns = (bars.low.tolist(), bars.high.tolist(), bars.volume.tolist(), bars.quote_volume.tolist())
    assert all(low * v <= quote <= high * v for low, high, v, quote in zip(*columns, strict=True))
    quiet = np.flatnonzero(bars.volume[1:] == 0) + 1
    for column in (bars.open, bars.high, bars.low, bars.close):
        assert (column[quiet] == bars.close[quiet - 1]).all()


@pytest.mark.parametrize("history", HISTORIES)
def test_an_oracle_is_defined_from_its_nth_candle_on_and_never_again_not(history: str) -> None:
    bars = HISTORIES[history](250, 2)
    for name, oracle in ORACLES.items():
        values = oracle.evaluate(bars)
        assert values.shape == (250,), name
        assert np.isnan(values[: oracle.n - 1]).all(), name
        assert np.isfinite(values[oracle.n - 1 :]).all(), name


def test_a_windowed_field_is_decided_by_its_last_n_candles_and_a_recursive_one_is_not() -> None:
    bars = random_walk(160, 3)
    for name, oracle in ORACLES.items():
        whole, scale = oracle.evaluate(bars), np.broadcast_to(scale_of(name, bars), 160)
        alone = [oracle.evaluate(bars[end - oracle.n : end])[-1] for end in (110, 125, 160)]
        near = [
            abs(value - whole[end - 1]) <= AN_ORACLE * max(abs(value), scale[end - 1])
            for value, end in zip(alone, (110, 125, 160), strict=True)
        ]
        assert (not all(near)) if name in RECURSIVE else all(near), name


@pytest.mark.parametrize("spike", SPIKES)
def test_a_windowed_oracle_forgets_a_spike_that_has_left_its_window(spike: str) -> None:
    with_it, without = SPIKES[spike](250, 4), random_walk(250, 4)
    for name in ORACLES.keys() - RECURSIVE:
        oracle = ORACLES[name]
        after = slice(SPIKE_AT + oracle.n, None)
        expected, scale = oracle.evaluate(without)[after], scale_of(name, without)
        scale = scale[after] if isinstance(scale, np.ndarray) else scale
        assert_equal(name, oracle.evaluate(with_it)[after], expected, 1, scale, relative=AN_ORACLE)


def wilder(values: pd.Series, period: int) -> pd.Series:
    """Wilder's average from the mean of the first values on, by pandas."""
    values = values.dropna()
    seed = values.iloc[period - 1 : period] * 0 + values.iloc[:period].mean()
    return pd.concat([seed, values.iloc[period:]]).ewm(alpha=1 / period, adjust=False).mean()


def pandas_says(bars: Bars) -> dict[str, pd.Series]:
    """What pandas makes of a long history, by the field's name; in real units."""
    high, low, close = (pd.Series(c.astype(float) / 10**bars.price_decimals) for c in (bars.high, bars.low, bars.close))
    moved = close.diff()
    gain, loss = wilder(moved.clip(lower=0), 14), wilder(-moved.clip(upper=0), 14)
    previous = close.shift().iloc[1:]
    ranges = np.maximum(high.iloc[1:], previous) - np.minimum(low.iloc[1:], previous)
    line = seeded_ema(close.iloc[14:], 12) - seeded_ema(close, 26)  # both averages begin at the 26th candle
    returns = np.log(close).diff()
    return {
        "rsi_14": 100 * gain / (gain + loss),
        "atr_14": wilder(ranges, 14),
        "ema_20": seeded_ema(close, 20),
        "ema_50": seeded_ema(close, 50),
        "macd": line.dropna().iloc[8:],
        "macd_signal": seeded_ema(line, 9),
        "realized_vol_20": returns.iloc[1:].rolling(20).std(ddof=1),
        "roc_10": 100 * close.pct_change(10),
        "sma_20": close.rolling(20).mean(),
        "donchian_upper_20": high.rolling(20).max(),
        "donchian_lower_20": low.rolling(20).min(),
        "bb_bandwidth": 4 * close.rolling(20).std(ddof=0) / close.rolling(20).mean(),
    }


@pytest.mark.parametrize("history", ["random_walk", "gaps"])
def test_pandas_has_the_same_after_many_candles(history: str) -> None:
    bars = HISTORIES[history](1_000, 5)
    for name, values in pandas_says(bars).items():
        # pandas is given prices, not ticks, and its rolling sums drift: it agrees as far as those go.
        found = values.reindex(range(len(bars))).to_numpy()
        oracle = ORACLES[name]
        scale = np.maximum(scale_of(name, bars), 1e-3 * np.nanmax(np.abs(found)))
        assert_equal(name, found, oracle.evaluate(bars), oracle.n, scale, relative=1e-8)


@pytest.mark.parametrize("history", ["random_walk", "ties", "quiet_runs"])
def test_ta_lib_has_the_same_of_our_own_formulas(history: str) -> None:
    bars = HISTORIES[history](600, 6)
    high, low, close, volume = (c.astype(np.float64) for c in (bars.high, bars.low, bars.close, bars.volume))
    theirs: dict[str, Reals] = {
        "tsi_25_13": talib.TSI(close, firstperiod=25, secondperiod=13),
        "cmf_20": talib.CMF(high, low, close, volume, timeperiod=20),
    }
    for name, values in theirs.items():
        oracle = ORACLES[name]
        assert_equal(name, values, oracle.evaluate(bars), oracle.n, scale_of(name, bars))


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        ([np.nan, np.nan, 3.0, 4.0, 5.0], None),
        ([np.nan, np.nan, 3.0, 4.0, 5.0 * (1 + 9e-10)], None),
        ([np.nan, np.nan, 3.0, 4.0 * (1 + 2e-9), 5.0], "rsi_14, candle 3 .*: 4.000000008, the oracle has 4.0;"),
        ([np.nan, np.nan, 3.0, np.nan, 5.0], "rsi_14, candle 3 .*: nan, the oracle has 4.0;"),
        ([np.nan, np.nan, 3.0, np.inf, 5.0], "rsi_14, candle 3 .*: inf, the oracle has 4.0;"),
        ([np.nan, 2.0, 3.0, 4.0, 5.0], "rsi_14, candle 1 .*: 2.0, the oracle has nan;"),
        ([np.nan, np.nan, 3.0, 4.0], "rsi_14: .* values for"),
    ],
)
def test_what_differs_is_named(ours: list[float], told: str | None) -> None:
    oracle = np.array([np.nan, np.nan, 3.0, 4.0, 5.0])
    if told is None:
        assert_equal("rsi_14", np.array(ours), oracle, 3)
    else:
        with pytest.raises(AssertionError, match=told):
            assert_equal("rsi_14", np.array(ours), oracle, 3)


def test_an_expected_zero_is_a_zero_but_for_what_is_made_of_more() -> None:
    zero, nearly = np.zeros(1), np.full(1, 1e-11)
    assert_equal("adx_14", nearly, zero, 1, scale=0.1)
    with pytest.raises(AssertionError, match="adx_14, candle 0"):
        assert_equal("adx_14", nearly, zero, 1)
