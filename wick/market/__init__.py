"""Trades, numbers, the interval table, the venue clock and candles. Pure: no clock, socket, gevent or environment."""
