"""`python -m wick` is `wick`."""

from wick.cli import main

raise SystemExit(main())
