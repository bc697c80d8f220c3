"""What can be asked of the front over HTTP, declared once.

The API validates by this, and docs/openapi.json and docs/api.md are made from it: `python -m wick.api.openapi`.
"""

from typing import Any, Final, NamedTuple

from wick.api.replies import CSV, JSON, MSGPACK, RequestError
from wick.market.intervals import NAMES
from wick.market.rows import ALL_COLUMNS

MAX_LIMIT: Final = 5_000
DEFAULT_LIMIT: Final = 500
MAX_MS: Final = 253_402_300_799_999  # the end of the year 9999
MAX_TEXT: Final = 200
MAX_LIST: Final = 4_000

TEXT, INTEGER, CHOICE, LIST = "text", "integer", "choice", "list"
FORMATS: Final = {"json": JSON, "csv": CSV, "msgpack": MSGPACK}
RESOLUTIONS: Final = dict(  # of TradingView, in the order of the intervals
    zip(("15S", "30S", "1", "3", "5", "15", "30", "60", "240", "1D", "1W", "1M"), NAMES, strict=True)
)
_ALSO: Final = {"D": "1D", "W": "1W", "M": "1M"}  # as TradingView abbreviates them


class Parameter(NamedTuple):
    """One of a query. `default` None: none, and then the handler sees None (it is missed where `required`)."""

    name: str
    kind: str
    meaning: str
    example: str = ""
    required: bool = False
    default: Any = None
    least: int = 0
    most: int = 0
    choices: tuple[str, ...] = ()

    @property
    def valid(self) -> str:
        """What is valid, as the end of a sentence that begins with "valid is"."""
        if self.kind == INTEGER:
            return f"a whole number from {self.least} to {self.most}"
        if self.kind == CHOICE:
            return f"one of {', '.join(self.choices)}"
        if self.choices:
            return f"some of {', '.join(self.choices)}, with commas"
        return f"text of {self.least} to {self.most} characters"

    def parse(self, text: str) -> Any:
        """The value; RequestError where it has none."""
        if self.kind == INTEGER:
            digits = text.removeprefix("-")
            if digits.isascii() and digits.isdigit() and len(digits) <= 15 and self.least <= int(text) <= self.most:
                return int(text)
        elif self.kind == CHOICE:
            if text in self.choices:
                return text
        elif self.kind == LIST:
            parts = tuple(dict.fromkeys(text.split(",")))
            wrong = [part for part in parts if part not in self.choices] if self.choices else []
            if not wrong and self.least <= len(text) <= self.most:
                return parts
            text = wrong[0] if wrong else text
        elif self.least <= len(text) <= self.most and text.isprintable():
            return text
        raise RequestError(f"bad_{self.name}", self.name, text, self.valid)


class Route(NamedTuple):
    """A path. `forms`: the types it answers in; `schema` names the shape of its JSON in openapi.py."""

    path: str
    name: str
    summary: str
    schema: str
    parameters: tuple[Parameter, ...] = ()
    forms: tuple[str, ...] = (JSON,)
    is_public: bool = False
    strict: bool = True  # a parameter that is not declared is refused; TradingView's library adds some

    def parse(self, query: dict[str, str]) -> dict[str, Any]:
        """The values of all parameters; RequestError at the first that is wrong, missing or unknown."""
        names = [parameter.name for parameter in self.parameters]
        for name, value in query.items():
            if self.strict and name not in names and name != "token":
                valid = f"one of {', '.join(names)}" if names else "no parameter"
                raise RequestError("unknown_parameter", name, value, valid, message="there is no such parameter")
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            text = query.get(parameter.name)
            if text is not None:
                values[parameter.name] = parameter.parse(text)
            elif parameter.required:
                raise RequestError(f"missing_{parameter.name}", parameter.name, "", parameter.valid)
            else:
                values[parameter.name] = parameter.default
        return values


def _text(name: str, meaning: str, example: str = "", *, required: bool = False, least: int = 1) -> Parameter:
    return Parameter(name, TEXT, meaning, example, required, None, least, MAX_TEXT)


def _time_ms(name: str, meaning: str) -> Parameter:
    return Parameter(name, INTEGER, meaning, "1735689600000", least=0, most=MAX_MS)


def _format(*names: str) -> Parameter:
    meaning = "The form of the answer; without it, what the Accept header likes best."
    return Parameter("format", CHOICE, meaning, names[0], choices=names)


VENUE: Final = _text("venue", "The exchange, as /api/v1/symbols names it.", "binance", required=True)
SYMBOL: Final = _text("symbol", "The pair, as /api/v1/symbols names it.", "BTC-USDT", required=True)
INTERVAL: Final = Parameter("interval", CHOICE, "The length of a candle.", "1m", required=True, choices=NAMES)
UDF_SYMBOL: Final = _text("symbol", "A ticker (`binance:BTC-USDT`), or a pair's name alone.", "binance:BTC-USDT",
                          required=True)  # fmt: skip
