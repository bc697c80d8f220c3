"""Kills at random moments under load, and then: is every candle what it would have been? See docs/storage.md.

    .venv/bin/python scripts/chaos.py --kills 200 --seed 1

Real processes, each of which is killed with SIGKILL and started again: feed, workers, sink, fronts, with --postgres and
--redis these too, and all of wick at once when the power goes. Ends with 1 where anything was lost, doubled or wrong.
The folder stays where it failed.
"""

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.chaos.herd import Server
from tests.chaos.run import chaos
from tests.servers.postgres import Postgres, database
from tests.servers.redis import Redis


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--every", type=float, default=2.5, help="seconds between them, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--symbols", type=int, default=20, help="a start of the feed costs REST weight for each")
    parser.add_argument("--rate", type=float, default=5800, help="trades a second; each has 2.5 quotes with it")
    parser.add_argument("--victims", default="", help="names by commas; blank: all")
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL of our own instead of SQLite")
    parser.add_argument("--redis", action="store_true", help="and a Redis of our own")
    parser.add_argument("--drain", type=float, default=240, help="seconds to wait for backfills at the end")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of docs/settings.md"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    settings = dict(one.replace(".", "_").upper().split("=", 1) for one in options.set)
    folder = Path(tempfile.mkdtemp(prefix="wick-chaos-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    print(f"seed {options.seed}, in {folder}", flush=True)
    with ExitStack() as held:
        servers: dict[str, Server] = {}
        if options.postgres:
            servers["database"] = postgres = Postgres()
            held.callback(postgres.close)
            settings["STORE_URL"] = held.enter_context(database(postgres.url("postgres")))
        if options.redis:
            servers["redis"] = redis = Redis()
            held.callback(redis.close)
            settings["REDIS_URL"] = redis.url
        verdict = chaos(
            folder, kills=options.kills, every_s=options.every, seed=options.seed, symbols=options.symbols,
            rate=options.rate, victims=[name for name in options.victims.split(",") if name] or None,
            drain_s=options.drain, say=say, servers=servers, **settings,
        )  # fmt: skip
    print(verdict)
    if not verdict.faults and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
