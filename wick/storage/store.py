"""What a store of closed candles is, whichever database is behind it, and which one an address names.

Every store passes tests/storage/test_conformance.py. Rows are CANDLE_FIELDS; a store gives REAL values back to the
resolution that `market.stored` declares, and everything else exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from wick.errors import SettingError
from wick.market.schema import Row
from wick.ops.settings import Settings

if TYPE_CHECKING:  # numpy comes into a process only with what writes
    from wick.storage.batch import Batch

END_MS = 2**63 - 1
Position = tuple[int, int]  # epoch, sequence
# What metrics are made of.
INPUTS: Final = (
    "open_time_ms", "close_time_ms", "price_decimals", "quantity_decimals", "open", "high", "low", "close",
    "quote_volume", "volume", "taker_buy_volume",
)  # fmt: skip


class Finding(NamedTuple):
    """What `verify` says of a store: `bad` where something is wrong, and the command that mends it, if one does."""

    text: str
    bad: bool = False
    mend: str = ""


class Store(Protocol):
    """One connection, used by one thread at a time. Every failure is a StoreError that names the address without its
    password: StoreAwayError where trying again later may help (no connection, a full disk, a lock)."""

    address: str  # without the password

    def take_over(self) -> int:
        """Become the writer: a number greater than that of any writer before, who from now on gets FencedError."""

    def write(self, batch: "Batch", positions: Mapping[str, Position]) -> None:
        """Candles and stream positions in one transaction. Of two rows of one candle the better one stands
        (`market.rows.rank`), so writing the same again, in any order, changes nothing."""

    def rest(self) -> None:
        """Nothing is to be written just now: the time for what a store has put off."""

    def positions(self) -> dict[str, Position]:
        """How far each stream is written."""

    def candles(
        self,
        venue: str,
        symbol: str,
        interval: str,
        limit: int,
        before_ms: int = END_MS,
        from_ms: int = 0,
        *,
        oldest: bool = False,
        fields: Sequence[str] | None = None,
    ) -> list[Row]:
        """The newest `limit` rows that open in [from_ms, before_ms), or the `oldest`, in order; of `fields` if told."""

    def inputs(
        self, venue: str, symbol: str, interval: str, limit: int, before_ms: int = END_MS
    ) -> list[tuple[int, ...]]:
        """INPUTS of the newest `limit` closed candles that open before `before_ms`, oldest first; None is not known."""

    def symbols(self) -> list[tuple[str, str]]:
        """(venue, symbol) of every pair that has a candle, in order."""

    def status(self) -> dict[str, Any]:
        """What an operator asks first: kind, version, bytes, per interval: rows, oldest, newest; positions."""

    def verify(self) -> Iterator[Finding]:
        """Look at all that is stored; gives progress as it goes."""

    def compact(self, keep_days: Mapping[str, float]) -> Iterator[str]:
        """Delete what is older than it is to be kept, and give the space back; says what it does."""

    def close(self) -> None: ...


def url_of(settings: Settings) -> str:
    """The address in force."""
    return str(settings["store.url"] or f"sqlite:{Path(settings['core.data_dir']) / 'candles.sqlite'}")


def path_of(settings: Settings) -> Path:
    """The SQLite file of an address that names one."""
    return Path(url_of(settings).removeprefix("sqlite:"))


def open_store(url: str, read_only: bool = False) -> Store:
    """Connect, and make or migrate the schema, unless `read_only`."""
    kind, _, rest = url.partition(":")
    if kind == "sqlite":
        from wick.storage.sqlite import SqliteStore

        return SqliteStore(rest, read_only)
    if kind in ("postgresql", "postgres"):
        from wick.storage.postgres import PostgresStore

        return PostgresStore(url, read_only)
    raise SettingError(f"store.url = {url!r} is wrong: valid is what begins with sqlite: or postgresql://")
