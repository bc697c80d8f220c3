"""The socket that fronts listen on."""

import socket

from wick.errors import SettingError

BACKLOG = 4096  # what waits to be accepted, where net.core.somaxconn (4096 since Linux 5.4) does not say less


def listen(host: str, port: int) -> socket.socket:
    """A socket that several front processes can share (SO_REUSEPORT). SettingError where the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise SettingError(
            f"front.port = {port} on {host} cannot be had: {error.strerror}; valid is a free port (--front-port N)"
        ) from error
    return sock
