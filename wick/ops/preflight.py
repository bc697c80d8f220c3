"""What can be known to be wrong before anything starts, and how to mend it; and where the page will be."""

import configparser
import difflib
import errno
import os
import socket
import ssl
import time
import urllib.request
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from wick import exchanges
from wick.errors import ParseError, SettingError, WickError
from wick.ops import symbols
from wick.ops.process import AlreadyRunningError, hold_lock
from wick.ops.settings import BY_NAME, Settings, check_feed, check_front
from wick.ops.supervise import Supervisor

__all__ = [
    "InUseError", "answers", "check_feed", "check_front", "check_ports", "check_socket_path",
    "check_symbols", "check_workers", "page_address", "take_place",
]  # fmt: skip

MAX_SOCKET_PATH = 107  # sun_path of a Unix socket is 108 bytes with its final zero
PID_DIGITS = 7  # supervisord binds `<socket>.<pid>` first
EXCHANGE_PATIENCE_S = 4.0  # the page is promised within 10 s of the start
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where a front that listens everywhere is found from here


class InUseError(WickError):
    """Another wick runs here, or somebody else has a port that we need."""


def check_workers(settings: Settings, root: Path) -> None:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
    parser.read(root / "supervisord.conf")
    numprocs = parser.getint("program:aggregator", "numprocs", fallback=1)
    if settings["aggregator.workers"] != numprocs:
        raise SettingError(
            f"aggregator.workers = {settings['aggregator.workers']}, but supervisord.conf starts {numprocs}: "
            "make `numprocs` of [program:aggregator] there the same number"
        )


def check_socket_path(root: Path) -> None:
    path = Supervisor.control_path(root)
    excess = len(os.fsencode(path)) + 1 + PID_DIGITS - MAX_SOCKET_PATH
    if excess > 0:
        raise SettingError(
            f"the project's path {str(root)!r} is {excess} bytes too long: Linux allows a socket's path "
            f"{MAX_SOCKET_PATH} bytes, and supervisord's is '{path}.<pid>'; move the project up"
        )


def take_place(settings: Settings, root: Path) -> TextIO:
    """The lock that makes this the only instance in this directory; InUseError names the other one."""
    run_dir = Supervisor.control_path(root).parent
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        lock = hold_lock(run_dir, "run")
    except AlreadyRunningError:
        holder, _, address = (run_dir / "run.lock").read_text(encoding="utf-8").partition(" ")
        raise InUseError(
            f"already running in {root}: process {holder}, {address.strip() or 'starting'}\n"
            f"to stop it, press Ctrl-C in its terminal, or: kill {holder}"
        ) from None
    lock.write(f" {page_address(settings)}\n")
    lock.flush()
    if pid := Supervisor.running_pid(root):
        lock.close()
        raise InUseError(
            f"already running in {root}: supervisord, process {pid}, which scripts/run did not start\n"
            f"to stop it: {root}/.venv/bin/supervisorctl -c {root}/supervisord.conf shutdown"
        )
    return lock


def check_ports(settings: Settings, with_exchange: bool) -> None:
    if with_exchange and settings["front.port"] == settings["exchange.port"]:
        port = settings["front.port"]
        raise SettingError(f"front.port and exchange.port are both {port}: valid are two different ports")
    _check_port("front.port", settings["front.host"], settings["front.port"])
    if with_exchange:
        _check_port("exchange.port", "127.0.0.1", settings["exchange.port"])


def _check_port(name: str, host: str, port: int) -> None:
    error = _bind_error(host, port)
    if error is None:
        return
    if error.errno != errno.EADDRINUSE:
        raise SettingError(f"{name} = {port}: cannot listen on {host}: {error.strerror or error}")
    setting = BY_NAME[name]
    free = next((p for p in range(port + 1, min(port + 100, 65_536)) if not _bind_error(host, p)), "<port>")
    raise InUseError(
        f"{name} = {port}: another program listens on {host} port {port}\n"
        f"to use another port: scripts/run {setting.option} {free} (or {setting.variable}, or wick.toml)"
    )


def _bind_error(host: str, port: int) -> OSError | None:
    """What the kernel says to a listener there. Closed connections in TIME_WAIT do not count."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error
    return None


def check_symbols(settings: Settings) -> str:
    """SettingError for a symbol that its venue does not list.

    A venue that cannot be asked proves nothing: then the reason is returned, and the feed will find out.
    """
    doubts = []
    for venue_id, wanted in symbols.wanted(settings).items():
        venue = exchanges.load(venue_id)
        if not wanted.every and not wanted.symbols:
            raise SettingError(f"feed.symbols: none is of {venue_id}; name some, or leave it out of feed.venues")
        url = (settings["feed.rest_url"] or venue.rest_url).rstrip("/") + venue.symbols_path
        try:
            listed = {one.symbol: one.native for one in venue.parse_symbols(_get(url, settings["feed.ca_file"]))}
        except (OSError, ParseError) as error:
            reason = getattr(error, "reason", "") or error
            doubts.append(f"cannot check the symbols with {url}: {reason}; starting anyway")
            continue
        for symbol in wanted.symbols:
            if symbol not in listed:
                name = venue.native(symbol)
                near = " or ".join(difflib.get_close_matches(name, listed.values(), n=3))
                hint = f"; did you mean {near}?" if near else ""
                raise SettingError(f"feed.symbols: {venue_id} does not list {name!r}{hint}")
    return "\n".join(doubts)


def _get(url: str, ca_file: str) -> bytes:
    deadline = time.monotonic() + EXCHANGE_PATIENCE_S
    context = ssl.create_default_context(cafile=ca_file or None) if url.startswith("https:") else None
    body = b""
    with urllib.request.urlopen(url, timeout=EXCHANGE_PATIENCE_S, context=context) as answer:
        while chunk := answer.read1():
            body += chunk
            if time.monotonic() > deadline:
                raise TimeoutError("it answers too slowly")
    return body


def page_address(settings: Settings) -> str:
    host = LOOPBACK.get(settings["front.host"], settings["front.host"])
    address = f"http://{f'[{host}]' if ':' in host else host}:{settings['front.port']}/"
    return f"{address}?token={quote(settings['front.token'], safe='')}" if settings["front.token"] else address


def answers(settings: Settings) -> bool:
    """Whether the front speaks HTTP by now. (Its port was free before we started: it is ours.)"""
    host = LOOPBACK.get(settings["front.host"], settings["front.host"])
    try:
        with socket.create_connection((host, settings["front.port"]), timeout=1) as connection:
            connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(8).startswith(b"HTTP/1.")
    except OSError:
        return False
