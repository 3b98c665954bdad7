"""
The page of C{quebert dev} in a Chromium: what tasks do is seen, and what is pressed
happens to them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest

from quebert.operations._why_values import REASONS
from quebert.producer import BlockingProducer
from quebert.test.contract.patience import until
from quebert.test.page import MILLISECONDS, Browser, Tab
from quebert.test.why_situations import CONFIG, situations
from quebert.testing import free_port

_CONFIG = """
[queues.tasks]
key = "tasks.#"
retry = { max_attempts = 5, min_backoff = 1000, max_backoff = 1000 }

[queues.dying]
key = "dying.#"
retry = { max_attempts = 5 }
"""


class _Answers(BaseHTTPRequestHandler):
    """
    An executor that does what the path says.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    #: Lets the requests for C{/runs} end.
    ended = threading.Event()

    def do_POST(self) -> None:
        """
        Answer.
        """
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/runs":
            self.ended.wait(300)
        body = b"<b>no such customer</b>"
        self.send_response(500 if self.path == "/fails" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        """
        Clients may hang up.
        """
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *arguments: object) -> None:
        """
        Not on the terminal.
        """


class _Server(ThreadingHTTPServer):
    """
    For many connections at once.
    """

    request_queue_size = 512
    daemon_threads = True


@attrs.frozen
class DevCluster:
    """
    A C{quebert dev}.

    @ivar url: of its page.
    @ivar token: that may do everything.
    @ivar amqp_url: of its broker.
    @ivar one_at_once: a host that has one request at once, and the executor's answers.
    @ivar closed: a host to which nobody listens.
    """

    url: str
    token: str
    amqp_url: str
    one_at_once: str
    closed: str
    producer: BlockingProducer

    def pause(self, queue: str) -> None:
        """
        Pause a queue.
        """
        address = f"{self.url}/v1/queues/{queue}:pause"
        headers = {"Authorization": f"Bearer {self.token}"}
        asked = urllib.request.Request(address, method="POST", headers=headers)
        urllib.request.urlopen(asked).close()

    def asked(self, path: str) -> Any:
        """
        What the API answers.
        """
        with urllib.request.urlopen(f"{self.url}{path}") as answer:
            return json.load(answer)

    def says(self, address: str, reason: str) -> bool:
        """
        Whether that is the reason why a task waits.
        """
        return bool(self.asked(address)["reason"] == reason)

    def state(self, uuid: str) -> str:
        """
        What the history says of a task; empty if it knows none.
        """
        found = self.asked(f"/v1/tasks?q={uuid}")["tasks"]
        return str(found[0]["state"]) if found else ""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """
    One for all tests here.
    """
    folder = tmp_path_factory.mktemp("dev")
    servers = [_Server(("127.0.0.1", 0), _Answers) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    executor, one_at_once = (f"127.0.0.1:{each.server_port}" for each in servers)
    hosts = {"one_at_once": one_at_once, "closed": f"127.0.0.1:{free_port()}"}
    (folder / "q.toml").write_text(_CONFIG + CONFIG.format(**hosts))
    ports = ("--amqp-port", "0", "--http-port", "0", "--web-port", "0")
    command = [sys.executable, "-m", "quebert", "dev", "--memory", *ports]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--config", "q.toml", "--default-url", f"http://{executor}"],
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        yield _started(folder / "output", process, **hosts)
    finally:
        _Answers.ended.set()
        process.kill()
        process.wait()
        for server in servers:
            server.shutdown()
            server.server_close()


def _started(
    output: Path, process: subprocess.Popen[bytes], **hosts: str
) -> DevCluster:
    """
    Wait until it is ready.
    """
    until(
        lambda: "ready " in output.read_text() or process.poll() is not None,
        output.read_text,
    )
    said = output.read_text()
    page = re.search(r"page +(http\S+)/#token=(\S+)", said)
    broker = re.search(r"broker +(amqp\S+)", said)
    assert page, said
    assert broker, said
    producer = BlockingProducer(broker[1])
    return DevCluster(
        url=page[1], token=page[2], amqp_url=broker[1], producer=producer, **hosts
    )


@pytest.fixture
def tab(browser: Browser, cluster: DevCluster) -> Iterator[Tab]:
    """
    A tab for one test.
    """
    with browser.tab(cluster.url) as found:
        yield found


def test_burst(tab: Tab, cluster: DevCluster, expect: Any) -> None:
    """
    A burst of 5,000 tasks is seen live, to the unit; the history finds the last one.
    """
    page = tab.open("/queues/tasks", cluster.token)
    tab.settled()
    items = [{"url": f"/burst/{number}"} for number in range(5_000)]
    assert cluster.producer.add_tasks(items, lambda *result: None) == 5_000
    since = " 5,000 since you came"
    expect(page.locator(".pace")).to_contain_text(since, timeout=4 * MILLISECONDS)
    expect(page.locator(".attempts tbody tr:not(.vacant)")).to_have_count(20)
    page.locator("#find").fill("/burst/4999")
    page.keyboard.press("Enter")
    until(lambda: cluster.asked("/v1/tasks?url=/burst/4999")["tasks"])
    page.get_by_role("button", name="Find").click()
    page.locator(".tasks tbody a").first.click()
    expect(page.locator(".title .chip")).to_have_text("done")
    expect(page.locator(".story")).to_contain_text("200")


def test_pause_and_resume(tab: Tab, cluster: DevCluster, expect: Any) -> None:
    """
    A task waits while its queue is paused, which the page says, and goes on afterwards.
    """
    page = tab.open("/queues/tasks", cluster.token)
    tab.settled()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    until(lambda: cluster.asked("/v1/queues/tasks")["consumers"] == 0)
    uuid = cluster.producer.add_task("/paused")
    tab.open(f"/tasks/{uuid}?queue=tasks", cluster.token)
    expect(page.locator(".why")).to_have_attribute("data-reason", "paused")
    tab.open("/queues/tasks", cluster.token)
    page.get_by_role("button", name="Resume").click()
    until(lambda: cluster.state(uuid) == "done")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_dead(tab: Tab, cluster: DevCluster, expect: Any) -> None:
    """
    Dead tasks are seen by their reason, filtered, and redriven.
    """
    once = {"max_attempts": 1}
    add = partial(cluster.producer.add_task, kind="dying", retry=once)
    uuids = [add("/fails") for _ in range(3)]
    add("http://127.0.0.1:1/refused")
    until(lambda: cluster.asked("/v1/queues/dying/dead")["count"] == 4)
    page = tab.open("/dead/dying", cluster.token)
    page.get_by_role("button", name="500 Internal Server Error").click()
    expect(page.locator(".letters tbody tr")).to_have_count(3)
    expect(page.locator(".letters")).to_contain_text("/fails")
    page.get_by_role("button", name="Redrive these 3").click()
    expect(page.locator("#told")).to_have_text("3 dead letters redriven")
    # They fail again, and are buried once more.
    until(lambda: cluster.asked("/v1/queues/dying/dead")["count"] == 4)

    def attempts() -> int:
        return len(cluster.asked(f"/v1/tasks/{uuids[0]}")["attempts"])

    until(lambda: attempts() > 1)  # the history is told a moment later
    assert attempts() == 2
    page.get_by_role("button", name="kind is exhausted").click()
    page.get_by_role("button", name="status is 500").click()
    page.get_by_role("button", name="Discard all 4…").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("dying")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_have_text("4 dead letters discarded")
    assert cluster.asked("/v1/queues/dying/dead")["count"] == 0


def test_run_now(tab: Tab, cluster: DevCluster, expect: Any) -> None:
    """
    A task whose time has not come is run now.
    """
    uuid = cluster.producer.add_task("/later", run_at=time.time() + 3_600)
    until(lambda: cluster.state(uuid) == "delayed")
    page = tab.open(f"/tasks/{uuid}", cluster.token)
    expect(page.locator(".why")).to_have_attribute("data-reason", "not_due")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("#told")).to_be_visible()
    until(lambda: cluster.state(uuid) == "done")
    expect(page.locator(".title .chip")).to_have_text("done")