RESOLUTION: Final = Parameter(
    "resolution", CHOICE, "The length of a bar.", "1", required=True, choices=(*RESOLUTIONS, *_ALSO)
)

ROUTES: Final = (
    Route("/api/v1/symbols", "symbols", "The pairs that are known now.", "Symbols"),
    Route("/api/v1/intervals", "intervals", "The lengths of candles, shortest first.", "Intervals"),
    Route("/api/v1/candles", "candles", "Candles of a pair, oldest first, stored and live without a seam.", "Candles", (
        VENUE,
        SYMBOL,
        INTERVAL,
        Parameter("limit", INTEGER, "Candles at most.", "500", default=DEFAULT_LIMIT, least=1, most=MAX_LIMIT),
        _time_ms("from", "Only candles that open at or after this time (ms). With it the page begins with the "
                 "oldest of them, and `next` leads forward in time; without it the page ends with the newest, and "
                 "`next` leads back."),
        _time_ms("to", "Only candles that open before this time (ms)."),
        Parameter("fields", LIST, "The columns: `all`, or some by name, with commas. Without it those that trades "
                  "and quotes make, without the metrics.", "open_time_ms,close,rsi_14", least=1, most=MAX_LIST,
                  choices=("all", *ALL_COLUMNS)),
        _format("json", "csv", "msgpack"),
    ), (JSON, CSV, MSGPACK)),
    Route("/api/v1/snapshot", "snapshot", "What is true now of many pairs, with the positions of their streams.",
          "Snapshot", (
        Parameter("pairs", TEXT, "Pairs, as they follow `ticker:` in a topic of the session: `<venues>:<symbols>`, "
                  "each a list by comma in which `*` stands for any characters. Without it all of them.",
                  "binance:BTC-*,ETH-USDT", least=1, most=900),
        Parameter("intervals", LIST, "Whose live candles come with them.", "1m,1h", default=(), least=1, most=MAX_TEXT,
                  choices=NAMES),
        _format("json", "msgpack"),
    ), (JSON, MSGPACK)),
    Route("/api/v1/metrics-schema", "metrics_schema", "What the numbers of a candle are.", "MetricsSchema"),
    Route("/api/v1/openapi.json", "openapi", "This description.", "OpenApi"),
    Route("/udf/config", "udf_config", "TradingView UDF: what the data feed can do.", "UdfConfig", strict=False),
    Route("/udf/symbols", "udf_symbols", "TradingView UDF: one symbol.", "UdfSymbol", (UDF_SYMBOL,), strict=False),
    Route("/udf/search", "udf_search", "TradingView UDF: symbols by a part of their name.", "UdfSearch", (
        _text("query", "A part of the name, in any case.", "btc", least=0),
        _text("type", "Only symbols of this type (`crypto` is all there is).", "crypto", least=0),
        _text("exchange", "Only symbols of this exchange.", "binance", least=0),
        Parameter("limit", INTEGER, "Symbols at most.", "30", default=30, least=1, most=1_000),
    ), strict=False),
    Route("/udf/history", "udf_history", "TradingView UDF: bars.", "UdfHistory", (
        UDF_SYMBOL,
        RESOLUTION,
        Parameter("from", INTEGER, "Bars that open at or after this time (s).", "1735689600", default=0,
                  least=-MAX_MS // 1000, most=MAX_MS // 1000),
        Parameter("to", INTEGER, "Bars that open before this time (s).", "1735776000", required=True,
                  least=-MAX_MS // 1000, most=MAX_MS // 1000),
        Parameter("countback", INTEGER, f"So many bars before `to`, whatever `from` says; at most {MAX_LIMIT} are "
                  "given, the newest.", "300", least=1, most=10**9),
    ), strict=False),
    Route("/udf/time", "udf_time", "TradingView UDF: the front's clock, in seconds.", "UdfTime", (),
          ("text/plain; charset=utf-8",), strict=False),
    Route("/healthz", "healthz", "Whether the process is alive.", "Health", is_public=True),
    Route("/readyz", "readyz", "Whether the front has data that is new enough: 200, or 503 with the reasons.",
          "Ready", is_public=True),
    Route("/metrics", "metrics", "Counters and gauges of every process, for Prometheus.", "Metrics", (),
          ("text/plain; version=0.0.4; charset=utf-8", "application/openmetrics-text; version=1.0.0; charset=utf-8")),
)  # fmt: skip
BY_PATH: Final = {route.path: route for route in ROUTES}


def interval_of(resolution: str) -> str:
    return RESOLUTIONS[_ALSO.get(resolution, resolution)]
