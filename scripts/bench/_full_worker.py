"""The worker of resident.py: the real one, which also says what is resident at each stage of filling up.

It imports nothing that `services/aggregator.py` does not. `python _full_worker.py PAIRS [options]`: when so many pairs
have traded, it touches what months would fill (the rows of candles that can be corrected: 19 of each interval). Each
line that it prints is a stage, in JSON.
"""

# ruff: noqa: E402 (gevent has to patch before anything else is imported)

from gevent import monkey

monkey.patch_all(ssl=False)

import json
import sys
from pathlib import Path
from typing import Any

from wick.ops.settings import Settings
from wick.roles.aggregator import Aggregator
from wick.roles.base import run_role


def say(stage: str, **more: Any) -> None:
    words = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    found = {name.rstrip(":"): int(rest[0]) / 1024 for name, *rest in words if name in ("VmRSS:", "VmHWM:")}
    print(json.dumps({"stage": stage, "mb": found["VmRSS"], "peak_mb": found["VmHWM"], **more}), flush=True)


class Full(Aggregator):
    pairs_wanted = 0
    is_full = False

    def __init__(self, settings: Settings, index: int) -> None:
        say("python, imports")
        super().__init__(settings, index)

    def _begin(self) -> None:
        super()._begin()
        say("warm-up", bytes=sum(array.nbytes for bank in self.processor.banks for array in bank._arrays))

    def _flush(self) -> None:
        super()._flush()
        if not self.is_full and sum(len(shard.pairs) for shard in self.shards.values()) == self.pairs_wanted:
            self.is_full = True
            say("pairs")
            self._fill()

    def _fill(self) -> None:
        held = [lockstep.held for shard in self.shards.values() for lockstep in shard.locksteps.values()]
        for one in held:
            one.rows[: one.pairs * one.block] += 0
        say("candles held", bytes=sum(one.pairs * one.block * one.rows[0].nbytes for one in held))

    def drain(self) -> None:
        say("after the burst")
        super().drain()


if __name__ == "__main__":
    Full.pairs_wanted = int(sys.argv[1])
    sys.exit(run_role(Full, sys.argv[2:]))
