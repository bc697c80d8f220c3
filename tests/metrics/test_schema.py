"""The schema is complete: all 64 metrics, each declared once, checked against an oracle, and found wherever rows go.

`gaps` is the check. It takes what is computed from the registry, not from the tables that are declared, so that a
metric that somebody computes and forgets anywhere is named; the last tests show that it does.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.metrics.oracles import ORACLES
from tests.storage.candles import made
from wick.api.service import metrics_schema
from wick.cli._rows import HEADER
from wick.market import schema
from wick.market.blocks import EXACT, Block
from wick.market.rows import ALL_COLUMNS, METRIC_COLUMNS, readable
from wick.market.schema import CANDLE_FIELDS
from wick.metrics import registry, table
from wick.metrics.fields import Field
from wick.metrics.pattern_table import NAMES as PATTERNS
from wick.storage.batch import Batch
from wick.storage.sqlite import SqliteStore
from wick.wire.messages import Closes

UNITS = (Path(__file__).parents[2] / "docs" / "units.md").read_text()
NUMBERS = range(1, 65)
# What the oracles, which are whole histories of one stream, do not tell; and where it is checked instead.
NO_ORACLE = {"obv_anchor_ms": "no formula but a time: that of a stream's first candle (tests/cli/test_candles_metrics)"}


def declared() -> tuple[Field, ...]:
    """The metrics, as they stand in the registry now."""
    return tuple(field for one in registry.declared() for field in one.fields)


def described() -> tuple[Field, ...]:
    """All that is described: what trades and quotes make of a candle, and the metrics."""
    computed = {field.name for field in table.FIELDS}
    return (*[field for field in schema.FIELDS if field.name not in computed], *declared())


def carried() -> set[str]:
    """The metrics that a worker's message carries to the rows of its readers."""
    values = np.arange(float(len(table.FIELDS)))
    reals = bytes(8 * (len(schema.FORMED) - EXACT))
    block = Block([0], [0], bytes(8 * EXACT), reals, [], values.tobytes(), bytes(len(PATTERNS)))
    message = Closes(1, 1, 1, [["binance", ["BTC-USDT"], *block]])
    (row,) = Closes.unpack(message.pack()).rows
    named = dict(zip(CANDLE_FIELDS, row[3:], strict=True))
    return {name for name, value in zip(table.NAMES, values.tolist(), strict=True) if named.get(name) == value}


def stored() -> set[str]:
    """The fields that come back from the store, and are in its view."""
    store = SqliteStore(":memory:")
    row = made(60)[-1]
    store.write(Batch.of_rows([row]), {})
    (back,) = store.candles("binance", "BTC-USDT", "1m", 1)
    view = [column[0] for column in store._db.execute("SELECT * FROM candles_float").description]
    store.close()
    named = dict(zip(CANDLE_FIELDS, back, strict=True))
    told = [(name, value) for name, value in zip(CANDLE_FIELDS, row[3:], strict=True) if name in view]
    return {
        name
        for name, value in told
        if (named[name] == value if type(value) is bytes else named[name] == pytest.approx(value, rel=1e-2, abs=1e-2))
    }


def gaps() -> Iterator[tuple[str, str]]:
    """(field, where it is missing or wrong); nothing where the schema is whole."""
    fields, metrics = described(), declared()
    numbers = Counter(field.number for field in fields if field.number)
    for number in {*NUMBERS, *numbers}:
        if numbers[number] != (number in NUMBERS):
            yield f"number {number}", f"there {numbers[number]} times"
    for name, times in Counter(CANDLE_FIELDS + tuple(field.name for field in metrics)).items():
        if times != 1 + (name in table.NAMES):
            yield name, f"there {times} times"
    api = {field["name"]: field for field in metrics_schema()["fields"]}
    places = {
        "a row": {*CANDLE_FIELDS},
        "a row as it is read": {*readable([0] * (len(CANDLE_FIELDS) - 1) + [b""])},
        "the API's columns": {*ALL_COLUMNS},
        "the API's metrics-schema": {*api},
        "the CSV": {*HEADER, *METRIC_COLUMNS},
        "the store": stored(),
    }
    for field in fields:
        if not (field.unit.strip() and field.definition.strip() and field.source.strip() and field.n >= 1):
            yield field.name, "no unit, definition, source or n"
        for place, names in places.items():
            if field.name not in names:
                yield field.name, place
        if f"| {field.number or ''} | `{field.name}` | {field.unit} | {field.definition} | {field.n} |" not in UNITS:
            yield field.name, "docs/units.md"
        if f"| {api.get(field.name, {}).get('definition')} |" not in UNITS:
            yield field.name, "the API's definition"
    moved = carried()
    for field in metrics:
        if field.name not in moved:
            yield field.name, "a worker's message"
        oracle = ORACLES.get(field.name)
        if field.name in NO_ORACLE:
            continue
        if oracle is None:
            yield field.name, "no oracle"
        elif oracle.n != field.n:
            yield field.name, f"its oracle has n = {oracle.n}"


