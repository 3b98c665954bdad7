"""
A canary in every secret: whatever befalls tasks, requests and brokers, no secret is in
a log, an error, a list of processes, a repr, or what the commands say of dead letters.

Real processes are started: a broker, a mediator with all secrets that a configuration
can have, an executor that verifies signatures, and the commands.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from types import MappingProxyType
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker
from trustme import CA
from twisted.internet.task import Clock
from twisted.logger import LogPublisher

import quebert
from quebert import _log, executor, service
from quebert.amqp import Message, TxAMQPClient
from quebert.broker import BrokerFactory
from quebert.cli._dead import Listing, whole
from quebert.config import read
from quebert.errors import BadStatus
from quebert.http import Dispatcher
from quebert.operations import DeadLetter
from quebert.producer import BlockingProducer, Producer
from quebert.service._mediators import mediator
from quebert.signatures import SharedSecret, Signer, Verifier
from quebert.task import decode, request
from quebert.test.contract.patience import PATIENCE, until
from quebert.test.doubles import MemoryReactor
from quebert.test.forking import fork
from quebert.testing import free_port

ROOT = Path(quebert.__file__).parents[1]
QUEBERT = Path(sys.executable).with_name("quebert")
TWISTD = Path(sys.executable).with_name("twistd")

#: What each secret holds.  Letters and digits alone, so that no encoding hides it; and
#: a multiple of three of them, so that base64 does not.
CANARIES = {
    name: f"canary{number:02}ofthesecret{name:x<14.14}"
    for number, name in enumerate(
        (
            *("amqp", "refused", "broker", "bearer", "basic", "environment"),
            *("userinfo", "authorization", "cookie", "apikey", "query", "fragment"),
            *(
                "location",
                "signing",
                "verifying",
                "poison",
                "malformed",
                "reply",
                "field",
            ),
        )
    )
}
assert all(len(each) % 3 == 0 for each in CANARIES.values())

HOOKS = """
def fails(task):
    if "hook" in task:
        raise ValueError("the hook failed")

def fails_after(task, result):
    if "posthook" in task:
        raise ValueError("the hook failed, too")
"""

CONFIGURATION = """
[broker]
url_file = "broker-url"

[service]
default_url = "http://localhost:{echo}/"

[queues.delay]
exchange = ""
timeout = 30
retry = {{ max_attempts = 2, constant = 1.0 }}
prehooks = ["canary_hooks.fails"]
posthooks = ["canary_hooks.fails_after"]
headers.Authorization = {{ file = "bearer", scheme = "bearer" }}
headers.X-Own-Name = {{ env = "CANARY_HEADER" }}
sign = {{ secrets_file = "signing" }}

[queues.policy]
exchange = ""
timeout = 30
permanent = [404]
retry = {{ max_attempts = 2, min_backoff = 0.1 }}
prehooks = ["canary_hooks.fails"]
headers.Authorization = {{ file = "basic", scheme = "basic" }}
headers.X-Own-Name = {{ env = "CANARY_HEADER" }}
sign = {{ secrets_file = "signing" }}

