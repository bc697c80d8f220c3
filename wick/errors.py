"""Every error that wick raises on purpose: one root, one named class a layer. Pure."""

from reprlib import Repr

# Bounded in depth as well: the text of a hostile nesting would exhaust the stack.
_SHORT = Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 80, 80, 80


def shown(value: object) -> str:
    """`value` as a short text, whatever came from outside."""
    return _SHORT.repr(value)[:200]


class WickError(Exception):
    """The root: whoever catches this catches all that wick can explain."""


class SettingError(WickError):
    """A setting has a value that it cannot have; the text names setting, value, origin and what is valid."""


class WireError(WickError):
    """A message between wick's own processes, or from a client, is not what its declaration says."""


class ProtocolError(WireError):
    """A client's request cannot be met: carries what the session's ERROR message needs.

    `valid`: what would be valid, choices or one description; they stand in the message too.
    """

    def __init__(self, code: str, field: str, value: object, message: str, valid: tuple[str, ...] = ()) -> None:
        choice = f"valid is {'one of ' if len(valid) > 1 else ''}{', '.join(valid)}" if valid else ""
        message = "; ".join(part for part in (message, choice) if part)
        super().__init__(message)
        self.code, self.field, self.message, self.valid = code, field, message, valid
        self.value = value[:200] if isinstance(value, str) else shown(value)


class ParseError(WickError):
    """Bytes from a venue or a file are not what the venue's format says.

    `reason` is a short stable word group (it is counted under that name), `field` and `value` say where and what.
    """

    def __init__(self, reason: str, field: str = "", value: object = "") -> None:
        text = shown(value) if value != "" else ""
        super().__init__(" ".join(part for part in (reason, field and f"in {field}:", text) if part))
        self.reason, self.field, self.value = reason, field, value


class StoreError(WickError):
    """A store or file cannot be read or written as asked."""


class StoreAwayError(StoreError):
    """A store cannot be reached or has no room now; the same may work later."""


class FencedError(StoreError):
    """Another writer has taken over the store: this one must not write any more."""
