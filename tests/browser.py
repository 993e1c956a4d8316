"""A headless Chromium that is driven over a pipe (Chrome DevTools Protocol), with the network off unless asked for."""

import base64
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--headless", "--no-sandbox", "--hide-scrollbars", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FLAGS += ["--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--disable-background-networking", "--force-color-profile=srgb"]
FLAGS += ["--host-resolver-rules=MAP *.example 127.0.0.1"]  # names of somebody else's that lead here


def find_browser() -> str | None:
    """The program, None if there is none."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


class Browser:
    """One tab of one browser; `errors` is everything that its console complained about, `requests` the addresses it asked for."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]

        def put_in_place() -> None:  # the browser reads its file descriptor 3 and writes 4
            for end, place in zip(high, (3, 4), strict=True):
                os.dup2(end, place)

        command = [program, "--remote-debugging-pipe", f"--user-data-dir={profile}", *FLAGS, "about:blank"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(3, 4), preexec_fn=put_in_place, **silent)
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        self._number, self._buffer, self._session = 0, b"", ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.network(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def network(self, on: bool) -> None:
        """Whether pages reach anything but files."""
        self.call("Network.emulateNetworkConditions", offline=not on, latency=0, downloadThroughput=-1, uploadThroughput=-1)

    def begin(self) -> None:
        """As it was when it was new: an empty page, the network off, no complaint."""
        self.open("about:blank", 320, 240)
        self.network(False)
        self.errors.clear()
        self.requests.clear()

    def open(self, address: str, width: int, height: int, touch: bool = False) -> None:
        """Show a page in a window of `width` x `height` pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.call("Page.navigate", url=address)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:400])
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = 60.0) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.ask(expression):
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{expression} is not true after {seconds} s; the page says {self.ask('document.body.innerText')[:300]!r}, {self.errors}"
                )
            time.sleep(0.05)

    def picture(self) -> np.ndarray[Any, Any]:
        """(H, W, 3) what the window shows, 0 to 1."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.float32) / 255

    def press(self, x: float, y: float) -> None:
        """A click of the left button at a place of the window, pixels."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="none" if kind == "mouseMoved" else "left", clickCount=1)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], 240)[0]:
                raise TimeoutError("the browser does not answer")
            chunk = os.read(self._from, 1 << 16)
            if not chunk:
                raise OSError("the browser is gone")
            self._buffer += chunk
        text, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(text)
        method, told = message.get("method"), message.get("params", {})
        if method in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            self.requests.append(told["request"]["url"] if "request" in told else told["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"])[:600])
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{told['entry']['level']}: {told['entry']['text'][:300]}")
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(f"{told['type']}: {json.dumps(told['args'])[:300]}")
        return message
