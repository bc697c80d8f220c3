#!/usr/bin/env python3
"""All benchmarks, one after the other; options go to each of them.

    .venv/bin/python scripts/bench/all.py [--quick] [--results FILE]

Nothing else should run on the machine meanwhile: it takes about an hour and a half, an hour of it soak.py.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return 0
    failed = []
    for path in sorted(HERE.glob("*.py")):
        if path.stem.startswith("_") or path == Path(__file__):
            continue
        print(f"\n== {path.stem}", flush=True)
        if subprocess.run([sys.executable, str(path), *sys.argv[1:]], check=False).returncode:
            failed.append(path.stem)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
