"""
The dispatchers that race.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs

_FOLDER = Path(__file__).with_name("peers")
# Where bench/peers/install puts those that are not written in Python.
_NODE = Path(sys.prefix, "bench-node", "node_modules")
_GO = Path(sys.prefix, "bench-go", "worker")
_COMMANDS = {"Node.js": ("node", "--version"), "Go": ("go", "version")}


@attrs.frozen
class Peer:
    """
    @ivar name: for the command line, and for its queue.
    @ivar title: for tables.
    @ivar file: its program, in C{peers/}.
    @ivar setup: how it is set up, for the page, in reStructuredText.
    @ivar packages: whose versions matter.
    @ivar needs: without which it cannot be measured.
    """

    name: str
    title: str
    file: str
    setup: str
    packages: tuple[str, ...]
    needs: Path = _FOLDER

    @property
    def is_there(self) -> bool:
        """
        Whether it is installed.
        """
        return self.needs.exists()

    def command(self, action: str, *options: str) -> list[str]:
        """
        What runs its program.
        """
        return [sys.executable, str(_FOLDER / self.file), action, *options]

    def versions(self) -> dict[str, str]:
        """
        The installed version of each package.
        """
        return {package: _version(package) for package in self.packages}


def _version(package: str) -> str:
    if package in _COMMANDS:
        return _said(*_COMMANDS[package]).removeprefix("go version ")
    of_node = _NODE / package / "package.json"
    if of_node.exists():
        return str(json.loads(of_node.read_text())["version"])
    try:
        return version(package)
    except PackageNotFoundError:
        return _said("dpkg-query", "--show", "--showformat=${Version}", package)


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "missing"
    return done.stdout.strip() or "missing"


PEERS = (
    Peer(
        "quebert",
        "quebert",
        "quebert_mediator.py",
        "``twistd quebert --watch=…:50``; all else by default, but for the log's"
        " line for each task, which no other has: it costs 12 µs. Its tasks are"
        " made by ``add_task``, with a uuid and a timestamp.",
        ("quebert", "Twisted"),
    ),
    Peer(
        "quebert-deployed",
        "quebert as deployed",
        "quebert_deployed.py",
        "``twistd quebert --config=…`` with a retry policy of 50 attempts and full"
        " jitter, and for every host a circuit breaker and an adaptive limit; no"
        " line for each task, either.",
        ("quebert", "Twisted"),
    ),
    Peer(
        "node",
        "amqplib + undici",
        "node_undici.py",
        "by hand, in some 20 lines, on Node.js: one channel, an ``Agent`` of 50"
        " connections; the body of the message is the body of the request.",
        ("Node.js", "amqplib", "undici"),
        _NODE / "undici",
    ),
    Peer(
        "go",
        "amqp091-go + net/http",
        "go_net_http.py",
        "by hand, in Go, built from Debian's packages: a goroutine for each task, a"
        " ``Transport`` that keeps 50 idle connections.",
        ("Go", "golang-github-rabbitmq-amqp091-go-dev"),
        _GO,
    ),
    Peer(
        "aio-pika",
        "aio-pika + aiohttp",
        "aio_pika_aiohttp.py",
        "by hand, in some 20 lines, on uvloop: a robust connection, one"
        " ``ClientSession``, orjson; the body of the message is the body of the"
        " request. No retry delays, no expiry, no hooks: the least that does the job.",
        ("aio-pika", "aiohttp", "uvloop"),
    ),
    Peer(
        "txamqp",
        "txamqp + treq",
        "txamqp_treq.py",
        "by hand, on Twisted, with txamqp's own client and treq over an"
        " ``HTTPConnectionPool`` of 50 persistent connections.",
        ("txAMQP", "treq", "Twisted"),
    ),
    Peer(
        "faststream",
        "FastStream",
        "faststream_app.py",
        "``faststream run`` on uvloop; a ``RabbitBroker`` with a channel that"
        " prefetches 50, ``AckPolicy.NACK_ON_ERROR``, one aiohttp session. Its log and"
        " its casting of types are switched off, which spares it a quarter.",
        ("faststream", "aio-pika", "aiohttp", "uvloop"),
    ),
    Peer(
        "taskiq",
        "Taskiq",
        "taskiq_worker.py",
        "``taskiq worker --workers=1 --max-async-tasks=50`` on uvloop; taskiq-aio-pika"
        " with ``qos=50`` and a classic queue, the orjson serializer, no result"
        " backend, ``SimpleRetryMiddleware``, one aiohttp session.",
        ("taskiq", "taskiq-aio-pika", "aiohttp", "uvloop"),
    ),
    Peer(
        "dramatiq",
        "Dramatiq",
        "dramatiq_threads.py",
        "``dramatiq --processes 1 --threads 50`` with"
        " ``dramatiq_queue_prefetch=50``; its default middleware, and a"
        " ``requests.Session`` for each thread.",
        ("dramatiq", "pika", "requests"),
    ),
    Peer(
        "celery-gevent",
        "Celery, gevent",
        "celery_gevent.py",
        "``celery worker --pool=gevent --concurrency=50 --prefetch-multiplier=1``,"
        " without gossip, mingle, heartbeat and remote control; late"
        " acknowledgement, no results, a ``requests.Session`` with 50 connections.",
        ("celery", "gevent", "requests"),
    ),
    Peer(
        "celery-prefork",
        "Celery, prefork",
        "celery_prefork.py",
        "the same with ``--pool=prefork --concurrency=1 --prefetch-multiplier=50``:"
        " one request at once. The figures are those of both processes.",
        ("celery", "requests"),
    ),
)
