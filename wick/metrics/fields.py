"""The metrics that are computed here, each declared once, in the order of the schema. Pure, and without numpy: who only
reads rows needs no more.

The function that computes one names it (`registry.metric`), in the file of its family.
"""

from typing import Final, NamedTuple

# What a number scales with: powers of (10^price_decimals, 10^quantity_decimals).
PURE: Final = (0, 0)
PRICE: Final = (1, 0)
SIZE: Final = (0, 1)
Scale = tuple[int, int]


class Field(NamedTuple):
    """A field of the candle's schema. `number`: its place among the 64 metrics, 0 for what only goes with one.

    `n`: candles until it is defined; `scale`: of the number that is computed.
    """

    number: int
    name: str
    unit: str
    definition: str
    n: int
    source: str
    scale: Scale = PURE


FIELDS: Final = (
    Field(9, "log_return", "1", "ln(C / C'), C' the close of the candle before", 2, "own formula"),
    Field(10, "true_range", "quote per base", "max(H, C') - min(L, C')", 2, "TA-Lib TRANGE; Wilder 1978", PRICE),
    Field(11, "body_ratio", "1", "(C - O) / (H - L)", 1, "own formula"),
    Field(12, "upper_wick_ratio", "1", "(H - max(O, C)) / (H - L)", 1, "own formula"),
    Field(13, "lower_wick_ratio", "1", "(min(O, C) - L) / (H - L)", 1, "own formula"),
    Field(14, "close_location", "1", "(C - L) / (H - L), 0.5 where H = L", 1, "own formula"),
    Field(
        27, "amihud_20", "1 per quote",
        "illiquidity: mean over 20 candles of abs(log_return) / quote_volume; a candle without volume counts 0",
        21, "Amihud 2002; own formula",
    ),
    Field(
        29, "vpin_50", "1",
        "volume-synchronised probability of informed trading: the volume V of the newest 50 candles is cut into 50 "
        "buckets of V / 50; the sum over the buckets of abs(taker buy volume - taker sell volume), over V. Within a "
        "candle the two are taken as evenly mixed",
        50, "Easley, López de Prado, O'Hara 2012, with the true taker side; own formula",
    ),
    Field(36, "rsi_14", "0 to 100", "relative strength index, Wilder's means of 14", 15, "TA-Lib RSI(14)"),
    Field(37, "macd", "quote per base", "EMA12 - EMA26 of the close", 34, "TA-Lib MACD(12, 26, 9)", PRICE),
    Field(38, "macd_signal", "quote per base", "EMA9 of macd", 34, "TA-Lib MACD(12, 26, 9)", PRICE),
    Field(
        39, "stoch_k", "0 to 100",
        "mean of 3 of 100 (C - L14) / (H14 - L14), the extremes of 14 candles",
        18, "TA-Lib STOCH(14, 3, SMA, 3, SMA)",
    ),
    Field(40, "stoch_d", "0 to 100", "mean of 3 of stoch_k", 18, "TA-Lib STOCH(14, 3, SMA, 3, SMA)"),
    Field(
        41, "cci_20", "1",
        "commodity channel index: typical price less its mean of 20, over 0.015 times its mean absolute deviation",
        20, "TA-Lib CCI(20)",
    ),
    Field(42, "roc_10", "%", "rate of change: 100 (C / C 10 candles ago - 1)", 11, "TA-Lib ROC(10)"),
    Field(
        43, "mfi_14", "0 to 100",
        "money flow index: share of the turnover of candles with a rising typical price (H + L + C) / 3; equal "
        "ones, in whole ticks, count nowhere",
        15, "TA-Lib MFI(14)",
    ),
    Field(44, "adx_14", "0 to 100", "average directional index: Wilder's mean of 14 of DX", 28, "TA-Lib ADX(14)"),
    Field(45, "plus_di_14", "0 to 100", "plus directional indicator", 15, "TA-Lib PLUS_DI(14)"),
    Field(46, "minus_di_14", "0 to 100", "minus directional indicator", 15, "TA-Lib MINUS_DI(14)"),
    Field(
        47, "tsi_25_13", "-100 to 100",
        "true strength index: 100 EMA13(EMA25(C - C')) / EMA13(EMA25(abs(C - C')))",
        38, "Blau 1991; own formula",
    ),
    Field(
        48, "ultosc", "0 to 100",
        "ultimate oscillator of 7, 14, 28: 100 (4 a + 2 b + c) / 7, each the sum of C - min(L, C') over that of the "
        "true range",
        29, "TA-Lib ULTOSC(7, 14, 28)",
    ),
    Field(49, "sma_20", "quote per base", "mean of 20 closes", 20, "TA-Lib SMA(20)", PRICE),
    Field(50, "ema_20", "quote per base", "exponential mean of the close, k = 2 / 21", 20, "TA-Lib EMA(20)", PRICE),
    Field(51, "ema_50", "quote per base", "exponential mean of the close, k = 2 / 51", 50, "TA-Lib EMA(50)", PRICE),
    Field(
        52, "hma_16", "quote per base",
        "Hull's moving average: WMA4(2 WMA8 - WMA16) of the close",
        19, "Hull 2005; own formula", PRICE,
    ),
    Field(
        53, "kama_10", "quote per base",
        "Kaufman's adaptive moving average: its pace follows abs(C - C 10 candles ago) / sum of abs(C - C') of 10",
        11, "Kaufman 1995; TA-Lib KAMA(10)", PRICE,
    ),
    Field(
        54, "bb_percent_b", "1",
        "Bollinger 20, 2: (C - lower) / (upper - lower), lower and upper 2 standard deviations (n) around the mean "
        "of 20",
        20, "Bollinger; TA-Lib BBANDS(20, 2, 2)",
    ),
    Field(55, "bb_bandwidth", "1", "(upper - lower) / mean", 20, "Bollinger; TA-Lib BBANDS(20, 2, 2)"),
    Field(56, "donchian_upper_20", "quote per base", "highest high of 20 candles", 20, "TA-Lib MAX(20)", PRICE),
    Field(57, "donchian_lower_20", "quote per base", "lowest low of 20 candles", 20, "TA-Lib MIN(20)", PRICE),
    Field(58, "atr_14", "quote per base", "average true range, Wilder's mean of 14", 15, "TA-Lib ATR(14)", PRICE),
    Field(
        59, "supertrend_10_3", "quote per base",
        "the stop that trails (H + L) / 2 by 3 ATR10: in an uptrend the lower band, which never falls; in a "
        "downtrend the upper band, which never rises, with a minus sign. The trend turns when the close crosses its "
        "band; it begins as an uptrend",
        11, "Seban; own formula over TA-Lib ATR(10)", PRICE,
    ),
    Field(
        60, "psar", "quote per base",
        "parabolic stop and reverse, step 0.02, at most 0.2, never beyond the extremes of the two candles before",
        2, "Wilder 1978; TA-Lib SAR(0.02, 0.2)", PRICE,
    ),
    Field(
        61, "garman_klass_20", "1",
        "volatility a candle: sqrt(mean over 20 of (ln^2(H / L) / 2 - (2 ln 2 - 1) ln^2(C / O)))",
        20, "Garman, Klass 1980; own formula",
    ),
    Field(62, "realized_vol_20", "1", "standard deviation (n - 1) of log_return over 20 candles", 21, "own formula"),
    Field(
        63, "obv", "base",
        "on-balance volume since obv_anchor_ms: plus the volume of a candle that closes above the one before, minus "
        "that of one that closes below; it begins with the first candle's volume",
        1, "Granville 1963; TA-Lib OBV", SIZE,
    ),
    Field(
        64, "cmf_20", "-1 to 1",
        "Chaikin money flow: sum(V * ((C - L) - (H - C)) / (H - L)) / sum(V) over 20 candles",
        20, "Chaikin; own formula",
    ),
    Field(0, "obv_anchor_ms", "ms", "the open time of the candle that `obv` begins with", 1, "own formula"),
)  # fmt: skip

NAMES: Final = tuple(field.name for field in FIELDS)
