"""`/metrics`: what every process says of itself on the bus, in Prometheus' text format 0.0.4 or in OpenMetrics 1.0.

https://prometheus.io/docs/instrumenting/exposition_formats and https://prometheus.io/docs/specs/om/open_metrics_spec.
Written here, and read back by prometheus_client in the tests: importing that brings http.client, ssl and email, 6 MB
and 34 ms during which no client would be told anything.

| in the stats | here |
|---|---|
| counter `trades` of feed-0 | `wick_feed_trades_total{process="feed-0"}` |
| counter `kraken.trades` of feed-0 | `wick_feed_venue_trades_total{process="feed-0",venue="kraken"}` |
| gauge `clients` of front-1 | `wick_front_clients{process="front-1"}` |
| gauge `lag` of a worker | `wick_aggregator_lag_seconds{process,shard,stage,figure}`: mean, p99 and max of a second |
| start, age of the data | `wick_process_start_time_seconds`, `wick_process_data_age_seconds` |
| state, and whether it speaks | `wick_process_state{process,state}` 1, `wick_process_up` |
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from wick.api.replies import NO_STORE
from wick.stream.stages import FIGURES, STAGES
from wick.wire.http import Reply

COUNTER, GAUGE = "counter", "gauge"
SILENT_NS: Final = 5_000_000_000  # processes speak once a second: who has not for so long is down

_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9_]+")
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Labels = dict[str, str]


class Sample(NamedTuple):
    """One value; `name` without the `_total` of counters."""

    name: str
    kind: str
    labels: Labels
    value: float


class Exporter:
    """Makes `/metrics`, and remembers who has spoken: who is silent since is down, not unheard of."""

    def __init__(self) -> None:
        self._spoken: set[str] = set()

    def reply(self, stats: Iterable[Mapping[str, Any]], now_ns: int, form: str) -> Reply:
        """Of the newest message of each process."""
        up = [one for one in stats if now_ns - one["time_ns"] < SILENT_NS]
        names = {str(one["process"]) for one in up}
        self._spoken |= names
        found = [Sample("wick_process_up", GAUGE, {"process": name}, name in names) for name in sorted(self._spoken)]
        for one in up:
            found += _told(one, now_ns)
        return Reply(200, form, exposition(found, form), (*NO_STORE, ("Vary", "Accept")))


def _told(one: Mapping[str, Any], now_ns: int) -> Iterator[Sample]:
    """What a process says of itself."""
    process = str(one["process"])
    role = process.rpartition("-")[0] or process
    labels = {"process": process}
    yield Sample("wick_process_state", GAUGE, labels | {"state": str(one["state"])}, 1)
    yield Sample("wick_process_start_time_seconds", GAUGE, labels, one["started_ns"] / 1e9)
    if one["age_ms"] is not None:
        age_s = one["age_ms"] / 1e3 + (now_ns - one["time_ns"]) / 1e9
        yield Sample("wick_process_data_age_seconds", GAUGE, labels, age_s)
    for kind, values in ((COUNTER, one["counters"]), (GAUGE, one["gauges"])):
        for key, value in values.items():
            if key == "lag" and isinstance(value, dict):
                yield from _lags(role, labels, value)
            else:
                yield from _values(role, kind, labels, str(key), value)


def _values(role: str, kind: str, labels: Labels, key: str, value: Any) -> Iterator[Sample]:
    venue, _, name = key.rpartition(".")
    if venue:
        labels, name = labels | {"venue": venue}, f"venue_{name}"
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _values(role, kind, labels, f"{name}_{inner}", one)
    elif isinstance(value, int | float):
        yield Sample(_NO_NAME.sub("_", f"wick_{role}_{name}"), kind, labels, value)


def _lags(role: str, labels: Labels, lag: Mapping[Any, list[float | None]]) -> Iterator[Sample]:
    names = [(stage, figure) for stage in STAGES for figure in FIGURES]
    for shard, figures in lag.items():
        for (stage, figure), value_ms in zip(names, figures, strict=True):
            if value_ms is not None:
                place = {"shard": str(shard), "stage": stage, "figure": figure}
                yield Sample(f"wick_{role}_lag_seconds", GAUGE, labels | place, value_ms / 1e3)


def exposition(found: Sequence[Sample], form: str) -> bytes:
    """The text: samples of one name stand together, each name with its type."""
    is_open = form.startswith("application/openmetrics-text")
    counters = {name for name, kind, *_ in found if kind == COUNTER}
    families: dict[tuple[str, str], dict[str, float]] = {}
    for name, kind, labels, value in found:
        if kind == COUNTER:
            family, sample = (name if is_open else f"{name}_total"), f"{name}_total"
        else:  # a counter's name is not a gauge's too
            family = sample = f"{name}_now" if name in counters or name.endswith("_total") else name
        text = ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in labels.items())
        families.setdefault((family, kind), {})[f"{sample}{{{text}}}"] = value
    lines: list[str] = []
    for (family, kind), values in families.items():
        lines += [f"# HELP {family} {_help(family)}", f"# TYPE {family} {kind}"]
        lines += [f"{series} {float(value) if kind == GAUGE else value!r}" for series, value in values.items()]
    if is_open:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines).encode()


def _help(family: str) -> str:
    return f"{' '.join(family.removesuffix('_total').split('_')[1:])}, as the process says (docs/operations.md)"
