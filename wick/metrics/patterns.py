"""TA-Lib's 61 candle patterns, bit for bit, of closed candles whose prices are whole ticks. Pure.

Each is declared once (`_declared.py`; their names: `pattern_table`); the evaluator of many streams at once (`columns`)
and the one of a single stream (`one`) are made of that at import, so they cannot differ. Nothing is kept between
candles: what a pattern says is a function of the last `ROWS` candles.
"""

from wick.metrics._columns import columns as columns
from wick.metrics._declared import ROWS as ROWS
from wick.metrics._single import one as one
