"""Kills at random moments under load, and then: is every candle what it would have been? See docs/storage.md.

    .venv/bin/python scripts/chaos.py --kills 200 --seed 1

Real processes, each of which is killed with SIGKILL and started again: feed, workers, sink, fronts, and with --database
and --redis these too. Ends with 1 where anything was lost, doubled or wrong. The folder stays where it failed.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.chaos.run import chaos


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--every", type=float, default=2.5, help="seconds between them, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--symbols", type=int, default=40)
    parser.add_argument("--rate", type=float, default=5800, help="trades a second; each has 2.5 quotes with it")
    parser.add_argument("--victims", default="", help="names by commas; blank: all")
    parser.add_argument("--drain", type=float, default=240, help="seconds to wait for backfills at the end")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="wick-chaos-"))
    began = time.monotonic()
    print(f"seed {options.seed}, in {folder}", flush=True)
    verdict = chaos(
        folder, kills=options.kills, every_s=options.every, seed=options.seed, symbols=options.symbols,
        rate=options.rate, victims=[name for name in options.victims.split(",") if name] or None,
        drain_s=options.drain, say=lambda text: print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True),
    )  # fmt: skip
    print(verdict)
    if not verdict.faults and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
