"""Every message declared once, its codec, and the client session without IO. Pure."""
