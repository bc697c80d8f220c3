"""The faults that a test can switch on, declared once in FAULTS, and what they do to frames. Pure.

`Faults.filter` decides about each data frame: mutate it, send it twice, or hold it back until `release`. Counts ("the
next 5") run over the frames of the whole exchange: a demo event is one frame, however many clients get it. The rest is
carried out by who makes frames (`gap`, `crossed`, ...) or connections (`cut`, `refuse`, ...): they `take` a fault where
it would happen.
"""

import heapq
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from wick.errors import WickError
from wick.market.trades import Topic

# Corruptions of one frame. Those of a number need a decimal in it, which every data frame has.
CORRUPTIONS = ("truncated", "wrong_type", "nan", "negative", "huge", "exponent")
_DECIMAL = re.compile(rb"""(?<=[:,\[ ])(?:"\d+(?:\.\d+)?"|\d+\.\d+)(?=[,\]} ])""")
_NUMBERS = {"nan": b'"NaN"', "negative": b'"-1.00000000"', "huge": b'"1e400"', "exponent": b'"1.5e2"'}
_WRONG_TYPES = (b"null", b"{}", b"[]", b"true", b'""', b'"abc"', b"-0.0", b"1e400")


class FaultError(WickError):
    """A fault or a parameter that does not exist, or has a value that it cannot have."""

    def __init__(self, field: str, message: str, valid: object) -> None:
        super().__init__(f"{field}: {message}; valid is {valid}")
        self.field, self.message, self.valid = field, message, valid


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter. `default` None: it must be given."""

    name: str
    type: type
    default: Any
    least: float = -math.inf
    most: float = math.inf
    choices: tuple[str, ...] = ()

    @property
    def valid(self) -> str:
        if self.choices:
            return " or ".join(self.choices)
        if self.type in (int, float):
            noun = "a whole number" if self.type is int else "a number"
            return f"{noun} from {self.least:g} to {self.most:g}"
        return "true or false" if self.type is bool else "text"

    def check(self, value: Any) -> Any:
        if self.type is float and type(value) is int:
            value = float(value)
        wrong = type(value) is not self.type or (self.choices and value not in self.choices)
        if wrong or (self.type in (int, float) and not self.least <= value <= self.most):
            raise FaultError(self.name, f"{value!r} is wrong", self.valid)
        return value


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    help: str
    params: tuple[Param, ...] = ()


_FRAMES = Param("frames", int, 1, 1, 1_000_000)
_UPDATES = Param("updates", int, 1, 1, 1_000_000)
_SECONDS = Param("seconds", float, None, 0.01, 86_400.0)
_SYMBOL = Param("symbol", str, "*")  # the venue's own name; "*": all
_WHERE = (_SYMBOL, Param("channel", str, "*", choices=("trade", "quote", "depth", "*")))

FAULTS: tuple[Fault, ...] = (
    Fault("cut", "drop the TCP connections of clients of these streams, without a close frame",
          (Param("reset", bool, False), *_WHERE)),
    Fault("silence", "send nothing, not even pings, on the connections that are open now", (_SECONDS, *_WHERE)),
    Fault("gap", "leave the next trades of a symbol out of the stream; REST still has them",
          (Param("symbol", str, None), Param("trades", int, 1, 1, 1_000_000))),
    Fault("depth_gap", "leave the next depth updates of a symbol out", (_SYMBOL, _UPDATES)),
    Fault("duplicate", "send the next frames twice", (_FRAMES, *_WHERE)),
    Fault("reorder", "shuffle frames within a window of time",
          (Param("window_ms", int, 100, 1, 60_000), _SECONDS, *_WHERE)),
    Fault("slow", "delay every frame; the order stays", (Param("delay_ms", int, None, 1, 60_000), _SECONDS)),
    Fault("corrupt", "mutate the next frames",
          (_FRAMES, *_WHERE, Param("kind", str, "mixed", choices=(*CORRUPTIONS, "mixed")))),
    Fault("oversized", "blow the next frames up with blanks",
          (_FRAMES, *_WHERE, Param("size", int, 32_000_000, 1, 256_000_000))),
    Fault("wrong_checksum", "depth updates with a wrong checksum, where the venue has one", (_SYMBOL, _UPDATES)),
    Fault("sequence_reset", "begin a book's sequence anew with its next update, as the venue does (Binance: a gap)",
          (_SYMBOL,)),
    Fault("crossed", "depth updates that cross the book; nothing takes the wrong level back", (_SYMBOL, _UPDATES)),
    Fault("newest_first", "the next snapshots of trades are newest first",
          (_SYMBOL, Param("snapshots", int, 1, 1, 1_000_000))),
    Fault("freeze", "the market stands still: books only repeat their best bid, heartbeats go on", (_SECONDS,)),
    Fault("clock_skew", "the exchange's times are shifted; 0 ends it",
          (Param("skew_ms", int, None, -86_400_000, 86_400_000),)),
    Fault("close", "a close frame to clients of these streams, like the one after a connection's lifetime",
          (Param("after_s", float, 0.0, 0, 86_400), Param("code", int, 1001, 1000, 4999), *_WHERE)),
    Fault("shutdown", "the venue's notice that the server goes down, if it has one, then a close frame",
          (Param("after_s", float, 1.0, 0, 86_400),)),
    Fault("refuse", "end new connections unanswered", (_SECONDS,)),
    Fault("refuse_subscription", "the next requests for streams get the venue's error, or nothing at all",
          (Param("requests", int, 1, 1, 1_000_000), Param("answered", bool, True))),
    Fault("rest_error", "answer the next REST requests with an error",
          (Param("requests", int, 1, 1, 1_000_000), Param("status", int, 429, 400, 599),
           Param("retry_after_s", int, 1, 0, 86_400), Param("path", str, "*"))),  # a pattern: "*/depth"
    Fault("clear", "switch every fault off; held frames go out at once"),
)  # fmt: skip
# What needs a market that can be acted upon: recordings cannot have it.
OF_THE_MARKET = ("wrong_checksum", "sequence_reset", "crossed", "newest_first", "freeze", "clock_skew")
OF_SOME_VENUES = ("wrong_checksum", "sequence_reset", "newest_first")  # see Wire.faults
# What a fault's count is called among its parameters.
_COUNTS = ("frames", "trades", "updates", "snapshots", "requests")
BY_NAME = {fault.name: fault for fault in FAULTS}


def checked(request: object) -> tuple[Fault, dict[str, Any]]:
    """`{"fault": "gap", "symbol": "BTCUSDT", "trades": 5}` -> the fault, all its parameters; FaultError."""
    if not isinstance(request, Mapping):
        raise FaultError("fault", "the request is no object", "an object with `fault` and its parameters")
    given = dict(request)
    name = given.pop("fault", None)
    fault = BY_NAME.get(name) if isinstance(name, str) else None
    if fault is None:
        raise FaultError("fault", f"{name!r} does not exist", " or ".join(BY_NAME))
    params = {}
    for param in fault.params:
        value = given.pop(param.name, param.default)
        if value is None:
            raise FaultError(param.name, "is missing", param.valid)
        params[param.name] = param.check(value)
    if given:
        known = ", ".join(param.name for param in fault.params) or "no parameter"
        raise FaultError(next(iter(given)), f"is no parameter of {name}", known)
    return fault, params


def table(possible: Callable[[str], bool]) -> list[dict[str, Any]]:
    """The faults that are possible and their parameters, for `GET /_faults`."""
    return [
        {
            "fault": fault.name,
            "help": fault.help,
            "params": {param.name: {"default": param.default, "valid": param.valid} for param in fault.params},
        }
        for fault in FAULTS
        if possible(fault.name)
    ]


def concerns(params: Mapping[str, Any], symbol: str, channel: str) -> bool:
    """Whether a fault with these parameters is one of this stream."""
    return params.get("symbol", "*") in ("*", symbol) and params.get("channel", "*") in ("*", channel)


class Armed:
    """A fault that is on: how often it still happens (None: until its time is over), and where."""

    __slots__ = ("left", "params", "until_ms")

    def __init__(self, fault: Fault, params: Mapping[str, Any], now_ms: float) -> None:
        self.params = params
        self.left: int | None = None if "seconds" in params else 1
        for count in _COUNTS:
            self.left = params.get(count, self.left)
        self.until_ms = now_ms + params["seconds"] * 1000 if "seconds" in params else math.inf

    def concerns(self, symbol: str, channel: str, path: str) -> bool:
        return concerns(self.params, symbol, channel) and fnmatchcase(path, self.params.get("path", "*"))


class Faults:
    """The faults that are on. `target` is whatever the caller needs to send a held frame later."""

    def __init__(self, seed: int = 1, unchecked: frozenset[str] = frozenset()) -> None:
        self._unchecked = unchecked  # see Wire.unchecked
        self._random = random.Random(seed)
        self.counters: Counter[str] = Counter()
        self._order = 0
        self._held: list[tuple[float, int, Any, bytes]] = []
        self._slow_due = 0.0  # nothing overtakes a frame that `slow` holds
        self._armed: dict[str, list[Armed]] = {}

    def switch(self, name: str, params: Mapping[str, Any], now_ms: float) -> None:
        """Switch a fault on (parameters as `checked` gives them), beside others that are on."""
        if name == "clear":
            self._armed = {}
            self._slow_due = 0.0
            self._held = [(now_ms, order, target, frame) for _, order, target, frame in sorted(self._held)]
        else:
            armed = Armed(BY_NAME[name], params, now_ms)
            if armed.left is None:  # of two faults that last, the later one counts
                self._armed[name] = []
            self._armed.setdefault(name, []).append(armed)

    @property
    def active(self) -> bool:
        return bool(self._armed or self._held)

    @property
    def held(self) -> int:
        return len(self._held)

    def pending(self) -> dict[str, int]:
        """How often each fault is still to happen, for `GET /_faults`."""
        counts = {name: sum(one.left or 0 for one in armed) for name, armed in self._armed.items()}
        return {name: count for name, count in counts.items() if count} | {"held": self.held}

    def take(
        self, name: str, symbol: str = "", channel: str = "", now_ms: float = 0.0, path: str = ""
    ) -> Mapping[str, Any] | None:
        """The parameters of the fault if it is on there; this counts as once that it has happened."""
        for armed in list(self._armed.get(name, ())):
            if now_ms >= armed.until_ms:
                self._drop(name, armed)
            elif armed.concerns(symbol, channel, path):
                self.counters[name] += 1
                if armed.left is not None:
                    armed.left -= 1
                    if not armed.left:
                        self._drop(name, armed)
                return armed.params
        return None

    def _drop(self, name: str, armed: Armed) -> None:
        self._armed[name].remove(armed)
        if not self._armed[name]:
            del self._armed[name]

    def filter(self, target: Any, topic: Topic, frame: bytes, now_ms: float) -> tuple[bytes, ...]:
        """What is sent now in the place of `frame`."""
        symbol, channel = topic
        if found := self.take("corrupt", symbol, channel):
            turn = (self.counters["corrupt"] - 1) % len(CORRUPTIONS)
            frame = self._mutated(frame, CORRUPTIONS[turn] if found["kind"] == "mixed" else found["kind"])
        if found := self.take("oversized", symbol, channel):
            frame = frame.ljust(found["size"])
        frames = (frame, frame) if self.take("duplicate", symbol, channel) else (frame,)
        due = now_ms
        if channel not in self._unchecked and (found := self.take("reorder", symbol, channel, now_ms)):
            due += self._random.uniform(0, found["window_ms"])
        if found := self.take("slow", symbol, channel, now_ms):
            due += found["delay_ms"]
            self._slow_due = due = max(due, self._slow_due)
        elif now_ms < self._slow_due:
            due = self._slow_due
        if due <= now_ms:
            return frames
        for held in frames:
            heapq.heappush(self._held, (due, self._order, target, held))
            self._order += 1
        return ()

    def release(self, now_ms: float) -> list[tuple[Any, bytes]]:
        """The held frames whose time has come, in the order in which they are to be sent."""
        ready = []
        while self._held and self._held[0][0] <= now_ms:
            _, _, target, frame = heapq.heappop(self._held)
            ready.append((target, frame))
        return ready

    def _mutated(self, frame: bytes, kind: str) -> bytes:
        if kind == "truncated":
            return frame[: self._random.randrange(1, len(frame))]
        numbers = [found for found in _DECIMAL.finditer(frame) if b"." in found[0]] or list(_DECIMAL.finditer(frame))
        if not numbers:  # an answer, or a recorded frame, which may be anything
            return frame[: len(frame) // 2]
        found = self._random.choice(numbers)
        replacement = self._random.choice(_WRONG_TYPES) if kind == "wrong_type" else _NUMBERS[kind]
        if kind == "exponent" and found[0][0] != ord('"'):
            replacement = b"1.5e"  # where numbers are no texts an exponent is right, but for half of one
        return frame[: found.start()] + replacement + frame[found.end() :]
