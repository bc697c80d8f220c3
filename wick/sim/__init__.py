"""The simulated exchange: Binance's real wire over real sockets, fed by a seeded market or by recordings."""
