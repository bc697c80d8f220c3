"""RFC 6455 as a server speaks it, without a socket: the handshake, frames out, a client's frames in. Pure.

Compression is permessage-deflate (RFC 7692) without context takeover in either direction: a frame is compressed once
for all who get it, and no client costs a window. What a client sent against the rules is a Fault, with its close code.
"""

import base64
import zlib
from _sha1 import sha1  # hashlib would load OpenSSL: 3.4 MB of a front's 30
from binascii import Error as Base64Error
from codecs import utf_8_decode
from typing import Final, NamedTuple

from wick.errors import WireError, shown
from wick.wire.http import Refusal, Request

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV, MASKED = 0x80, 0x40, 0x70, 0x80

NORMAL, GOING_AWAY, PROTOCOL_ERROR, BAD_DATA, TOO_BIG = 1000, 1001, 1002, 1007, 1009
# What a close frame may carry (RFC 6455, 7.4, and IANA's registry, which has added 1012 to 1014).
CODES: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_TAIL: Final = b"\x00\x00\xff\xff"  # what ends a flushed block, and is left out on the wire (RFC 7692, 7.2.1)
WINDOW_BITS: Final = 15  # of what we send; 9 is the least that zlib makes
_ENDED: Final = len(_TAIL) + 1  # bytes that may follow a compressed message's last block (RFC 7692, 7.2.3.4)
MIN_PIECE: Final = 64  # bytes that a message's frames have on average, but for the first so many
MIN_DEFLATE_BYTES: Final = 128  # shorter messages gain less than the work is worth


class Fault(WireError):
    """A client broke the rules: the connection is closed with `code`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


# ---------------------------------------------------------------------- the handshake


class Handshake(NamedTuple):
    """What was agreed on, and the bytes that say so."""

    reply: bytes
    subprotocol: str  # "": the client offered none
    inflate: bool  # whether the client may compress
    deflate: bool  # whether we may


def accept_key(key: str) -> str:
    return base64.b64encode(sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()


def is_upgrade(request: Request) -> bool:
    """Whether it asks for a WebSocket, rightly or not."""
    return "websocket" in _listed(request.headers.get("upgrade", "").lower())


def handshake(request: Request, subprotocols: tuple[str, ...], deflate: bool) -> Handshake:
    """Agree (RFC 6455, 4.2). `subprotocols`: ours, best first. Refusal where it cannot be."""
    headers = request.headers
    if request.method != "GET" or "upgrade" not in _listed(headers.get("connection", "").lower()):
        raise Refusal(400, "a handshake is a GET with Connection: Upgrade")
    version = headers.get("sec-websocket-version", "")
    if version != "13":
        raise Refusal(
            426, "Sec-WebSocket-Version: valid is 13", ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")
        )
    key = headers.get("sec-websocket-key", "")
    if not _is_key(key):
        raise Refusal(400, "Sec-WebSocket-Key: valid are 16 bytes in base64")
    subprotocol = _choose(_listed(headers.get("sec-websocket-protocol", "")), subprotocols)
    bits = window_bits(headers.get("sec-websocket-extensions", "")) if deflate else 0
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key)}",
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if bits:
        window = f"; server_max_window_bits={bits}" if bits < WINDOW_BITS else ""
        # Both may be said unasked (RFC 7692, 7.1.1).
        lines.append(
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"
            + window
        )
    reply = "\r\n".join([*lines, "", ""]).encode("latin-1")
    # Who demands a smaller window than ours is sent nothing compressed, which is always allowed (RFC 7692, 6).
    return Handshake(reply, subprotocol, bool(bits), bits == WINDOW_BITS)


def _listed(value: str) -> list[str]:
    return [item for part in value.split(",") if (item := part.strip())]


def _is_key(key: str) -> bool:
    try:
        return len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except (Base64Error, ValueError):
        return False


def _choose(offered: list[str], known: tuple[str, ...]) -> str:
    if not offered or not known:
        return ""
    for name in known:
        if name in offered:
            return name
    given = shown(", ".join(offered))
    raise Refusal(400, f"Sec-WebSocket-Protocol: {given} is not known; valid is one of {', '.join(known)}")


def window_bits(header: str) -> int:
    """What the first offer that we can follow lets us use for a window, in bits; 0: none can be followed."""
    for offer in _listed(header):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == "permessage-deflate" and (bits := _offered_bits(parameters)):
            return bits
    return 0


def _offered_bits(parameters: list[str]) -> int:
    bits, seen = WINDOW_BITS, set()
    for parameter in parameters:
        name, given, value = (part.strip() for part in parameter.partition("="))
        value = value.strip('"')
        known = name in ("server_no_context_takeover", "client_no_context_takeover") and not given
        if name == "client_max_window_bits":
            known = not given or _is_bits(value)
        elif name == "server_max_window_bits" and _is_bits(value):
            bits, known = int(value), value != "8"  # zlib makes no raw stream with a window of 8 bits
        if not known or name in seen:
            return 0  # RFC 7692, 5.1: an offer with what we do not know is declined
        seen.add(name)
    return bits


def _is_bits(value: str) -> bool:
    return value in ("8", "9", "10", "11", "12", "13", "14", "15")


# ---------------------------------------------------------------------- out


def frame(payload: bytes, opcode: int, compressed: bool = False) -> bytes:
    """A whole message as the bytes of one frame. Those of a server are not masked: they are the same for everybody."""
    first = FIN | (RSV1 if compressed else 0) | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def boundary(frames: bytes, at: int, sent: int) -> int:
    """Where the frame ends of which the byte before `sent` is the last that went out; one begins or ends at `at`."""
    while at < sent:
        size = frames[at + 1]
        long = {126: 2, 127: 8}.get(size, 0)
        at += 2 + long + (int.from_bytes(frames[at + 2 : at + 2 + long], "big") if long else size)
    return at


def close_frame(code: int | None, reason: str = "") -> bytes:
    """`reason` is cut to what a control frame holds, between characters. No code: an empty one."""
    if code is None:
        return frame(b"", CLOSE)
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return frame(code.to_bytes(2, "big") + text, CLOSE)


class Deflater:
    """Compresses messages, each on its own; one for a whole process, since nothing of one is left for the next."""

    def __init__(self, window_bits: int = WINDOW_BITS) -> None:
        # memLevel 5: the hash table that is cleared with every message has 8 KB, not 64.
        self._deflate = zlib.compressobj(zlib.Z_BEST_SPEED, zlib.DEFLATED, -window_bits, 5)

    def pack(self, payload: bytes) -> bytes:
        """The payload of a compressed frame."""
        # A full flush forgets what was there before, as a new stream would (zlib's manual), without its price.
        return (self._deflate.compress(payload) + self._deflate.flush(zlib.Z_FULL_FLUSH))[: -len(_TAIL)]

    def frame(self, payload: bytes, opcode: int) -> bytes:
        """The message as one frame; not compressed where that does not make it shorter."""
        if len(payload) >= MIN_DEFLATE_BYTES:
            packed = self.pack(payload)
            if len(packed) < len(payload):
                return frame(packed, opcode, compressed=True)
        return frame(payload, opcode)


# ---------------------------------------------------------------------- in


class Closing(NamedTuple):
    """A client's close frame."""

    code: int | None
    reason: str


