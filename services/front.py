"""The front process, without gevent patches: all that it waits for is gevent's own, and they would cost 5 MB."""

import sys

from wick.roles.front import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
