"""The feed process: gevent patches the standard library before anything else is imported."""

from gevent import monkey

monkey.patch_all()

import sys

from wick.roles.feed import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
