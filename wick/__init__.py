"""wick: real-time crypto market data. Ticks come in, candles go out; docs/ has the tour."""

__version__ = "0.2.0"
