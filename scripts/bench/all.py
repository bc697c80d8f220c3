#!/usr/bin/env python3
"""All benchmarks, one after the other, or those whose names begin as given; at the end a table of all targets.

    .venv/bin/python scripts/bench/all.py [NAME ...] [--quick] [--results FILE]
    .venv/bin/python scripts/bench/all.py front        # the six of the front: half an hour

Nothing else should run on the machine meanwhile: all of them take about two hours, an hour of it soak.py.
"""

import re
import subprocess
import sys
from pathlib import Path

import _common as common

HERE = Path(__file__).parent
TARGET = re.compile(r"target: (.*) ([<>]=) (\S+): (\S+), (met|MISSED)$")  # as common.finish says it


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("names", nargs="*", default=[""])
    args = parser.parse_args()
    options = ["--quick"] * args.quick + (["--results", str(args.results)] if args.results else [])
    failed, targets = [], []
    for path in sorted(HERE.glob("*.py")):
        if path.stem.startswith("_") or path == Path(__file__) or not path.stem.startswith(tuple(args.names)):
            continue
        print(f"\n== {path.stem}", flush=True)
        with subprocess.Popen([sys.executable, str(path), *options], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                if found := TARGET.match(line.rstrip()):
                    what, sign, limit, value, verdict = found.groups()
                    targets.append((path.stem, what, f"{sign} {limit}", value, verdict))
        if process.returncode:
            failed.append(path.stem)
    print()
    common.table(["benchmark", "what", "target", "measured", ""], targets)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
