#!/usr/bin/env python3
"""gevent-websocket's server, in an environment of its own, for front_send.py: wick is not imported here.

    PYTHON_WITH_GEVENT_WEBSOCKET _gevent_websocket.py    says {"port"}; told on stdin what to do, answers a JSON line

{"way", "topics", "size"}: tell every client about so many topics of its own, in messages of so many bytes:
- ready: one `ws.send` of as many bytes as the messages have, the same for all
- encoded: one `ws.send` of the messages of its topics, packed for it
- topics: a `ws.send` for each topic, packed once
The answer: {"clients", "ns"}, nanoseconds of the processor.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402 (patched first)
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402
import msgpack  # noqa: E402
from gevent import pywsgi  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402
from geventwebsocket.handler import WebSocketHandler  # noqa: E402

TOPICS = 300
clients = []


def serve(environ, start_response):
    socket = environ["wsgi.websocket"]
    clients.append(socket)
    while socket.receive() is not None:
        pass
    clients.remove(socket)
    return []


def messages(size):
    """Of each topic one, as wick's: kind, handle, position, step, changes of about as many bytes."""
    return [[4, topic, 100_000 + topic, 1, [0, 4095, *[1000] * ((size - 13) // 3)]] for topic in range(TOPICS)]


def tell(way, topics, some):
    if way == "ready":
        payload = msgpack.packb([9, *some[:topics]])
        for socket in clients:
            socket.send(payload, True)
    elif way == "encoded":
        for number, socket in enumerate(clients):
            socket.send(msgpack.packb([9, *[some[(number * 7 + at * 61) % TOPICS] for at in range(topics)]]), True)
    else:
        packed = [msgpack.packb(one) for one in some]
        for number, socket in enumerate(clients):
            for at in range(topics):
                socket.send(packed[(number * 7 + at * 61) % TOPICS], True)


def main():
    server = pywsgi.WSGIServer(("127.0.0.1", 0), serve, handler_class=WebSocketHandler, log=None, backlog=4096)
    server.start()
    print(json.dumps({"port": server.server_port}), flush=True)
    for line in FileObject(sys.stdin.fileno(), "r", close=False):
        asked = json.loads(line)
        some = messages(asked["size"])
        gevent.sleep(0)
        began = time.thread_time_ns()
        tell(asked["way"], asked["topics"], some)
        took = time.thread_time_ns() - began
        print(json.dumps({"clients": len(clients), "ns": took}), flush=True)


if __name__ == "__main__":
    main()