def test_cancel(tab: Tab, cluster: DevCluster, expect: Any) -> None:
    """
    A task that is cancelled is never attempted, and the page says so.
    """
    uuid = cluster.producer.add_task("/never", run_at=time.time() + 3_600)
    until(lambda: cluster.state(uuid) == "delayed")
    page = tab.open(f"/tasks/{uuid}", cluster.token)
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator("#told")).to_contain_text("it was not attempted")
    expect(page.get_by_role("button", name="Cancel…")).to_be_hidden()
    expect(page.locator(".title .chip")).to_have_text("cancelled")
    found = cluster.asked(f"/v1/tasks/{uuid}")
    assert found["state"] == "cancelled"
    became = {each["outcome"] for each in found["attempts"]}
    assert became <= {"postponed", "cancelled"}


def test_why(tab: Tab, cluster: DevCluster, expect: Any) -> None:
    """
    Why a task waits is told rightly, and in whole sentences, for each reason.
    """
    prepared = list(situations(cluster))
    # Of a task that is done, the page does not ask it.
    assert {each.reason for each in prepared} == {*REASONS} - {"done"}
    for each in prepared:
        address = f"/v1/tasks/{each.uuid}/why?queue={each.queue}"
        until(
            partial(cluster.says, address, each.reason),
            lambda: f"{each.reason}: {cluster.asked(address)}",  # noqa: B023
        )
        page = tab.open(f"/tasks/{each.uuid}?queue={each.queue}", cluster.token)
        panel = page.locator(".why")
        expect(panel).to_have_attribute("data-reason", each.reason)
        expect(panel.locator(".why-text")).to_have_text(re.compile(f"^{each.text}$"))
        for reason in each.besides:
            told = cluster.asked(address)["all"]
            [text] = [other["text"] for other in told if other["reason"] == reason]
            expect(panel.locator(".others")).to_contain_text(text)


def test_mediators(tab: Tab, cluster: DevCluster, expect: Any) -> None:
    """
    A mediator is shown with what it watches, and its settings.
    """
    page = tab.open("/mediators", cluster.token)
    until(lambda: cluster.asked("/v1/mediators")["mediators"])
    name = cluster.asked("/v1/mediators")["mediators"][0]["name"]
    page.get_by_role("button", name=name).click()
    expect(page.locator(".watches")).to_contain_text("limited")
    expect(page.locator(".settings")).to_contain_text("queues.tasks.retry.max_attempts")
    assert page.url.endswith(f"/mediators?name={name}")
