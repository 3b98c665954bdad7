"""
A task in any language: added over HTTP by an example, and done by the executor of the
same language, in one C{quebert dev}.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from quebert.signatures import SharedSecret
from quebert.test.contract.patience import PATIENCE, until
from quebert.test.language_examples import (
    ADDERS,
    EXECUTORS,
    FOLDER,
    SECRET,
    ExampleExecutor,
)
from quebert.testing import free_port

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="not in a checkout")

_CONFIGURATION = """
[queues.tasks]
key = "tasks.#"
mediator = "policy"
retry = {{ min_backoff = 0.1, max_backoff = 1.0 }}
sign = {{ secrets_file = "signing" }}
[leases]
url = "http://127.0.0.1:{port}"
secrets_file = "leases"
"""
_UUID = "[0-9a-f]{8}-[0-9a-f-]{27}"


@attrs.frozen
class Development:
    """
    C{quebert dev}.
    """

    url: str
    token: str

    def ask(self, path: str, body: Any = None) -> Any:
        """
        The answer of the API.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}"}
        headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self.url}/v1{path}", data, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def end_of(self, uuid: str) -> Any:
        """
        How a task has ended.
        """
        return until(lambda: self.ask(f"/tasks/{uuid}")["created"]["end"])


@pytest.fixture(scope="module")
def development(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Development]:
    """
    One for all tests here.
    """
    folder = tmp_path_factory.mktemp("development")
    port = free_port()
    secrets = {"signing": SECRET, "leases": SharedSecret.generate()}
    for name, secret in secrets.items():
        (folder / name).write_text(f"{secret.text}\n")
        (folder / name).chmod(0o600)
    (folder / "dev.toml").write_text(_CONFIGURATION.format(port=port))
    output = folder / "output"
    command = [sys.executable, "-m", "quebert", "dev", "--config=dev.toml", "--memory"]
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [*command, "--amqp-port=0", f"--web-port={port}"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )

    def ready() -> bool:
        assert process.poll() is None, output.read_text()
        return "\nready " in output.read_text()

    try:
        until(ready, output.read_text)
        [token] = re.findall("#token=(.+)", output.read_text())
        yield Development(f"http://127.0.0.1:{port}", token)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("language", ADDERS)
def test_language(language: str, development: Development, tmp_path: Path) -> None:
    """
    A task is added, done and leased; another is looked at and deleted.  A problem ends
    the program, and is shown.
    """
    # The executor beside curl is any: what goes on after its answer is curl's.
    executor_of = {"curl": "php"}.get(language, language)
    words = [*ADDERS[language].command(), f"order-{language}"]
    with ExampleExecutor.of(EXECUTORS[executor_of], tmp_path) as executor:
        hello = executor.url.rstrip("/")
        environment = {
            **os.environ,
            "QUEBERT_URL": development.url,
            "QUEBERT_TOKEN": development.token,
            "EXECUTOR_URL": hello,
        }
        ran = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        added, state, result = ran.stdout.splitlines()
        [uuid] = re.findall(_UUID, added)
        assert "published" in state
        assert "cancelled" in result
        leased = {"url": f"{hello}/encode", "params": {"name": "a film"}}
        lease = development.ask("/tasks", leased)["uuid"]
        for each, status in ((uuid, 200), (lease, None)):
            end = development.end_of(each)
            assert (end["outcome"], end["attempts"]) == ("done", 1), executor.output
            assert status in (None, end["status"])
    environment["QUEBERT_TOKEN"] = "qbt_of_nobody"
    ran = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "401" in ran.stderr
