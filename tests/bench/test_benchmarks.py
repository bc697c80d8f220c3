"""Every benchmark works: a quick run of it ends well, says of each target whether it is met, and leaves its record."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
RECORDINGS = BENCH.parents[2] / "shared" / "data" / "binance-spot"
NAMES = sorted(path.stem for path in BENCH.glob("*.py") if not path.stem.startswith("_") and path.stem != "all")
TIMESCALE = BENCH.parents[1] / ".venv" / "timescale"
NEED_RECORDINGS = {"candles_offline", "diff_bytes", "front_bytes"}

pytestmark = pytest.mark.slow


def run(name: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCH / f"{name}.py"), *options], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_run_measures_and_is_recorded_where_it_is_asked_to_be(name: str, tmp_path: Path) -> None:
    if name in NEED_RECORDINGS and not RECORDINGS.is_dir():
        pytest.skip("../shared/data, the recordings, is not here")
    if name == "timescale" and not (shutil.which("node") and TIMESCALE.is_dir()):
        pytest.skip("no TimescaleDB here: it needs node, and scripts/setup --test")
    record = tmp_path / "results.jsonl"
    before = (BENCH / "results.jsonl").read_bytes()
    said = run(name, "--quick", "--results", str(record))
    told = [line for line in said.splitlines() if line.startswith("target: ")]
    assert told and all(line.endswith((", met", ", MISSED")) for line in told)
    (line,) = record.read_text().splitlines()
    result = json.loads(line)
    assert result["bench"] == name and result["quick"] and len(result["targets"]) == len(told)
    assert (BENCH / "results.jsonl").read_bytes() == before