[hosts."localhost:{tls}".tls]
cacertfile = "ca.pem"
certfile = "me.pem"
keyfile = "me.key"
"""


class Echo(BaseHTTPRequestHandler):
    """
    Answers with the status in the path, and with all that the request had.
    """

    def do_POST(self) -> None:
        """
        Tell it in the body, in headers, and in what the mediator is asked for.
        """
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = f"{self.requestline}\n{self.headers}\n".encode() + body
        status = int((re.search(r"/(\d{3})", self.path) or ["", "200"])[1])
        self.send_response(status, str(self.headers.get("Authorization")))
        self.send_header("X-Echo", repr(dict(self.headers)))
        self.send_header("Set-Cookie", f"session={CANARIES['reply']}")
        if "/outcome" in self.path:
            why = f"{self.headers.get('Authorization')} {self.path}"
            self.send_header("Quebert-Outcome", f"bury; {why}")
        if "/odd-outcome" in self.path:
            self.send_header("Quebert-Outcome", f"{self.headers.get('Authorization')}")
        if status in range(300, 400):
            secret = CANARIES["location"]
            place = f"http://me:{secret}@localhost/?token={secret}#{secret}"
            self.send_header("Location", place)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said[:-1] if "/cut" in self.path else said)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """
        Say nothing.
        """


# -- Processes


class Processes:
    """
    Starts processes, and keeps all that they say.

    @ivar seen: what each has said, and the words it was started with, by its name.
    """

    #: How many commands run side by side: some wait for seconds.
    AT_ONCE = 16

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: dict[str, str] = {}
        self._begun = 0
        self._commands: dict[str, tuple[ForkServerProcess, Path]] = {}
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
            "HOME": str(folder),
            "COLUMNS": "200",
        }

    @contextmanager
    def running(
        self,
        name: str,
        words: Sequence[object],
        ready: str,
        environment: Mapping[str, str] = MappingProxyType({}),
        *,
        ends: bool = False,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """
        A process; entered once it has said that it is ready.

        @param ends: it may end by itself after that.
        """
        log = self.folder / f"{name}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [str(word) for word in words],
                cwd=self.folder,
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            until(lambda: ready in log.read_text() or process.poll() is not None)
            assert ready in log.read_text(), log.read_text()
            assert ends or process.poll() is None, log.read_text()
            yield process
            if not ends or process.poll() is None:  # else nobody can see its words
                self._note_words(name, process.pid)
        finally:
            process.terminate()
            process.wait()
            self.seen[name] = log.read_text(errors="replace")

    def _note_words(self, name: str, pid: int) -> None:
        """
        Note the command line of a process, and of those that it has started.
        """
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        self.seen[f"ps of {name} {pid}"] = words.decode()
        for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            self._note_words(name, int(each))

    def run(self, *words: object, amqp: str = "", **environment: str) -> None:
        """
        Have a command of C{quebert} say what it has to say.
        """
        self.begin(*words, amqp=amqp, **environment)
        self.finish()

    def begin(self, *words: object, amqp: str = "", **environment: str) -> None:
        """
        Have a command of C{quebert} run beside others, until L{finish}.
        """
        if len(self._commands) == self.AT_ONCE:
            self._finish_first()
        if amqp:
            environment["QUEBERT_AMQP_URL"] = amqp
        name = f"{self._begun}: quebert {' '.join(map(str, words))}"
        folder = self.folder / f"run {self._begun}"
        folder.mkdir()
        self._begun += 1
        arguments = ["-m", "quebert", *map(str, words)]
        process = fork(folder, arguments, {**self._environment, **environment})
        self._commands[name] = process, folder / "output"

    def finish(self) -> None:
        """
        Wait until all commands have ended.
        """
        while self._commands:
            self._finish_first()

    def _finish_first(self) -> None:
        name = next(iter(self._commands))
        process, output = self._commands.pop(name)
        process.join(PATIENCE)
        process.kill()
        assert process.exitcode is not None, name
        self.seen[name] = output.read_text(errors="replace")


def write_secrets(folder: Path) -> SSLContext:
    """
    All files that a configuration can name.

    @return: makes a server of the host that the client certificate is for.
    """

    def write(name: str, text: str) -> None:
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)

    write("bearer", f"{CANARIES['bearer']}\n")
    write("basic", f"me:{CANARIES['basic']}\n")
    for name in ("signing", "verifying"):
        raw = CANARIES[name].encode()
        write(name, SharedSecret(raw).text + "\n")
    authority = CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    mine = authority.issue_cert("me")
    mine.private_key_pem.write_to_path(str(folder / "me.key"))
    mine.cert_chain_pems[0].write_to_path(str(folder / "me.pem"))
    (folder / "canary_hooks.py").write_text(HOOKS)
    context = SSLContext(PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def hidden(folder: Path) -> dict[str, set[str]]:
    """
    The texts that nothing may show, for each secret.
    """
    found = {}
    for name, canary in CANARIES.items():
        texts = {canary}
        # However many bytes stand before it, some of its base64 is the same.
        for shift in range(3):
            encoded = base64.b64encode(b"x" * shift + canary.encode())
            texts.add(encoded[4:-4].decode().strip("="))
        found[name] = texts
    key = (folder / "me.key").read_text().splitlines()
    found["key"] = set(key[1:-1])
    return found


# -- What befalls tasks


def tasks(echo: int, tls: int, closed: int, verifying: int) -> Iterator[bytes]:
    """
    Tasks whose every secret is a canary, and what is no task.
    """
    c = CANARIES
    headers = {"Cookie": f"session={c['cookie']}", "X-Api-Key": c["apikey"]}
    bearer = {**headers, "Authorization": f"Bearer {c['authorization']}"}
    secret = f"?key={c['query']}#{c['fragment']}"

    def at(host: str, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://me:{c['userinfo']}@{host}{path}{secret}"

    here = f"localhost:{echo}"
    for status in (200, 302, 400, 401, 404, 410, 413, 429, 500, 503):
        yield _task(at(here, f"/{status}"), headers=headers)
        yield _task(f"/{status}{secret}", headers=bearer)
        yield _task(f"/{status}{secret}")
    for path in ("/outcome", "/odd-outcome", "/cut/500", "/cut/200"):
        yield _task(at(here, path), headers=headers)
        yield _task(f"{path}{secret}", headers=bearer)
    for url in (
        at(f"localhost:{closed}"),
        at(f"localhost:{echo}", scheme="https"),  # which speaks no TLS
        at(f"localhost:{tls}", "/500", scheme="https"),
        at(f"127.0.0.1:{tls}", scheme="https"),  # whose certificate is of nobody
        at("169.254.169.254"),
        at("{x}"),
        at("0x7f.1"),
        at("localhost:99999"),
        at("local host"),
        at("localhost", "/\x1b[2J"),
        at("localhost", scheme="ftp"),
        f"http://localhost:{verifying}/{secret}",
        f"//me:{c['userinfo']}@{here}/500{secret}",
        f"me:{c['userinfo']}@{here}/{secret}",
        at(here, "x" * 9_000),
    ):
        yield _task(url, headers=headers)
    yield _task(at(here), hook=True, headers=bearer)
    yield _task(at(here), posthook=True, headers=bearer)
    poison: Sequence[dict[str, Any]] = (
        {"headers": {"Authorization": [c["poison"]]}},
        {"headers": {"Authorization": f"{c['poison']}\r\nX: y"}},
        {"headers": {f"Authorization: {c['poison']}": "x"}},
        {"headers": f"Authorization: {c['poison']}"},
        {"headers": [{"Authorization": c["poison"]}]},
        {"headers": {"Host": f"{c['field']}.example"}},
        {"headers": {"Authorization": c["poison"] * 300}},
        {"timeout": f"token={c['poison']}", "headers": bearer},
        {"ttl": {"token": c["poison"]}, "headers": bearer},
        {"run_at": c["field"], "headers": bearer},
        {"method": f"POST {c['field']}"},
        {"uuid": [{"token": c["poison"]}], "headers": bearer},
        {"url": {"password": c["poison"]}, "headers": bearer},
        {"retry": {"token": c["poison"]}, "headers": bearer},
        {"retry": {"jitter": c["field"]}, "headers": bearer},
    )
    for fields in poison:
        yield _task(**{"url": at(here), **fields})
    yield f"Authorization: Bearer {c['poison']}".encode()
    yield f'{{"headers": {{"Authorization": "{c["poison"]}"'.encode()
    yield json.dumps([{"token": c["poison"]}]).encode()
    yield json.dumps({"token": c["poison"]}).encode()


#: How many of them are done, by the mediator of each queue.  That of C{delay} ignores
#: C{retry} and the wishes of executors, and that of C{policy} has no post-hook.
DONE = {"delay": 9, "policy": 6}


def _task(url: str, **fields: Any) -> bytes:
    return json.dumps({"url": url, **fields}).encode()


def publish(amqp: str, bodies: Sequence[bytes], queues: Iterable[str] = DONE) -> None:
    """
    Put all of them into each queue.
    """
    with pika.BlockingConnection(pika.URLParameters(f"{amqp}%2f")) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for queue in queues:
            for number, body in enumerate(bodies):
                properties = pika.BasicProperties(
                    message_id=f"{queue}-{number}",
                    headers={"authorization": CANARIES["authorization"]},
                    delivery_mode=2,
                )
                channel.basic_publish("", queue, body, properties, mandatory=True)


def depths(amqp: str) -> Mapping[str, int]:
    """
    How many dead letters each queue has.
    """
    found = {}
    for queue in DONE:
        with pika.BlockingConnection(pika.URLParameters(f"{amqp}%2f")) as connection:
            dead = f"{queue}.dead"
            try:
                declared = connection.channel().queue_declare(dead, passive=True)
            except ChannelClosedByBroker:  # there is none yet
                found[dead] = 0
            else:
                found[dead] = declared.method.message_count
    return found


@contextmanager
def echoing(context: SSLContext | None = None) -> Iterator[int]:
    """
    The port of an executor that answers with all that it was sent.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Where the processes run.
    """
    return tmp_path_factory.mktemp("canary")


@pytest.fixture(scope="module")
def seen(folder: Path) -> Mapping[str, str]:
    """
    All that was said while tasks succeeded and failed in each way that there is.
    """
    processes = Processes(folder)
    amqp, verifying, closed = free_port(), free_port(), free_port()
    own = f"amqp://canary:{CANARIES['amqp']}@127.0.0.1:{amqp}/"
    wrong = f"amqp://canary:{CANARIES['refused']}@127.0.0.1:{amqp}/"
    nobody = f"amqp://canary:{CANARIES['refused']}@127.0.0.1:{closed}/"
    with ExitStack() as stack:
        echo = stack.enter_context(echoing())
        tls = stack.enter_context(echoing(write_secrets(folder)))
        (folder / "users").write_text(
            f"canary:{CANARIES['amqp']}\nother:{CANARIES['broker']}\n"
        )
        (folder / "users").chmod(0o600)
        (folder / "broker-url").write_text(own)
        (folder / "broker-url").chmod(0o600)
        (folder / "quebert.toml").write_text(
            CONFIGURATION.format(echo=echo, tls=tls, amqp=amqp)
        )
        header = {"CANARY_HEADER": CANARIES["environment"]}
        broker = (QUEBERT, "broker", f"--port={amqp}", "--password-file=users")
        stack.enter_context(processes.running("broker", broker, "amqp://"))
        quexecutor = (TWISTD, "-n", "--pidfile=", "quexecutor")
        function, port = "--function=json.dumps", f"--port={verifying}"
        words = (*quexecutor, function, port, "--verify-secret-file=verifying")
        stack.enter_context(processes.running("executor", words, "Taking tasks"))
        twistd = (TWISTD, "-n", "--pidfile=", "quebert", "--config=quebert.toml")
        watching = processes.running("mediator", twistd, "Watching", header)
        process = stack.enter_context(watching)
        log = folder / "mediator.log"
        until(lambda: log.read_text().count("Watching") == len(DONE))
        bodies = list(tasks(echo, tls, closed, verifying))
        publish(own, bodies)
        expected = {f"{queue}.dead": len(bodies) - DONE[queue] for queue in DONE}
        until(lambda: depths(own) == expected, lambda: f"{depths(own)}, not {expected}")
        process.send_signal(signal.SIGHUP)
        for queue in ("delay", "policy"):
            processes.run("status", queue, amqp=own)
            processes.run("dead", "list", queue, "--first=1000", amqp=own)
            processes.run("dead", "show", queue, amqp=own)
            processes.seen[f"dead letters of {queue}"] = "\n".join(shown(own, queue))
        processes.begin("check", folder / "quebert.toml", **header)
        processes.begin("check", "--connect", folder / "quebert.toml", **header)
        processes.begin("doctor", folder / "quebert.toml", **header)
        processes.begin("doctor", "--json", folder / "quebert.toml", **header)
        for url in (wrong, nobody):
            place = url[-6:-1]
            (folder / f"url-{place}").write_text(url)
            text = (folder / "quebert.toml").read_text()
            text = text.replace("broker-url", f"url-{place}")
            (folder / f"{place}.toml").write_text(text)
            processes.begin("status", "delay", amqp=url)
            processes.begin("doctor", amqp=url)
            processes.begin("add", "/", amqp=url)
            processes.begin("check", "--connect", folder / f"{place}.toml", **header)
        develop(processes, bodies)
        for command in ("status", "dead", "check", "doctor", "broker", "add", "dev"):
            processes.begin(command, "--help", amqp=own)
        for url in malformed():
            processes.begin("status", "delay", amqp=url)
        for name, text in wrong_configurations(folder).items():
            (folder / name).write_text(text)
            processes.begin("check", folder / name, **header)
        for url in (wrong, nobody):
            place = url[-6:-1]
            refused = (*twistd[:-1], f"--config={place}.toml")
            name, told = f"refused by {place}", "the broker at"
            with processes.running(name, refused, told, header, ends=True):
                pass
        processes.finish()
        processes.run("dead", "redrive", "policy", "--yes", amqp=own)
        processes.run("dead", "discard", "policy", "--yes", amqp=own)
    return processes.seen


def develop(processes: Processes, bodies: Sequence[bytes]) -> None:
    """
    Have C{quebert dev} mediate tasks, too, which makes a secret for its own executor.
    """
    dev = (QUEBERT, "dev", "--amqp-port=0", "--http-port=0", "--memory")
    with processes.running("dev", dev, "\nready ", {"COLUMNS": "80"}):
        log = processes.folder / "dev.log"
        found = re.search(r"amqp://\S+", log.read_text())
        assert found is not None
        publish(found[0], [*bodies, _task("/last")], ("tasks",))
        until(lambda: "/last" in log.read_text())
        until(lambda: log.read_text().count("\n") > len(bodies))


def shown(amqp: str, queue: str) -> Iterator[str]:
    """
    What C{quebert dead} says of each dead letter.
    """
    listing = Listing(1_000)
    with pika.BlockingConnection(pika.URLParameters(f"{amqp}%2f")) as connection:
        channel = connection.channel()
        while True:
            method, properties, body = channel.basic_get(f"{queue}.dead")
            if method is None:
                break
            told = {k.replace("_", "-"): v for k, v in vars(properties).items()}
            letter = DeadLetter({k: v for k, v in told.items() if v is not None}, body)
            yield from whole(letter)
            listing.add(letter)
    yield from listing.lines()


def malformed() -> Iterator[str]:
    """
    AMQP URLs that cannot be read.
    """
    secret = CANARIES["malformed"]
    for url in (
        "amqp://me:{}@127.0.0.1:bad/",
        "amqp://me:{}@127.0.0.1:99999/",
        "amqp://me:{}@",
        "amqp://me:{}/@127.0.0.1/",
        "amqp://me:{}#@127.0.0.1/",
        "amqp://me:{}?@127.0.0.1/",
        "amqp://me:{}%zz@127.0.0.1/",
        "amqp://me:{}@127.0.0.1/a/b",
        "amqp://me:{}@127.0.0.1/?heartbeat=soon",
        "amqp://me:{}@127.0.0.1/?no={}",
        "amqp://me:{}@[::1/",
        "amqp://me:{}@127.0.0.1 /",
        "http://me:{}@127.0.0.1/",
        "me:{}@127.0.0.1",
        "//me:{}@127.0.0.1",
        "amqps:me:{}",
        "{}",
    ):
        yield url.replace("{}", secret)


def wrong_configurations(folder: Path) -> Mapping[str, str]:
    """
    Files with mistakes near their secrets.
    """
    secret = CANARIES["malformed"]
    for name, text in (
        ("two-lines", f"{secret}\n{secret}\n"),
        ("control", f"{secret}\x1b\n"),
        ("no-colon", f"{secret}\n"),
        ("no-key", f"whsec_{secret}!\n"),
        ("no-prefix", f"{secret}\n"),
        ("url", f"amqp://me:{secret}@127.0.0.1:bad/"),
        ("pem", f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    queue = 'queues.mail.key = "m"\n'
    header = "queues.mail.headers.Authorization"
    sign = "queues.mail.sign.secrets_file"
    tls = "broker.tls = { certfile = 'pem', keyfile = 'pem' }"
    return {
        "1.toml": f'broker.url = "amqp://me:{secret}@localhost/"\n{queue}',
        "2.toml": f'{header} = "Bearer {secret}"\n{queue}',
        "3.toml": f'{header} = {{ file = "two-lines", scheme = "bearer" }}\n{queue}',
        "4.toml": f'{header} = {{ file = "control" }}\n{queue}',
        "5.toml": f'{header} = {{ file = "no-colon", scheme = "basic" }}\n{queue}',
        "6.toml": f'{sign} = "no-key"\n{queue}',
        "7.toml": f'{sign} = "no-prefix"\n{queue}',
        "8.toml": f'broker.url_file = "url"\n{queue}',
        "9.toml": f'broker.url = "amqps://localhost/"\n{tls}\n{queue}',
        "10.toml": f'service.default_url = "http://me:{secret}@a b/"\n{queue}',
        "11.toml": f'queues.mail.headers = ["Authorization: {secret}"]\n{queue}',
        "12.toml": f'{header} = {{ env = "HOME", token = "{secret}" }}\n{queue}',
        "13.toml": f'guard.proxy = "http://me:{secret}@proxy:1/"\n{queue}',
        "14.toml": f'{queue}[hosts."me:{secret}@localhost"]\nrate = 1\n',
    }


def objects(folder: Path) -> Iterator[object]:
    """
    Public objects that hold secrets.
    """
    c = CANARIES
    header = {"CANARY_HEADER": c["environment"]}
    settings = read(str(folder / "quebert.toml"), header)
    url = f"amqp://me:{c['amqp']}@localhost/"
    yield settings
    yield TxAMQPClient.of_broker(settings.broker)
    client = TxAMQPClient.from_url(url)
    yield from (client, Producer(client))
    blocking = BlockingProducer(url)
    yield blocking
    clock: Any = Clock()
    yield BrokerFactory(clock, users={"me": c["broker"]})
    dispatcher = Dispatcher.with_reactor(MemoryReactor())
    for queue in settings.queues.values():
        yield mediator(queue, dispatcher, clock)
    verifier = Verifier.from_file(str(folder / "verifying"))
    yield from (verifier, Signer.from_file(str(folder / "signing")))
    watching: Any = service.Options()
    watching.parseOptions([f"--amqp-url={url}", "--watch=a:b:c:1"])
    executing: Any = executor.Options()
    secrets = f"--verify-secret-file={folder / 'verifying'}"
    executing.parseOptions(["--function=json.dumps", secrets])
    yield from (watching, executing)
    yield service.makeService(watching)
    yield executor.makeService(executing)
    message = Message("consumer", 1, False, "flow", "tasks")
    message.body = next(tasks(1, 2, 3, 4))
    yield message
    task = decode(message.body)
    yield request(task, "")
    yield DeadLetter({"headers": {"quebert-last-answer": c["reply"]}}, message.body)
    yield BadStatus(500, "POST / was answered 500", body=c["reply"].encode())


def reachable(found: Iterable[object]) -> Iterator[object]:
    """
    All objects of ours that lead from one to the other, by attributes and containers.
    """
    seen: dict[int, object] = {}
    waiting = list(found)
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, (str, bytes, type)):
            continue
        seen[id(each)] = each
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, (list, tuple, set, frozenset)):
            waiting += each
        if type(each).__module__.startswith("quebert."):
            yield each
            slots = (getattr(kind, "__slots__", ()) for kind in type(each).__mro__)
            names = {name for some in slots for name in some}
            names |= vars(each).keys() if hasattr(each, "__dict__") else set()
            waiting += [getattr(each, name, None) for name in names]


def test_reprs(
    seen: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    No object shows a secret that it holds.
    """
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(_log, "globalLogPublisher", LogPublisher())
    texts = {text for some in hidden(folder).values() for text in some}
    there = list(reachable(objects(folder)))
    assert len({type(each) for each in there}) > 30
    for each in there:
        for shown in (repr(each), str(each)):
            assert not [text for text in texts if text in shown], type(each)


def test_secrets_are_there(seen: Mapping[str, str]) -> None:
    """
    What is searched for secrets is there: answers that tell them, and tasks that hold
    them, hidden.
    """
    for queue in DONE:
        said = seen[f"dead letters of {queue}"]
        for text in ("quebert-last-answer: POST", "X-Own-Name: ...", "Cookie: ..."):
            assert text in said
        assert '"url": "http://...@localhost' in said
    assert "A request was refused" in seen["executor"]
    assert CANARIES["field"] in seen["dead letters of delay"]


@pytest.mark.parametrize("name", [*CANARIES, "key"])
def test_nothing_is_said(seen: Mapping[str, str], folder: Path, name: str) -> None:
    """
    No secret is in anything that a process says.
    """
    texts = hidden(folder)[name]
    assert "whsec_" not in seen["dev"]  # it has made a secret
    if name == "field":  # which is no secret, but is not logged
        seen = {where: said for where, said in seen.items() if "dead" not in where}
    found = [
        f"{where}: {line[:600]}"
        for where, said in seen.items()
        for line in said.splitlines()
        if any(text in line for text in texts)
    ]
    assert not found, "\n".join([f"{len(found)} lines", *found[:8]])
