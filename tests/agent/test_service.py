"""What service managers and monitoring see: readiness, watchdog, /metrics, /healthz."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.agent.test_agent import BEFORE, fed
from weft.agent import http
from weft.agent.notify import Notifier
from weft.agent.status import Status
from weft.l2.fake import FakeDatapath
from weft.model.errors import WeftError

OUT = Status(node="h1", version="0", datapath="kernel", errors=("disk on fire",))
IN = msgspec.structs.replace(OUT, in_sync=True, errors=())


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(str(tmp_path / "notify"))
    made.setblocking(False)
    return made


def heard(manager: socket.socket) -> list[str]:
    found: list[str] = []
    while True:
        try:
            found += manager.recv(4096).decode().splitlines()
        except BlockingIOError:
            return found


def test_ready_is_said_once_with_the_first_in_sync(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.report(OUT)
    assert heard(manager) == ["STATUS=disk on fire"]
    notifier.report(IN)
    assert heard(manager) == ["STATUS=in sync", "READY=1"]
    notifier.report(IN)
    assert heard(manager) == []
    notifier.report(OUT)
    notifier.report(IN)
    assert heard(manager) == ["STATUS=disk on fire", "STATUS=in sync"]
    notifier.stopping()
    assert heard(manager) == ["STOPPING=1"]


def test_the_watchdog_is_fed_only_while_there_is_progress(manager: socket.socket) -> None:
    async def main() -> None:
        notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000"})
        going = [True]
        feeding = asyncio.create_task(notifier.feed(lambda: going[0]))
        while not heard(manager):
            await asyncio.sleep(0.001)
        going[0] = False
        heard(manager)
        await asyncio.sleep(0.05)
        assert heard(manager) == []
        feeding.cancel()
        for other in ({}, {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}):
            await asyncio.wait_for(Notifier(other).feed(lambda: True), 5)

    asyncio.run(main())


def test_without_a_manager_nothing_is_said() -> None:
    Notifier({}).report(IN)
    Notifier({"NOTIFY_SOCKET": "/nowhere"}).report(IN)
    assert Notifier({"NOTIFY_SOCKET": "@abstract"})._address == "\0abstract"


async def page(port: int, request: str) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head.splitlines()[0].removeprefix("HTTP/1.1 "), body


def test_pages(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        _, agent = await fed(BEFORE, FakeDatapath())
        server = await http.serve(agent, "0")
        port = server.sockets[0].getsockname()[1]
        assert server.sockets[0].getsockname()[0] == "127.0.0.1"
        assert await page(port, "GET /healthz") == ("503 Service Unavailable", "not in sync yet\n")
        agent.reconcile()
        assert await page(port, "GET /healthz") == ("200 OK", "ok\n")
        assert await page(port, "HEAD /healthz") == ("200 OK", "")
        assert (await page(port, "GET /"))[0] == "404 Not Found"
        assert (await page(port, "POST /metrics"))[0] == "405 Method Not Allowed"
        agent.contact.error = "the file is damaged"
        assert await page(port, "GET /healthz") == ("503 Service Unavailable", "store: the file is damaged\n")
        state, body = await page(port, "GET /metrics?x=1")
        assert state == "200 OK"
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }
        assert samples["weft_in_sync",] == 1
        assert samples["weft_store_up",] == 0
        assert samples["weft_objects", "segment", "planned"] == samples["weft_objects", "segment", "actual"] == 2
        assert samples["weft_objects", "fdb", "planned"] == 3
        assert samples["weft_port_receive_packets_total", "a"] == 0
        assert samples["weft_segment_transmit_bytes_total", "blue", "5000"] == 0
        assert samples["weft_drift_total",] == 0
        assert samples["process_resident_memory_bytes",] > 0
        with pytest.raises(WeftError, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            await http.serve(agent, f"127.0.0.1:{port}")
        server.close()

    asyncio.run(main())


@pytest.mark.parametrize("text", ["", "x", "1.2.3.4", "1.2.3.4:", "70000", ":x"])
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(WeftError, match="no address to listen on"):
        http.address(text)


def test_addresses() -> None:
    assert http.address(":9473") == ("127.0.0.1", 9473)
    assert http.address("[::1]:9473") == ("::1", 9473)
