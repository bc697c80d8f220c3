"""The page's modules in node: their own tests, and the interval table against the engine's."""

import json
import shutil
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from wick.market.intervals import INTERVALS

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "wick" / "web"
MODULES = sorted(path.name for path in HERE.glob("*.test.mjs"))
# Two leap days and a year's end among them.
MOMENTS_MS = [0, 951_782_400_000, 1_709_251_199_999, 1_795_384_089_123, 1_798_761_599_999]

node = shutil.which("node")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(node is None, reason="there is no node on this machine")]


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(node), *arguments], check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def runs() -> dict[str, Future[subprocess.CompletedProcess[str]]]:
    """The modules' tests, side by side."""
    with ThreadPoolExecutor(len(MODULES)) as pool:
        tests = ["--test", "--test-reporter=tap"]
        return {name: pool.submit(run_node, *tests, str(HERE / name)) for name in MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_does_what_its_own_tests_say(
    runs: dict[str, Future[subprocess.CompletedProcess[str]]], name: str
) -> None:
    done = runs[name].result()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n# fail 0\n" in done.stdout
    assert "\n# pass 0\n" not in done.stdout


def test_candles_close_when_the_engine_closes_them() -> None:
    asked = [(interval.name, interval.open_ms(moment)) for interval in INTERVALS for moment in MOMENTS_MS]
    script = (
        f"import {{ closeMs }} from {json.dumps((WEB / 'intervals.js').as_uri())};"
        f"console.log(JSON.stringify({json.dumps(asked)}.map(([name, open]) => closeMs(name, open))))"
    )
    done = run_node("--input-type=module", "--eval", script)
    assert done.returncode == 0, done.stderr
    closes = {interval.name: interval.close_ms for interval in INTERVALS}
    assert json.loads(done.stdout) == [closes[name](open_ms) for name, open_ms in asked]
