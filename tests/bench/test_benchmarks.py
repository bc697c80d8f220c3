"""Every benchmark works: a quick run of it ends well, says of each target whether it is met, and leaves its record."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
RECORDINGS = BENCH.parents[2] / "shared" / "data" / "binance-spot"
NAMES = sorted(path.stem for path in BENCH.glob("*.py") if not path.stem.startswith("_") and path.stem != "all")
TIMESCALE = BENCH.parents[1] / ".venv" / "timescale"
NEED_RECORDINGS = {"candles_offline", "diff_bytes", "front_bytes"}
Run = tuple[Path, "Future[str]"]  # where its record goes, and what it says

pytestmark = pytest.mark.slow


def run(name: str, record: Path) -> str:
    command = [sys.executable, str(BENCH / f"{name}.py"), "--quick", "--results", str(record)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lacks(name: str) -> str:
    """What a benchmark would need that is not here."""
    if name in NEED_RECORDINGS and not RECORDINGS.is_dir():
        return "../shared/data, the recordings, is not here"
    if name == "timescale" and not (shutil.which("node") and TIMESCALE.is_dir()):
        return "no TimescaleDB here: it needs node, and scripts/setup --test"
    return ""


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """Those that are asked for, two at a time: nobody looks at how fast they are."""
    names = [
        one.callspec.params["name"] for one in request.session.items if getattr(one, "module", 0) is request.module
    ]
    records = {name: tmp_path_factory.mktemp(name) / "results.jsonl" for name in names if not lacks(name)}
    pool = ThreadPoolExecutor(2)
    yield {name: (record, pool.submit(run, name, record)) for name, record in records.items()}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_run_measures_and_is_recorded_where_it_is_asked_to_be(name: str, runs: dict[str, Run]) -> None:
    if what := lacks(name):
        pytest.skip(what)
    before = (BENCH / "results.jsonl").read_bytes()
    record, running = runs[name]
    said = running.result()
    told = [line for line in said.splitlines() if line.startswith("target: ")]
    assert told and all(line.endswith((", met", ", MISSED")) for line in told)
    (line,) = record.read_text().splitlines()
    result = json.loads(line)
    assert result["bench"] == name and result["quick"] and len(result["targets"]) == len(told)
    assert (BENCH / "results.jsonl").read_bytes() == before
