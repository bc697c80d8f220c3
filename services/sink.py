"""The sink process: without gevent patches, since a database driver waits for real."""

import sys

from wick.roles.sink import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
