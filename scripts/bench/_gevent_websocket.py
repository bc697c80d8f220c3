#!/usr/bin/env python3
"""gevent-websocket's server, in an environment of its own, for front_send.py: wick is not imported here.

    PYTHON_WITH_GEVENT_WEBSOCKET _gevent_websocket.py    says {"port"}; told on stdin what to do, answers a JSON line

A number: `ws.send` of so many bytes to every client; the answer: {"clients", "ns"}, nanoseconds of the processor.
"""

from gevent import monkey

monkey.patch_all()

import json
import sys
import time

import gevent
from gevent import pywsgi
from gevent.fileobject import FileObject
from geventwebsocket.handler import WebSocketHandler

clients = []


def serve(environ, start_response):
    socket = environ["wsgi.websocket"]
    clients.append(socket)
    while socket.receive() is not None:
        pass
    clients.remove(socket)
    return []


def main():
    server = pywsgi.WSGIServer(("127.0.0.1", 0), serve, handler_class=WebSocketHandler, log=None, backlog=4096)
    server.start()
    print(json.dumps({"port": server.server_port}), flush=True)
    for line in FileObject(sys.stdin.fileno(), "r", close=False):
        payload = bytes(int(line))
        gevent.sleep(0)
        began = time.thread_time_ns()
        for socket in clients:
            socket.send(payload, True)
        took = time.thread_time_ns() - began
        print(json.dumps({"clients": len(clients), "ns": took}), flush=True)


if __name__ == "__main__":
    main()
