"""The aggregator process: gevent patches the standard library before anything else is imported."""

from gevent import monkey

monkey.patch_all(ssl=False)  # nothing here is encrypted, and importing it takes 4 MB

import sys

from wick.roles.aggregator import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
