"""What the disk and the database do to wick: it says so, goes on, and in the end every candle is what it would be.

Each trouble comes over a system of its own; they run at the same time, since most of that they wait. `lived_through`
compares all that is stored with the exchange's own market, and a client with a new one.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.chaos.herd import Herd
from tests.chaos.run import Verdict, lived_through
from tests.servers.postgres import NoServerError, Postgres, database
from wick.storage.checkpoints import GENERATIONS

pytestmark = pytest.mark.slow

DISK_MB = 48
AWAY_S = 5.0
DRAIN_S = 120.0
Trouble = Callable[[ExitStack], Verdict]


def short_folder(held: ExitStack) -> Path:
    """Sockets live there: their paths are short."""
    return Path(held.enter_context(TemporaryDirectory(prefix="wick-", ignore_cleanup_errors=True)))


# ---------------------------------------------------------------------- the troubles


def database_away(held: ExitStack) -> Verdict:
    server = Postgres()
    held.callback(server.close)
    url = held.enter_context(database(server.url("postgres")))

    def trouble(herd: Herd) -> None:
        herd.wait_until(lambda: herd.said("sink-0", "state") == "running", "the sink has its store")
        until_turn_s = max(0, herd.turn_ms - herd.now_ms()) / 1000
        herd.kill("database", away_s=until_turn_s + AWAY_S)
        herd.wait_until(lambda: herd.now_ms() > herd.turn_ms + 3_000, "the month has turned")
        herd.wait_until(lambda: herd.said("sink-0", "state") == "store away", "the sink says that it is away")
        assert herd.said("sink-0", "waiting_rows") > 0
        held_back = {name: count for name, count in herd.most.items() if "held_back" in name or "push_dropped" in name}
        assert not any(held_back.values()), "nobody upstream waits"
        herd.wait_until(lambda: herd.is_whole, "the database is back")
        herd.wait_until(lambda: herd.said("sink-0", "state") == "running", "the sink has written what waited")

    return lived_through(short_folder(held), trouble, drain_s=DRAIN_S, servers={"database": server}, STORE_URL=url)


def disk_full(held: ExitStack) -> Verdict:
    folder, disk = short_folder(held), short_folder(held)
    mount = shutil.which("mount")
    if os.geteuid() or not mount:
        pytest.skip("a disk of its own needs root, to mount a tmpfs")
    command = [mount, "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a tmpfs")
    held.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=True)

    def trouble(herd: Herd) -> None:
        herd.sleep(2)
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file:
            while _writes(file, bytes(1 << 16)) or _writes(file, b"."):
                pass
        herd.wait_until(lambda: herd.said("feed-0", "ticklog_failed"), "the feed says that it logs nothing")
        herd.wait_until(lambda: herd.now_ms() > herd.turn_ms + 4_000, "the month has turned")
        herd.wait_until(lambda: herd.said("sink-0", "state") == "store away", "the sink cannot write")
        herd.wait_until(lambda: herd.most["aggregator-0.failed_checkpoints"], "a worker cannot save itself")
        filler.unlink()
        herd.wait_until(lambda: herd.said("sink-0", "state") == "running", "the sink writes again")
        herd.wait_until(lambda: "is written again" in herd.log("feed-0"), "the feed says that it logs again")
        herd.hear("feed-0")
        before = herd.said("feed-0", "ticklog_failed")
        herd.sleep(1)
        herd.hear("feed-0")
        assert herd.said("feed-0", "ticklog_failed") == before, "the feed logs again"
        assert herd.kills == {} and herd.deaths == []

    return lived_through(folder, trouble, drain_s=DRAIN_S, data_dir=disk, AGGREGATOR_CHECKPOINT_S=2)


def _writes(file: Any, data: bytes) -> bool:
    try:
        return bool(file.write(data))
    except OSError:
        return False


def store_corrupted(held: ExitStack) -> Verdict:
    folder = short_folder(held)
    store = folder / "candles.sqlite"

    def trouble(herd: Herd) -> None:
        herd.wait_until(lambda: herd.said("sink-0", "rows") > 50, "something is stored")
        herd.kill("sink-0", away_s=1.0)
        with closing(sqlite3.connect(store)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            page_bytes, pages = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count"))
        with store.open("r+b") as file:
            file.seek(page_bytes)
            file.write(os.urandom(page_bytes * (pages - 1)))
        herd.wait_until(lambda: herd.said("sink-0", "state") == "store broken", "the sink says that it is broken")
        said = herd.log("sink-0")
        assert f"wick store verify sqlite:{store}" in said, f"it names the file, and what to type:\n{said[-2000:]}"
        for file in folder.glob("candles.sqlite*"):
            file.rename(folder / f"away-{file.name}")
        herd.wait_until(lambda: herd.said("sink-0", "state") == "running", "the sink begins a new one by itself")

    return lived_through(folder, trouble, drain_s=DRAIN_S)


def checkpoints_damaged(held: ExitStack) -> Verdict:
    folder = short_folder(held)

    def trouble(herd: Herd) -> None:
        workers = ("aggregator-0", "aggregator-1")
        herd.wait_until(lambda: all(herd.said(one, "checkpoints") > 40 for one in workers), "all is saved twice")
        for worker in workers:
            herd.kill(worker, away_s=0.5)
        for number, shard in enumerate(sorted((folder / "shards").iterdir())):
            newest = max(shard.glob(GENERATIONS), default=None)
            if newest is not None and number % 3 == 0:
                os.truncate(newest, newest.stat().st_size * 2 // 3)
            elif newest is not None and number % 3 == 1:
                data = bytearray(newest.read_bytes())
                data[len(data) // 2] ^= 0xFF
                newest.write_bytes(data)
        herd.wait_until(lambda: herd.is_whole and herd.runs(), "the workers run again")

    return lived_through(folder, trouble, drain_s=DRAIN_S, AGGREGATOR_CHECKPOINT_S=1)


TROUBLES: dict[str, Trouble] = {
    "the database is away": database_away,
    "the disk is full": disk_full,
    "the store is corrupted": store_corrupted,
    "checkpoints are damaged": checkpoints_damaged,
}


def _live(trouble: Trouble) -> Verdict:
    with ExitStack() as held:
        return trouble(held)


@pytest.fixture(scope="module")
def lives() -> Iterator[dict[str, Future[Verdict]]]:
    with ThreadPoolExecutor(len(TROUBLES)) as pool:
        yield {name: pool.submit(_live, trouble) for name, trouble in TROUBLES.items()}


@pytest.mark.parametrize("name", TROUBLES)
def test_when(name: str, lives: dict[str, Future[Verdict]], record_property: Any) -> None:
    try:
        verdict = lives[name].result()
    except NoServerError as error:
        pytest.skip(str(error))
    record_property("said", f"{name}:\n{verdict}")
    assert verdict.faults == []
    assert verdict.candles >= 8 * 12, "every interval has closed, of every pair"
