"""What the gevent roles share: start, stats once a second, signals, a drained stop, and no silent death.

Any greenlet that fails ends the process with exit code 1, so that its supervisor starts it again.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import gevent
import zmq
from gevent.event import Event
from gevent.hub import signal as gevent_signal
from gevent.pool import Group

from wick.errors import SettingError
from wick.net import bus, endpoints
from wick.net.clock import now_ns
from wick.ops import logs
from wick.ops.process import ALREADY_RUNNING, AlreadyRunningError, Stats, hold_lock
from wick.ops.settings import Settings, exit_wrong, role_settings
from wick.wire.codec import pack
from wick.wire.messages import stats_topic

STATS_EVERY_S = 1.0

log = logging.getLogger("wick")


class Role:
    """A process in one role. A subclass spawns its greenlets in `start`, and finishes its work in `drain`."""

    name = ""
    main_counter = ""
    pub_kind: int = zmq.PUB

    def __init__(self, settings: Settings, index: int) -> None:
        self.settings, self.index = settings, index
        self.process = f"{self.name}-{index}"
        self.data_dir: str = settings["core.data_dir"]
        self.stats = Stats(self.process, now_ns())
        self.pub = bus.publisher(self.data_dir, self.process, self.pub_kind)
        self._greenlets = Group()
        self._stopping = Event()
        self._code = 0

    def start(self) -> None:
        raise NotImplementedError

    def drain(self) -> None:
        """Called once when the process is to stop, its greenlets have ended: finish what was taken on."""

    def gauges(self) -> dict[str, Any]:
        return {}

    def spawn(self, body: Callable[..., Any], *arguments: Any) -> "gevent.Greenlet[..., Any]":
        """Run `body` in a greenlet whose failure is the process's."""
        greenlet = self._greenlets.spawn(body, *arguments)
        greenlet.link_exception(self._failed)
        return greenlet

    def stop(self, code: int = 0) -> None:
        self._code = self._code or code
        self._stopping.set()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent_signal(number, self.stop)
        self.start()
        self.spawn(self._publish_stats)
        self._stopping.wait()
        self.stats.state = "stopping"
        log.info("stopping")
        self._greenlets.kill()
        self.drain()
        self.publish_stats()
        self.pub.close()
        log.info("stopped counters=%s", self.stats.counters)
        return self._code

    def publish_stats(self) -> None:
        message = self.stats.message(now_ns(), self.main_counter, self.gauges())
        self.pub.send_multipart([stats_topic(self.process), pack(message)])

    def _publish_stats(self) -> None:
        while True:
            gevent.sleep(STATS_EVERY_S)
            self.publish_stats()

    def _failed(self, greenlet: "gevent.Greenlet[..., Any]") -> None:
        log.critical("a greenlet failed: the process ends", exc_info=greenlet.exc_info)
        self.stop(1)


def run_role(role: type[Role], argv: Sequence[str]) -> int:
    """The body of a service's main: settings, log, lock, run; the exit code."""
    settings, index = role_settings(role.name, argv)
    process = f"{role.name}-{index}"
    logs.setup(process, settings["core.log_level"])
    try:
        lock = hold_lock(endpoints.run_dir(settings["core.data_dir"]), process)
        instance = role(settings, index)
    except AlreadyRunningError as error:
        print(f"{process}: {error}", file=sys.stderr)
        return ALREADY_RUNNING
    except SettingError as error:
        exit_wrong(process, error)
    with lock:
        log.info("started pid=%d", os.getpid())
        return instance.run()
