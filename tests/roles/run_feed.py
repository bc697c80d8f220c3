"""Runs a feed for a test with addresses of its own for each venue, as no setting gives them: argv[1] is JSON,
{venue: port}. The rest is the feed's."""

import json
import sys

from gevent import monkey


def main() -> int:
    monkey.patch_all()
    from wick import exchanges
    from wick.roles import feed

    for venue_id, port in json.loads(sys.argv[1]).items():
        venue = exchanges.load(venue_id)
        venue.ws_url, venue.rest_url = f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"
    return feed.main(sys.argv[2:])


sys.exit(main())
