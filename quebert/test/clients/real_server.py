"""
The real thing: C{quebert web} with SQLite, a RabbitMQ of its own, and mediators.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from quebert.signatures import TokenKey
from quebert.test.contract.patience import until
from quebert.test.support import Program
from quebert.testing import RabbitMQNode
from quebert.web import EVERYTHING, token_line

__all__ = ["RealServer"]

CONFIGURATION = """
[broker]
url_file = "amqp"

[made_queues]
serve = ["*"]
each.guard = {{ private = "allow" }}

[oidc]
issuer = "https://localhost:{rest}"
key_file = "id-tokens.pem"

[web.cluster]
listen = "127.0.0.1:{rest}"
tokens = "tokens"
open_reading = false
tls = {{ certfile = "server.pem" }}

[web.cluster.cloud_tasks]
home = "shop/here"
projects = ["shop"]
grpc = "127.0.0.1:{grpc}"
queue_type = "classic"
"""


class RealServer:
    """
    Serves until L{close}.

    @param folder: gets its files, and has C{server.pem}: its certificate and key.
    @param rest: the port for HTTP.
    @param grpc: that for gRPC.
    @param tokens: one with all rights, and one that may read.
    @param mediators: how many.
    """

    def __init__(
        self,
        folder: Path,
        rest: int,
        grpc: int,
        tokens: Mapping[str, str],
        mediators: int = 1,
    ) -> None:
        self._folder = folder
        self._ports = rest, grpc
        self._programs: list[Program] = []
        self._node = RabbitMQNode()
        all_rights = sorted(EVERYTHING)
        files = {
            "amqp": f"{self._node.url}%2f",
            "id-tokens.pem": TokenKey.generate().text,
            "tokens": "\n".join(
                (
                    token_line("all", all_rights, ["*"], tokens["TOKEN"]),
                    token_line("reader", ["read"], ["*"], tokens["READ_TOKEN"]),
                )
            ),
            "quebert.toml": CONFIGURATION.format(rest=rest, grpc=grpc),
        }
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
            (folder / name).chmod(0o600)
        try:
            self._node.start()
            self._start(mediators)
        except BaseException:
            self.close()
            raise

    def _start(self, mediators: int) -> None:
        config = f"--config={self._folder / 'quebert.toml'}"
        history, tasks = self._folder / "history.sqlite", self._folder / "tasks.sqlite"
        web = "-m", "quebert", "web", config, "--history", history, "--tasks", tasks
        serving = self._run(*map(str, web))
        begun = [
            self._run("-m", "twisted", "quebert", config) for _ in range(mediators)
        ]
        for port in self._ports:
            until(lambda: _is_open(port) or not serving.running)  # noqa: B023
        for each in begun:
            until(lambda: "Starting reactor" in each.output or not each.running)  # noqa: B023
        assert all(each.running for each in self._programs), self.output

    def _run(self, *arguments: str) -> Program:
        folder = self._folder / str(len(self._programs))
        folder.mkdir()
        self._programs.append(Program(folder, arguments, {}))
        return self._programs[-1]

    @property
    def output(self) -> str:
        """
        What all have said.
        """
        return "\n".join(each.output for each in self._programs)

    def close(self) -> None:
        """
        End all.
        """
        for each in self._programs:
            each.kill()
        self._node.close()


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
