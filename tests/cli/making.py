"""Small recordings for tests: captures and dumps, made line by line."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

BASE_MS = 1_723_161_600_000  # 2024-08-09 00:00:00 UTC
RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "binance-spot"


def trade(
    trade_id: int, at_ms: int, price: str = "100.5", quantity: str = "2", symbol: str = "BTCUSDT", **other: Any
) -> str:
    """A trade's frame, `at_ms` after BASE_MS; the taker bought unless `m` says otherwise."""
    time = BASE_MS + at_ms
    data = {"e": "trade", "E": time + 1, "s": symbol, "t": trade_id, "p": price, "q": quantity, "T": time}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": {**data, "m": False, "M": True, **other}})


def depth(at_ms: int, symbol: str = "BTCUSDT") -> str:
    data = {"e": "depthUpdate", "E": BASE_MS + at_ms, "s": symbol, "U": 1, "u": 2, "b": [["1.5", "0"]], "a": []}
    return json.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": data})


def line(frame: str, at_ms: int) -> str:
    return f"{(BASE_MS + at_ms) * 1_000_000} {frame}"


def capture(path: Path, *frames: str | tuple[str, int]) -> Path:
    """A plain capture. A frame alone is received at once; with a time (ms after BASE_MS), then."""
    lines = [line(*frame) if isinstance(frame, tuple) else line(frame, 0) for frame in frames]
    path.write_text("".join(text + "\n" for text in lines))
    return path


def packed(path: Path, packing: str) -> Path:
    """The same content, gzipped or zipped, under a name that tells."""
    if packing == "csv":
        return path
    target = path.with_name(path.name + ".gz" if packing == "gz" else path.stem + ".zip")
    if packing == "gz":
        target.write_bytes(gzip.compress(path.read_bytes()))
    else:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, path.name)
        target.write_bytes(buffer.getvalue())
    path.unlink()
    return target
