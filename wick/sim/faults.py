"""The faults that a test can switch on, declared once in FAULTS, and what they do to frames. Pure.

`Faults.filter` decides about each data frame: drop it, mutate it, send it twice, or hold it back until
`release`. Counts ("the next 5") run over the frames of the whole exchange: a demo event is one frame, however
many clients get it. Faults of connections (cut, silence, close, ...) are declared and checked here and
carried out by the server.
"""

import heapq
import math
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from wick.errors import WickError

# Corruptions of one frame. Those of a number need a decimal string in it, which every data frame has.
CORRUPTIONS = ("truncated", "wrong_type", "nan", "negative", "huge", "exponent")
_DECIMAL = re.compile(rb'"\d+\.\d+"')
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
    of_connections: bool = False


_FRAMES = Param("frames", int, 1, 1, 1_000_000)
_STREAMS = Param("streams", str, "*")  # a pattern of stream names: "*@trade"
_SECONDS = Param("seconds", float, None, 0.01, 86_400.0)

FAULTS: tuple[Fault, ...] = (
    Fault("cut", "drop every client's TCP connection without a close frame",
          (Param("reset", bool, False),), True),
    Fault("silence", "send nothing, not even pings, on the connections that are open now", (_SECONDS,), True),
    Fault("gap", "leave the next trades of a symbol out of the stream; REST still has them",
          (Param("symbol", str, None), Param("trades", int, 1, 1, 1_000_000))),
    Fault("duplicate", "send the next frames twice", (_FRAMES, _STREAMS)),
    Fault("reorder", "shuffle frames within a window of time",
          (Param("window_ms", int, 100, 1, 60_000), _SECONDS, _STREAMS)),
    Fault("slow", "delay every frame; the order stays", (Param("delay_ms", int, None, 1, 60_000), _SECONDS)),
    Fault("corrupt", "mutate the next frames",
          (_FRAMES, _STREAMS, Param("kind", str, "mixed", choices=(*CORRUPTIONS, "mixed")))),
    Fault("close", "a close frame to every client, like the one after 24 h",
          (Param("after_s", float, 0.0, 0, 86_400), Param("code", int, 1001, 1000, 4999)), True),
    Fault("shutdown", "the event serverShutdown, then a close frame",
          (Param("after_s", float, 1.0, 0, 86_400),), True),
    Fault("refuse", "end new connections unanswered", (_SECONDS,), True),
    Fault("rest_error", "answer the next REST requests with an error",
          (Param("requests", int, 1, 1, 1_000_000), Param("status", int, 429, 400, 599),
           Param("retry_after_s", int, 1, 0, 86_400)), True),
    Fault("clear", "switch every fault off; held frames go out at once"),
)  # fmt: skip
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


def table() -> list[dict[str, Any]]:
    """The faults and their parameters, for `GET /_faults`."""
    return [
        {
            "fault": fault.name,
            "help": fault.help,
            "params": {param.name: {"default": param.default, "valid": param.valid} for param in fault.params},
        }
        for fault in FAULTS
    ]


class Faults:
    """The faults of frames that are on. `target` is whatever the caller needs to send a held frame later."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.counters: Counter[str] = Counter()
        self._order = 0
        self._held: list[tuple[float, int, Any, bytes]] = []
        self._reset()

    def _reset(self) -> None:
        self._gaps: Counter[str] = Counter()
        self._duplicate: list[Any] = [0, "*"]  # frames left, pattern of streams
        self._corrupt: list[Any] = [0, "*", "mixed"]
        self._reorder = (0.0, 0, "*")  # until, window, pattern
        self._slow = (0.0, 0)  # until, delay
        self._slow_due = 0.0  # nothing overtakes a frame that `slow` holds
        self.active = False

    def switch(self, name: str, params: Mapping[str, Any], now_ms: float) -> None:
        """Switch a fault of frames on (parameters as `checked` gives them)."""
        if name == "clear":
            self._reset()
            self._held = [(now_ms, order, target, frame) for _, order, target, frame in sorted(self._held)]
            return
        until = now_ms + params.get("seconds", 0.0) * 1000
        if name == "gap":
            self._gaps[params["symbol"].lower()] += params["trades"]
        elif name == "duplicate":
            self._duplicate = [params["frames"], params["streams"]]
        elif name == "corrupt":
            self._corrupt = [params["frames"], params["streams"], params["kind"]]
        elif name == "reorder":
            self._reorder = (until, params["window_ms"], params["streams"])
        elif name == "slow":
            self._slow = (until, params["delay_ms"])
        self.active = True

    @property
    def held(self) -> int:
        return len(self._held)

    def pending(self) -> dict[str, Any]:
        """What is still to be done, for `GET /_faults`."""
        return {
            "gap": +self._gaps,
            "duplicate": self._duplicate[0],
            "corrupt": self._corrupt[0],
            "held": self.held,
        }

    def filter(self, target: Any, stream: str, frame: bytes, now_ms: float) -> tuple[bytes, ...]:
        """What is sent now in the place of `frame`."""
        if stream.endswith("@trade") and self._gaps[symbol := stream.partition("@")[0]] > 0:
            self._gaps[symbol] -= 1
            self.counters["gap"] += 1
            return ()
        if self._corrupt[0] and fnmatchcase(stream, self._corrupt[1]):
            self._corrupt[0] -= 1
            kind = self._corrupt[2]
            kind = CORRUPTIONS[self.counters["corrupt"] % len(CORRUPTIONS)] if kind == "mixed" else kind
            frame = self._mutated(frame, kind)
            self.counters["corrupt"] += 1
        frames: tuple[bytes, ...] = (frame,)
        if self._duplicate[0] and fnmatchcase(stream, self._duplicate[1]):
            self._duplicate[0] -= 1
            self.counters["duplicate"] += 1
            frames = (frame, frame)
        due = now_ms
        until, window_ms, pattern = self._reorder
        if now_ms < until and fnmatchcase(stream, pattern):
            due += self._random.uniform(0, window_ms)
            self.counters["reorder"] += 1
        if now_ms < self._slow[0]:
            due += self._slow[1]
            self._slow_due = due = max(due, self._slow_due)
            self.counters["slow"] += 1
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
        decimals = list(_DECIMAL.finditer(frame))
        if not decimals:  # a recorded frame may be anything
            return frame[: len(frame) // 2]
        found = self._random.choice(decimals)
        replacement = self._random.choice(_WRONG_TYPES) if kind == "wrong_type" else _NUMBERS[kind]
        return frame[: found.start()] + replacement + frame[found.end() :]
