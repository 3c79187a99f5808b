"""A real Chromium that tests drive by its own protocol (Chrome DevTools Protocol), with a camera that shows a clock.

One process serves a whole module. Each person has a context of his own: nothing of one is known to another.
"""

import asyncio
import base64
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest

from tests.e2e.browser_page import FLAGS, browser_program

__all__ = ["Chromium", "Flow", "Tab", "chromium"]

MEDIA = (
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    # Otherwise a page that nobody looks at is slowed down, and others must look for *.local by multicast.
    *("--disable-renderer-backgrounding", "--disable-background-timer-throttling"),
    *("--disable-backgrounding-occluded-windows", "--disable-features=WebRtcHideLocalIpsWithMdns"),
    "--autoplay-policy=no-user-gesture-required",
)
# What a page says of its calls is not taken on trust: its connections are asked.
WITNESS = """
window.links = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.links.push(this); }
};
"""
FLOW = """
(async () => {
  const ends = [];
  for (const link of window.links.filter((one) => one.connectionState === "connected")) {
    const way = link.localDescription.sdp.match(/a=ice-ufrag:(.*)/)[1].trim();
    const end = { packets: 0, pictures: 0, samples: 0, energy: 0, way };
    for (const report of (await link.getStats()).values()) {
      if (report.type !== "inbound-rtp") continue;
      end.packets += report.packetsReceived;
      end.pictures += report.framesDecoded ?? 0;
      end.samples += (report.totalSamplesReceived ?? 0) - (report.concealedSamples ?? 0);
      end.energy += report.totalAudioEnergy ?? 0;
    }
    ends.push(end);
  }
  return ends;
})()
"""
START_S = 60.0
ANSWER_S = 30.0
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection. ``samples`` of sound, 48,000 a second, were decoded and not made up; ``way`` names its ICE.

    ``energy``: of the sound, which silence has none of.
    """

    packets: int
    pictures: int
    samples: int
    energy: float
    way: str


class Chromium:
    """One browser; ``tab`` opens a page in a context of its own."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last_id = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []

    async def send(self, method: str, *, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command and its result."""
        self._last_id += 1
        answer = self._answers[self._last_id] = asyncio.get_running_loop().create_future()
        message = {"id": self._last_id, "method": method, "params": params}
        await self._socket.send_json(message if session is None else message | {"sessionId": session})
        said = await asyncio.wait_for(answer, ANSWER_S)
        assert "error" not in said, (method, said["error"])
        result: dict[str, Any] = said["result"]
        return result

    async def read(self) -> None:
        """Take what the browser says until it ends."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif said["method"] in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                self.events.append(said)

    async def tab(self, url: str) -> "Tab":
        """A new person's page."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = (await self.send("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = Tab(self, context, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.send(f"{domain}.enable")
        await tab.send("Page.addScriptToEvaluateOnNewDocument", source=WITNESS)
        await tab.send("Page.navigate", url=url)
        await tab.until("location.protocol === 'http:' && document.readyState === 'complete'")
        return tab


class Tab:
    """A page."""

    def __init__(self, browser: Chromium, context: str, session: str) -> None:
        self._browser = browser
        self._context = context
        self._session = session

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._browser.send(method, session=self._session, **params)

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        said = await self.send("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def until(self, script: str) -> Any:
        """The value of an expression, as soon as it is something."""
        async with asyncio.timeout(PATIENCE_S):
            while not (value := await self.run(script)):  # noqa: ASYNC110  # polling: a page tells nobody what it shows
                await asyncio.sleep(0.05)
        return value

    async def click(self, selector: str) -> None:
        """Click what is there and shown, as soon as it is."""
        query = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{query}?.checkVisibility() && !{query}.disabled")
        await self.run(f"{query}.click()")

    async def text(self, selector: str) -> str:
        found: str = await self.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")
        return found

    async def flow(self) -> list[Flow]:
        """What has come in over each of its connections that stand."""
        return [Flow(**end) for end in await self.run(FLOW)]

    async def other_network(self) -> None:
        """The machine is without a network for a moment, as the page sees it."""
        for is_off in (True, False):
            limits = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
            await self.send("Network.emulateNetworkConditions", offline=is_off, **limits)
            await self.until(f"navigator.onLine === {json.dumps(not is_off)}")

    async def screenshot(self, file: Path) -> None:
        """What it looks like."""
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(shot["data"]))

    async def close(self) -> None:
        """The person is gone."""
        await self._browser.send("Target.disposeBrowserContext", browserContextId=self._context)

    @property
    def complaints(self) -> list[str]:
        """What went wrong in the page: exceptions, and what the browser would not load."""
        return [str(event["params"]) for event in self._browser.events if event.get("sessionId") == self._session]


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """A browser that is there, and gone afterwards."""
    program, environ = await browser_program()
    with TemporaryDirectory(prefix="auricle-chromium-", ignore_cleanup_errors=True) as home:
        profile = Path(home) / "profile"
        process = await asyncio.create_subprocess_exec(
            *(program, *FLAGS, *MEDIA, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            env={**os.environ, "HOME": home, **environ},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(START_S):
                while (address := _address(profile / "DevToolsActivePort")) is None:
                    if process.returncode is not None:
                        pytest.skip("the Chromium that was found does not start here")
                    await asyncio.sleep(0.05)  # polling: it tells nobody
            async with aiohttp.ClientSession() as http, http.ws_connect(address, max_msg_size=2**26) as socket:
                browser = Chromium(socket)
                reading = asyncio.get_running_loop().create_task(browser.read())
                try:
                    yield browser
                finally:
                    reading.cancel()
        finally:
            # Its helpers are processes of their own, in its session.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _address(file: Path) -> str | None:
    lines = file.read_text().splitlines() if file.exists() else []
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}" if len(lines) == 2 else None