def parse_close(payload: bytes) -> Closing:
    if not payload:
        return Closing(None, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code not in CODES:
        raise Fault(PROTOCOL_ERROR, "a close code that is none")
    try:
        return Closing(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise Fault(BAD_DATA, "a close reason that is not UTF-8") from None


class Inbox:
    """What a client sends: bytes in by `feed`, whole messages and control frames out by `next`.

    A message is unmasked, inflated and checked as its bytes come, so a wrong one is refused at its first wrong byte,
    and no more than `max_bytes` of it are ever held. An `idle` inbox holds nothing: it need not be kept.
    """

    __slots__ = (
        "_at", "_came", "_data", "_final", "_inflate", "_inflater", "_left", "_mask", "_max_bytes", "_opcode",
        "_pieces", "_split", "_whole", "began",
    )  # fmt: skip

    def __init__(self, max_bytes: int, inflate: bool) -> None:
        self._max_bytes, self._inflate = max_bytes, inflate
        self._data, self._at = b"", 0  # what has come, and how far it has been looked at
        self._left = -1  # bytes of the data frame under way that have not come; -1: the next is a header
        self._mask = b""
        self._final = True  # the frame under way is its message's last
        self._opcode = 0  # of the message under way, 0: none is
        self._whole = bytearray()  # the message, as far as it has come
        self._split = b""  # the bytes of a character that was cut
        self._pieces = self._came = 0  # frames of the message under way, and their bytes
        self.began = 0  # when the message under way did; its owner's
        self._inflater: zlib._Decompress | None = None

    @property
    def idle(self) -> bool:
        return self._at == len(self._data) and not self._opcode

    def feed(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data
        self._at = 0

    def next(self) -> tuple[int, bytes] | None:
        """The next whole message (TEXT, BINARY) or control frame, as (opcode, payload). None: more bytes are needed."""
        while True:
            if self._left < 0:
                control = self._head()
                if control is not None or self._left < 0:
                    return control
            chunk = self._data[self._at : self._at + self._left]
            self._at += len(chunk)
            self._left -= len(chunk)
            if chunk:
                self._take(_unmask(chunk, self._mask))
            if self._left:
                turned = len(chunk) % 4
                self._mask = self._mask[turned:] + self._mask[:turned]
                return None
            self._left = -1
            if self._final:
                return self._finish()

    def _head(self) -> tuple[int, bytes] | None:
        """Take the next header: of a data frame `_left` is what follows, a control frame is returned whole."""
        data, at = self._data, self._at
        have = len(data) - at
        if not have:
            return None
        first = data[at]
        opcode, final = first & 0x0F, bool(first & FIN)
        self._check(first, opcode, final)
        if have < 2:
            return None
        size = data[at + 1] & 0x7F
        if not data[at + 1] & MASKED:
            raise Fault(PROTOCOL_ERROR, "a frame of a client is masked")  # RFC 6455, 5.1
        if opcode >= CLOSE and size > 125:
            raise Fault(PROTOCOL_ERROR, "a control frame has at most 125 bytes")
        long = {126: 2, 127: 8}.get(size, 0)
        body = at + 2 + long + 4
        if long:
            if have < 2 + long:
                return None
            least = 126 if size == 126 else 1 << 16
            size = int.from_bytes(data[at + 2 : at + 2 + long], "big")
            if not least <= size < 1 << 63:
                raise Fault(PROTOCOL_ERROR, "a length is written as short as it can be")  # RFC 6455, 5.2
        if opcode >= CLOSE:
            if len(data) < body + size:
                return None
            self._at = body + size
            return opcode, _unmask(data[body : body + size], data[body - 4 : body])
        came = size if opcode else self._came + size
        # Of a compressed message it counts what comes out; but it may go on for ever without anything's coming out.
        if came > self._max_bytes * (2 if first & RSV1 or (not opcode and self._inflater) else 1):
            raise self._too_big()
        if len(data) < body:
            return None
        self._at, self._mask, self._left, self._final = body, data[body - 4 : body], size, final
        self._came = came
        if opcode:
            self._opcode, self._pieces = opcode, 0
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if first & RSV1 else None
        self._pieces += 1
        if self._pieces > MIN_PIECE + self._max_bytes // MIN_PIECE:
            raise Fault(TOO_BIG, "a message in too many pieces")
        return None

    def _check(self, first: int, opcode: int, final: bool) -> None:
        """What can be said of a frame's first byte (RFC 6455, 5.2, 5.4 and 5.5)."""
        if first & RSV and not (first & RSV == RSV1 and self._inflate and opcode in (TEXT, BINARY)):
            raise Fault(PROTOCOL_ERROR, "reserved bits that nothing was agreed on")
        if opcode not in (CONTINUED, TEXT, BINARY, CLOSE, PING, PONG):
            raise Fault(PROTOCOL_ERROR, "an opcode that is none")
        if opcode >= CLOSE and not final:
            raise Fault(PROTOCOL_ERROR, "a control frame is not cut")
        if opcode < CLOSE and (opcode == CONTINUED) != bool(self._opcode):
            raise Fault(PROTOCOL_ERROR, "a message goes on where none was begun, or begins in another")

    def _too_big(self) -> Fault:
        return Fault(TOO_BIG, f"a message has at most {self._max_bytes} bytes")

    def _take(self, chunk: bytes) -> None:
        """Some bytes of the message under way."""
        if self._inflater is not None:
            try:
                # The bound is never 0, which would be none.
                chunk = self._inflater.decompress(chunk, self._max_bytes - len(self._whole) + 1)
            except zlib.error:
                raise Fault(BAD_DATA, "a message that cannot be inflated") from None
            if len(self._inflater.unused_data) > _ENDED:  # zlib would gather it
                raise Fault(BAD_DATA, "a message that goes on behind its end")
        self._whole += chunk
        if len(self._whole) > self._max_bytes:
            raise self._too_big()
        if self._opcode == TEXT:
            self._check_text(chunk, False)

    def _check_text(self, chunk: bytes, final: bool) -> None:
        text = self._split + chunk
        try:
            _, used = utf_8_decode(text, "strict", final)
        except UnicodeDecodeError:
            raise Fault(BAD_DATA, "a text that is not UTF-8") from None
        self._split = text[used:]
        # Half a surrogate is for Python a beginning, since it can be told to let it pass (bugs.python.org/issue24214).
        if self._split[:1] == b"\xed" and self._split[1:2] >= b"\xa0":
            raise Fault(BAD_DATA, "a text that is not UTF-8")

    def _finish(self) -> tuple[int, bytes]:
        if self._inflater is not None:
            self._take(_TAIL)
            self._inflater = None
        if self._split:
            self._check_text(b"", True)
        opcode, payload = self._opcode, bytes(self._whole)
        self._opcode = 0
        self._whole = bytearray()
        return opcode, payload


def _unmask(data: bytes, mask: bytes) -> bytes:
    """RFC 6455, 5.3, as one exclusive or of two long numbers."""
    size = len(data)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(data, "little") ^ key).to_bytes(size, "little")
