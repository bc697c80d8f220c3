"""Metrics and candlestick patterns of closed candles, in columns over the pairs that close together. Pure: numpy.

A metric is declared in `fields`, and computed by one function with the `metric` decorator (`registry`), in the file of
its family: `shape`, `flow`, `momentum`, `trend`, `volatility`. It sees a `Window` of many streams at once, a column
each, and its own state of them. A stream is a pair at an interval; a `Bank` has the streams of an interval, the
`Processor` the banks.
"""
