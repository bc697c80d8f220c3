"""What a setting is: its type, its bounds and their wording, and how a text or a TOML value becomes one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from wick.errors import ParseError
from wick.market.numbers import parse_decimal

TEXT, INTEGER, NUMBER, BOOLEAN, LIST, SPEED = "text", "integer", "number", "boolean", "list", "speed"
DECIMAL = "decimal"

BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
# What TOML may give for each type. A boolean is an int to Python, and is turned away separately.
_TOML_TYPES: dict[str, tuple[type, ...]] = {
    TEXT: (str,),
    INTEGER: (int,),
    NUMBER: (int, float),
    BOOLEAN: (bool,),
    LIST: (str, list),
    SPEED: (str, int, float),
    DECIMAL: (str, int, float),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A declared setting.

    `least` and `most` bound a number. `choices` (or a function that gives them) and `starts` bound a text, or
    each item of a list; `blank` says whether nothing at all is valid too.
    """

    name: str
    type: str
    default: Any
    help: str
    least: float = -math.inf
    most: float = math.inf
    choices: Sequence[str] | Callable[[], Sequence[str]] = ()
    starts: tuple[str, ...] = ()
    blank: bool = False

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return "WICK_" + self.name.replace(".", "_").upper()

    @property
    def option(self) -> str:
        """Its name on a command line."""
        return "--" + self.name.replace(".", "-").replace("_", "-")

    @property
    def valid(self) -> str:
        """What is valid, as the end of a sentence that begins with "valid is"."""
        if self.type == BOOLEAN:
            return "true or false"
        if self.type == SPEED:
            return 'a number above 0, or "max"'
        if self.type == DECIMAL:
            return "a plain decimal number above 0"
        if self.type in (INTEGER, NUMBER):
            noun = "a whole number" if self.type == INTEGER else "a number"
            return f"{noun} from {self.least:g} to {self.most:.0f}"
        words = " or ".join(self._choices())
        if self.starts:
            words = "what begins with " + " or ".join(self.starts)
        if self.type == LIST:
            words = f"a list, separated by commas, of {words or 'names'}"
        if not words:
            return "any text" if self.blank else "any text that is not blank"
        return words + ", or blank" if self.blank else words

    def parse(self, text: str) -> Any:
        """The value that `text` stands for; ValueError when it is not valid."""
        text = text.strip()
        if self.type == BOOLEAN:
            if text.lower() not in BOOLEANS:
                raise ValueError
            return BOOLEANS[text.lower()]
        if self.type in (INTEGER, NUMBER):
            number = int(text) if self.type == INTEGER else float(text)
            if not self.least <= number <= self.most:  # NaN is outside too
                raise ValueError
            return number
        if self.type == SPEED:
            if text != "max" and not 0 < float(text) < math.inf:
                raise ValueError
            return text
        if self.type == DECIMAL:
            return _above_zero(text)
        if self.type == LIST:
            return self._items(text.split(","))
        self._check(text)
        return text

    def parse_toml(self, value: Any) -> Any:
        """Like `parse`, for a value that already has a type."""
        if isinstance(value, bool) != (self.type == BOOLEAN) or not isinstance(value, _TOML_TYPES[self.type]):
            raise ValueError
        if isinstance(value, list):
            if not all(isinstance(item, str) for item in value):
                raise ValueError
            return self._items(value)
        if self.type == DECIMAL and isinstance(value, float):
            value = f"{Decimal(str(value)):f}"  # TOML's 1e-5 is 0.00001
        return self.parse(str(value))

    def _items(self, words: Sequence[str]) -> tuple[str, ...]:
        items = tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
        for item in items or ("",):
            self._check(item)
        return items

    def _check(self, text: str) -> None:
        if not text:
            if not self.blank:
                raise ValueError
            return
        if (choices := self._choices()) and text not in choices:
            raise ValueError
        if self.starts and not text.startswith(self.starts):
            raise ValueError

    def _choices(self) -> Sequence[str]:
        return self.choices() if callable(self.choices) else self.choices


def _above_zero(text: str) -> str:
    try:
        mantissa, _ = parse_decimal(text)
    except ParseError as error:
        raise ValueError from error
    if not mantissa:
        raise ValueError
    return text


def as_text(value: Any) -> str:
    """The text that `parse` reads back as `value`."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
