"""A headless Chromium for tests, driven over a pipe by the DevTools protocol; no library needed."""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
_TIMEOUT_S = 60.0


def chromium_path() -> str | None:
    """Path of a Chromium on this machine, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Page:
    """One tab: sends commands, and keeps events until they are looked at."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._session: str | None = None
        self._last, self._buffer = 0, b""
        self.events: list[dict[str, Any]] = []

    def attach(self) -> None:
        """Open a tab and listen to what it logs, throws and loads."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Run a command and return its result."""
        self._last += 1
        message: dict[str, object] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def open(self, path: Path) -> float:
        """Load a file and return the seconds until it says that it is ready."""
        began = time.perf_counter()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.evaluate("document.documentElement?.dataset.ready === 'true'"):
            if time.perf_counter() - began > _TIMEOUT_S:
                raise TimeoutError(f"{path} was not ready; {self.errors()}")
            time.sleep(0.01)
        return time.perf_counter() - began

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Size of the window, and the colour scheme that it prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def mouse(self, kind: str, x: float, y: float, **more: object) -> None:
        """A mouse event, such as `mouseMoved` or `mousePressed`, at a place in the window."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def errors(self) -> list[str]:
        """What went wrong in the page so far: exceptions, errors on the console, refusals."""
        bad = []
        for event in self.events:
            method, values = event.get("method"), event.get("params", {})
            is_error = (
                method == "Runtime.exceptionThrown"
                or (method == "Runtime.consoleAPICalled" and values["type"] in ("error", "assert"))
                or (method == "Log.entryAdded" and values["entry"]["level"] == "error")
            )
            if is_error:
                bad.append(json.dumps(values)[:500])
        return bad

    def requests(self) -> list[str]:
        """Addresses that pages asked for."""
        sent = (e for e in self.events if e.get("method") == "Network.requestWillBeSent")
        return [event["params"]["request"]["url"] for event in sent]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], _TIMEOUT_S)[0]:
                raise TimeoutError("the browser did not answer")
            piece = os.read(self._from, 2**20)
            if not piece:
                raise ConnectionError("the browser has ended")
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextmanager
def browser(path: str, folder: Path) -> Iterator[Page]:
    """A tab of a Chromium of its own, whose profile is an empty folder."""
    read_commands, write_commands = os.pipe()
    read_answers, write_answers = os.pipe()
    # The browser reads from descriptor 3 and writes to 4, whatever numbers the pipes have here.
    script = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
    words = ["bash", "-c", script, "bash", path, *_FLAGS, f"--user-data-dir={folder}"]
    process = subprocess.Popen(
        words,
        pass_fds=(read_commands, write_answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        page = Page(write_commands, read_answers)
        page.attach()
        yield page
    finally:
        os.close(write_commands)
        os.close(read_answers)
        try:
            process.wait(10)  # it ends when the pipe is closed
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