def test_the_schema_is_whole():
    assert sorted(gaps()) == []


def test_an_oracle_is_missing_only_where_a_reason_is_given():
    assert {field.name for field in declared()} - ORACLES.keys() == NO_ORACLE.keys()
    assert all(NO_ORACLE.values())


def test_what_a_row_has_beside_is_described_too():
    """Identity and provenance need no number; everything else of a row is in the tables."""
    beside = {
        "open_time_ms", "close_time_ms", "revision", "flags", "price_decimals", "quantity_decimals", "first_trade_id",
        "last_trade_id", "bull", "bear", "patterns",
    }  # fmt: skip
    assert {*CANDLE_FIELDS} - {field.name for field in schema.FIELDS} == beside


def test_every_pattern_is_in_the_document_and_in_the_schema_of_the_api():
    told = [pattern["name"] for pattern in metrics_schema()["patterns"]]
    assert tuple(told) == PATTERNS and len(told) == 61
    assert all(f"| `{name}` |" in UNITS for name in told)


# ---------------------------------------------------------------------- the check itself


def found(field: Field) -> set[str]:
    """Where the check says that a field is missing or wrong."""
    return {where for name, where in gaps() if name == field.name}


@pytest.fixture
def register(monkeypatch):
    """Metrics that are computed for the time of a test."""
    monkeypatch.setattr(registry, "_DECLARED", list(registry._DECLARED))

    def register(*fields: Field) -> Sequence[Field]:
        registry._DECLARED.append(registry.Metric(lambda window, state: window.closes[-1], fields, ()))
        return fields

    return register


def test_a_metric_that_is_declared_and_nothing_else_is_missed_everywhere(register):
    (extra,) = register(Field(65, "gut_feeling_7", "1", "what the trader feels", 7, "own formula"))
    assert found(extra) == {
        "a row", "a row as it is read", "the API's columns", "the API's metrics-schema", "the CSV", "the store",
        "docs/units.md", "the API's definition", "a worker's message", "no oracle",
    }  # fmt: skip
    assert ("number 65", "there 1 times") in {*gaps()}


def test_a_metric_that_takes_the_number_or_the_name_of_another_is_named(register):
    register(Field(36, "rsi_15", "0 to 100", "another", 16, "own formula"))
    assert ("number 36", "there 2 times") in {*gaps()}
    (twin,) = register(Field(0, "rsi_14", "0 to 100", "another", 15, "own formula"))
    assert "there 3 times" in found(twin) and "docs/units.md" in found(twin)


@pytest.mark.parametrize("blank", ["unit", "definition", "source"])
def test_a_metric_that_does_not_say_what_it_is_is_named(register, blank):
    (mute,) = register(Field(65, "mute", "1", "something", 1, "own formula")._replace(**{blank: " "}))
    assert "no unit, definition, source or n" in found(mute)


def test_a_metric_whose_oracle_begins_elsewhere_is_named(monkeypatch):
    oracle = ORACLES["rsi_14"]
    monkeypatch.setitem(ORACLES, "rsi_14", type(oracle)(oracle.kind, 14, oracle.evaluate))
    assert ("rsi_14", "its oracle has n = 14") in {*gaps()}


def test_a_metric_that_is_taken_away_leaves_its_number(monkeypatch):
    monkeypatch.setattr(registry, "_DECLARED", [one for one in registry._DECLARED if one.fields[0].name != "rsi_14"])
    assert ("number 36", "there 0 times") in {*gaps()}
