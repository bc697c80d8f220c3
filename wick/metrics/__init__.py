"""What is worked out of closed candles: patterns. Pure: numpy and the standard library only."""
