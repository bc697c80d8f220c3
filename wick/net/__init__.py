"""ZeroMQ sockets, WebSockets, HTTP and the clock: the only place that touches the network."""
