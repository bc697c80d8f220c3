"""Debian's chromium, headless, driven through the Chrome DevTools Protocol over one WebSocket: no driver to install."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

# The background flags keep chromium from asking for its own hosts: nothing but the page may be on the wire.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-port=0",
)  # fmt: skip
START_S = 60.0
ANSWER_S = 60.0
POLL_S = 0.05
KEYS = {"ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, "Enter": 13, "Escape": 27, "End": 35}


def executable() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def until(look: Callable[[], Any], what: str, timeout_s: float) -> Any:
    """What `look` gives as soon as that is truthy; AssertionError says what did not come."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what} (last: {found!r})")
        time.sleep(POLL_S)
    return found


class Page:
    """One tab. Everything that it says on its console or asks the network for is kept."""

    def __init__(self, connection: ClientConnection, session_id: str) -> None:
        self._connection = connection
        self._session_id = session_id
        self._last_id = 0
        self.errors: list[str] = []
        self.urls: list[str] = []
        self.loads = 0
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a DevTools command; events that come before it are noted."""
        self._last_id += 1
        command = {"id": self._last_id, "method": method, "params": params, "sessionId": self._session_id}
        self._connection.send(json.dumps(command))
        while True:
            message = json.loads(self._connection.recv(timeout=ANSWER_S))
            if message.get("id") != self._last_id or message.get("sessionId") != self._session_id:
                self._note(message)
            elif "error" in message:
                raise RuntimeError(f"{method}: {message['error']}")
            else:
                return dict(message["result"])

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                said = " ".join(str(a.get("value", a.get("description"))) for a in params["args"])
                self.errors.append(f"console.{params['type']}: {said}")
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.errors.append(f"exception: {details.get('exception', {}).get('description', details['text'])}")
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                entry = params["entry"]
                self.errors.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
            case "Network.requestWillBeSent":
                self.urls.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.urls.append(params["url"])
            case "Page.loadEventFired":
                self.loads += 1

    def close(self) -> None:
        self.call("Page.close")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression (a promise is awaited)."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, timeout_s: float = 60.0) -> Any:
        """The value of `condition` as soon as that is truthy."""
        attempt = f"(() => {{ try {{ return {condition} }} catch {{ return null }} }})()"
        return until(lambda: self.evaluate(attempt), condition, timeout_s)

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 0, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _centre(self, selector: str) -> tuple[float, float]:
        quoted = json.dumps(selector)
        box = self.wait_for(
            f"(({{x, y, width, height}}) => width && [x + width / 2, y + height / 2])"
            f"(document.querySelector({quoted}).getBoundingClientRect())"
        )
        return box[0], box[1]

    def move_to(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        x, y = self._centre(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        def mouse(kind: str, x: float, y: float, buttons: int) -> None:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

        mouse("mousePressed", *start, 1)
        for step in range(1, steps + 1):
            share = step / steps
            mouse("mouseMoved", start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share, 1)
        mouse("mouseReleased", *end, 0)

    def press(self, key: str) -> None:
        code = {"windowsVirtualKeyCode": KEYS[key]} if key in KEYS else {"text": key}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text: str) -> None:
        for letter in text:
            self.press(letter)


class Chromium:
    """A running chromium; `page()` opens a tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 1_000_000  # the browser's own commands, apart from those of the tabs

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last_id += 1
        self._connection.send(json.dumps({"id": self._last_id, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=ANSWER_S))
            if message.get("id") == self._last_id:
                return dict(message["result"])

    def page(self) -> Page:
        """A tab of its own, which knows nothing of what the others have stored."""
        context = self._call("Target.createBrowserContext")["browserContextId"]
        target = self._call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self._connection, session)


@contextmanager
def running(profile: Path, program: str | None = None) -> Iterator[Chromium]:
    """Starts chromium with the empty profile folder `profile`, and ends it and all its children."""
    command = [program or executable() or "chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        port_file = profile / "DevToolsActivePort"

        def address() -> list[str]:
            assert process.poll() is None, f"chromium ended with {process.returncode}"
            lines = port_file.read_text().split() if port_file.exists() else []
            return lines if len(lines) == 2 else []

        port, path = until(address, "chromium's debugging port", START_S)
        with connect(
            f"ws://127.0.0.1:{port}{path}", max_size=None, compression=None, proxy=None, ping_interval=None
        ) as connection:
            yield Chromium(connection)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
