"""
C{quebert dev}, C{quebert broker} and C{quebert add}, as processes of their own,
with no RabbitMQ.
"""

from __future__ import annotations

import platform
import re
import shlex
import signal
import socket
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import pika
import pytest
import treq
from pika.exceptions import ChannelClosedByBroker
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import quebert
from quebert.signatures import SharedSecret, Signer
from quebert.test.support import Executor, Program, depth, publish, until

Start = Callable[..., Program]
reactor: Any = global_reactor

_WORK = """
def greet(task):
    return "hello, " + task["params"]["name"]
"""

_ADD_ONCE = """
import sys
from quebert.producer import add_task
add_task("/once", amqp_url=sys.argv[1], retry={"max_attempts": 1})
"""

# Files may not grow beyond this.
_SMALL_FILES = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from quebert.cli import main
main()
"""


def quebert_(start: Start, *arguments: str, **environment: str) -> Program:
    """
    The command, run.
    """
    return start("-m", "quebert", *arguments, **environment)


async def dev(start: Start, *options: str, **environment: str) -> Program:
    """
    C{quebert dev} on free ports, once it is ready; without the page, unless its port is
    among C{options}.
    """
    ports = ["--amqp-port=0", "--http-port=0"]
    if not any(each.startswith("--web-port") for each in options):
        ports.append("--no-page")
    program = quebert_(start, "dev", *ports, *options, **environment)
    await program.said("\nready ")
    return program


async def broker(start: Start, *options: str, **environment: str) -> Program:
    """
    C{quebert broker} on a free port, once it listens.
    """
    program = quebert_(start, "broker", "--port=0", *options, **environment)
    await program.said("\n")
    assert program.output.count("\n") == 1
    return program


def url_of(program: Program) -> str:
    """
    Where its broker is.
    """
    found = re.search(r"^broker     (amqp://\S+)", program.output)
    assert found, program.output
    return found[1]


def words_to_add(program: Program) -> list[str]:
    """
    What it says to add a task with, for C{start}.
    """
    found = re.search(r"^add a task python (.*)$", program.output, re.M)
    assert found, program.output
    return shlex.split(found[1])


async def add(start: Start, to: Program, *arguments: str) -> str:
    """
    Add a task from another process; its uuid.
    """
    program = quebert_(start, "add", *arguments, f"--amqp-url={url_of(to)}")
    assert await program.ended() == 0, program.output
    return str(UUID(program.output.strip()))


async def ended(program: Program, number: int = signal.SIGINT) -> str:
    """
    End it well, and give all that it said.
    """
    program.signal(number)
    assert await program.ended() == 0, program.output
    return program.output


async def sentence(program: Program) -> str:
    """
    The one that it ends with.
    """
    assert await program.ended() == 1, program.output
    assert program.output.count("\n") == 1, program.output
    return program.output.removeprefix("Error: ").strip()


@contextmanager
def channel(url: str) -> Iterator[Any]:
    """
    A channel of another client library, in confirm mode.
    """
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        opened = connection.channel()
        opened.confirm_delivery()
        yield opened
    finally:
        connection.close()


# -- dev


@ensureDeferred
async def test_first_minute(start: Start) -> None:
    """
    What it says to add a task with does add one, and it tells that it is done;
    Ctrl-C ends it.
    """
    program = await dev(start, "--memory")
    adding = start(*words_to_add(program))
    assert await adding.ended() == 0
    UUID(adding.output.strip())
    await program.said(" /hello            attempt 1: 200, ")
    assert re.search(r"^done       \d\d:\d\d:\d\d \w{8} /hello ", program.output, re.M)
    said = await ended(program)
    assert said.splitlines()[0].endswith("  in memory only")
    assert len(said.splitlines()) == 6
    assert not (program.folder / ".quebert").exists()


@ensureDeferred
async def test_page(start: Start) -> None:
    """
    It prints where the page is, with a token that may do everything; what happens to
    tasks is in the history, which goes with a broker that is in memory.
    """
    program = await dev(start, "--memory", "--web-port=0")
    found = re.search(
        r"^page       (http://127\S+)#token=(qbt_\S+)$", program.output, re.M
    )
    assert found, program.output
    url, token = found.groups()
    uuid = await add(start, program, "/work", '{"fail": 1}')
    await program.said("\ndone ")

    async def task() -> Any:
        answer = await treq.get(f"{url}v1/tasks/{uuid}", persistent=False)
        return await answer.json()

    async def is_known() -> bool:
        state: str = (await task()).get("state", "")
        return state == "done"

    await until_it_is(is_known)
    statuses = [each["status"] for each in (await task())["attempts"]]
    assert statuses == [500, 200]
    later = [await add(start, program, "/work", "{}", "--delay=600") for _ in range(2)]
    answer = await treq.get(f"{url}v1/tasks/{later[0]}/why", persistent=False)
    assert (await answer.json())["reason"] == "not_due"
    headers: Any = {"Authorization": f"Bearer {token}"}
    run = f"{url}v1/tasks/{later[0]}:run"
    answer = await treq.post(
        run, json={"queue": "tasks"}, headers=headers, persistent=False
    )
    assert (await answer.json())["result"] == "running"
    cancel = f"{url}v1/tasks/{later[1]}?queue=tasks"
    answer = await treq.delete(cancel, headers=headers, persistent=False)
    assert (await answer.json())["result"] == "cancelled"
    await program.said(" attempt 1: 200")
    page = await treq.get(url, persistent=False)
    assert (await page.text()).lower().startswith("<!doctype html>")
    target = f"{url}v1/queues/tasks:pause"
    refused = await treq.post(target, persistent=False)
    assert refused.code == 401
    answer = await treq.post(target, headers=headers, persistent=False)
    assert answer.code == 200, await answer.text()
    temporary = set(Path(tempfile.gettempdir()).glob("quebert-*/history.sqlite"))
    said = await ended(program)
    assert token in said
    after = set(Path(tempfile.gettempdir()).glob("quebert-*/history.sqlite"))
    assert temporary - after


async def until_it_is(condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """
    Wait until a condition that is asked for over HTTP is true.
    """
    for _ in range(600):
        if await condition():
            return
        await deferLater(reactor, 0.1)
    raise AssertionError("it did not come true")


@ensureDeferred
async def test_fails_as_it_is_to(start: Start) -> None:
    """
    A task can be told to fail, and is tried again quickly; nothing else is said.
    """
    program = await dev(start, "--memory")
    await add(start, program, "/work", '{"fail": 1}')
    await program.said("\ndone ")
    failed, done = (await ended(program, signal.SIGTERM)).splitlines()[5:]
    assert re.fullmatch(
        r"retry      [\d:]{8} [\da-f]{8} /work {12} attempt 1: 500, \d+ ms,"
        r" again in 1 s: AskedToFail: 1 of 1",
        failed,
    )
    names = r"[\d:]{8} [\da-f]{8} /work {12}"
    assert re.fullmatch(rf"done       {names} attempt 2: 200, \d+ ms", done)


@ensureDeferred
async def test_takes_no_other_tasks(start: Start, tmp_path: Path) -> None:
    """
    Its executor runs the function for no request that is not from its mediator: for no
    form of a web page, and for no other program.
    """
    (tmp_path / "work.py").write_text(
        "def run(task):\n    open('ran', 'a').write(task['url'] + '\\n')\n"
    )
    path = str(tmp_path)
    program = await dev(start, "--memory", "--function=work.run", PYTHONPATH=path)
    found = re.search(r"^executor   (http://\S+)", program.output, re.M)
    assert found, program.output
    hostile: list[Any] = [
        {"Content-Type": "text/plain", "Origin": "https://evil.example"},
        {"Content-Type": "application/json", "Host": "evil.example"},
        {"Content-Type": "application/json"},
        Signer([SharedSecret.generate()]).headers("u", b'{"url": "/evil"}'),
    ]
    for headers in hostile:
        answer = await treq.post(
            found[1], b'{"url": "/evil"}', headers=headers, persistent=False
        )
        assert (answer.code, await answer.text() != "") == (401, True)
    await add(start, program, "/good")
    await program.said(" /good ")
    assert (program.folder / "ran").read_text() == "/good\n"
    await ended(program)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@ensureDeferred
async def test_finds_tasks_again(
    start: Start, executor: Executor, tmp_path: Path, number: int
) -> None:
    """
    A second start finds the tasks that the first has left, however that ended.
    """
    data = f"--data={tmp_path / 'data'}"
    executor.answer = lambda task: 503
    program = await dev(start, data, f"--default-url={executor.url}")
    uuid = await add(start, program, "/work", '{"n": 7}')
    await program.said("\nretry ")
    program.signal(number)
    assert await program.ended() in (0, -number)
    executor.answer = lambda task: 200
    executor.tasks.clear()
    again = await dev(start, data, f"--default-url={executor.url}")
    assert "\nqueue      tasks, 1 waiting\n" in again.output
    await again.said("\ndone ")
    (task,) = executor.tasks
    assert (task["uuid"], task["params"]) == (uuid, {"n": 7})
    await ended(again)
    assert "\nqueue      tasks\n" in await ended(await dev(start, data))


@ensureDeferred
async def test_waits(start: Start) -> None:
    """
    A task for later is told of, and kept in the folder where one is.
    """
    program = await dev(start)
    await add(start, program, "/later", "--delay=3600")
    await program.said(" /later            until ")
    said = await ended(program)
    assert said.splitlines()[0].endswith("  kept in .quebert")
    folder = program.folder / ".quebert"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / ".gitignore").read_text() == "*\n"


@ensureDeferred
async def test_own_function(start: Start, tmp_path: Path) -> None:
    """
    The executor calls one's own function; where it fails is told.
    """
    (tmp_path / "work.py").write_text(_WORK)
    path = {"PYTHONPATH": str(tmp_path)}
    program = await dev(start, "--memory", "--function=work.greet", **path)
    assert "/  work.greet\n" in program.output
    await add(start, program, "/bad", "{}")
    await add(start, program, "/good", '{"name": "you"}')
    await program.said(" /bad  ")
    await program.said(" /good ")
    said = await ended(program)
    assert f"KeyError: 'name' ({tmp_path / 'work.py'}, line 3)\n" in said
    assert "again in 1 s: KeyError: 'name'\n" in said


@ensureDeferred
async def test_reloads(start: Start, tmp_path: Path) -> None:
    """
    A function whose code changes is loaded again; broken code is told, once, whatever
    it raises.
    """
    work = tmp_path / "work.py"
    work.write_text("def run(task): return 1 / 0\n")
    path = {"PYTHONPATH": str(tmp_path)}
    program = await dev(start, "--memory", "--function=work.run", **path)
    await add(start, program, "/work")
    await program.said("ZeroDivisionError: division by zero\n")
    work.write_text("def run(task) return 1\n")
    await program.said("work cannot be imported: SyntaxError: ")
    assert "work.py, line 1); the code before goes on\n" in program.output
    work.write_text("raise KeyboardInterrupt('by the code')\n")
    await program.said(" KeyboardInterrupt: by the code; the code before goes on\n")
    work.write_text("def run(task): return 'fine'\n")
    await program.said("\ndone ")
    said = await ended(program)
    assert re.search(r"(?m)^reloaded   [\d:]{8} work.run$", said)
    assert said.count("\nbroken ") == 2


_SHOP = """
broker.url_env = "NOT_SET"

[queues.a]
exchange = "shop"
key = "a"
permanent = [404]
prehooks = ["work.note"]

[queues.b]
exchange = "shop"
key = "b"
"""


@ensureDeferred
async def test_config(start: Start, executor: Executor, tmp_path: Path) -> None:
    """
    A configuration file says what the mediators do, as it does for twistd; and it is
    read again when it changes.
    """
    (tmp_path / "work.py").write_text("def note(task): task['noted'] = True\n")
    config = tmp_path / "shop.toml"
    config.write_text(f'service.default_url = "{executor.url}/"\n{_SHOP}')
    path = {"PYTHONPATH": str(tmp_path)}
    program = await dev(start, "--memory", f"--config={config}", **path)
    assert (
        f"\nexecutor   {executor.url}/\nqueue      a\nqueue      b\n" in program.output
    )
    shop = ("--exchange=shop", "--key=a")
    executor.answer = lambda task: 404
    await add(start, program, "/gone", *shop)
    await program.said("\nburied ")
    assert executor.tasks[0]["noted"] is True
    config.write_text(config.read_text().replace("[404]", "[410]") + "x = 1\n")
    await program.said("shop.toml:")
    assert "queues.b.x is not known" in program.output
    (tmp_path / "odd.py").write_text("raise KeyboardInterrupt('by a hook')\n")
    config.write_text(config.read_text().replace("x = 1", 'prehooks = ["odd.x"]'))
    await program.said(" KeyboardInterrupt: by a hook")
    config.write_text(config.read_text().replace('prehooks = ["odd.x"]\n', ""))
    await program.said("\nreloaded ")
    await add(start, program, "/gone", *shop)
    await program.said("\nretry ")
    await ended(program)


@ensureDeferred
async def test_queue_that_cannot_be(start: Start, tmp_path: Path) -> None:
    """
    A queue with an argument that the broker does not have is told of; the tasks of the
    other one are done.
    """
    config = tmp_path / "shop.toml"
    config.write_text(
        f"{_SHOP}\n[queues.c]\nexchange = 'shop'\nkey = 'c'\narguments.x-odd = 1\n"
    )
    path = {"PYTHONPATH": str(tmp_path)}
    (tmp_path / "work.py").write_text("def note(task): pass\n")
    options = (f"--config={config}", "--function=work.note")
    program = await dev(start, "--memory", *options, **path)
    assert "Queue 'c' cannot be watched for now, and is tried again" in program.output
    assert "NOT_IMPLEMENTED - queue argument x-odd" in program.output
    await add(start, program, "/fine", "--exchange=shop", "--key=b")
    await program.said("\ndone ")
    await ended(program)


@ensureDeferred
async def test_obeys_answers(start: Start, tmp_path: Path) -> None:
    """
    A task's C{retry} and the executor's C{Retry-After} and C{Quebert-Outcome} are
    heeded, and HTML is shown as text.
    """
    server = (
        "import http.server\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        self.rfile.read(int(self.headers['Content-Length']))\n"
        "        self.send_response(503)\n"
        "        if self.path == '/later': self.send_header('Retry-After', '7')\n"
        "        outcome = 'bury' if self.path == '/never' else ''\n"
        "        self.send_header('Quebert-Outcome', outcome)\n"
        "        self.send_header('Content-Type', 'text/html')\n"
        "        self.end_headers()\n"
        "        self.wfile.write(b'<h1>Busy</h1><p>Come &amp; see')\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()\n"
    )
    serving = start("-c", server)
    await until(lambda: "\n" in serving.output)
    url = f"http://127.0.0.1:{serving.output.split()[0]}"
    program = await dev(start, "--memory", f"--default-url={url}/")
    await add(start, program, "/later")
    await program.said("again in 7 s: Busy Come & see\n")
    await add(start, program, "/never")
    await program.said("\nburied ")
    adding = start("-c", _ADD_ONCE, url_of(program))
    assert await adding.ended() == 0, adding.output
    await program.said("is given up after 1 attempt")
    serving.kill()
    await ended(program)


@ensureDeferred
async def test_not_a_task(start: Start) -> None:
    """
    What is no task is set aside, and told of, once.
    """
    program = await dev(start, "--memory", "--queue=q", "--exchange=e", "--key=k")
    with channel(url_of(program)) as publishing:
        publish(publishing, "e", "k", b'{"url": "\xff')
        publish(publishing, "e", "k", b'{"url": 7}')
        await program.said("url must be a string")
        assert depth(publishing, "q") == 0

    def buried() -> int:
        with channel(url_of(program)) as asking:
            try:
                return depth(asking, "q.dead")
            except ChannelClosedByBroker:  # it is not there yet
                return 0

    await until(lambda: buried() == 2)
    lines = (await ended(program)).splitlines()[5:]
    assert [each.split()[0] for each in lines] == ["buried", "buried"]
    assert all("now in queue q.dead: not a task: " in each for each in lines)


@ensureDeferred
async def test_ends_while_requests_run(start: Start, executor: Executor) -> None:
    """
    What an executor does not answer is not waited for long.
    """
    executor.answer = lambda task: Deferred()
    program = await dev(start, "--memory", f"--default-url={executor.url}")
    await add(start, program, "/work")
    await until(lambda: executor.tasks)
    await ended(program)


# -- What cannot begin


@ensureDeferred
async def test_port_in_use(start: Start) -> None:
    """
    A port that is in use is told, with the option that chooses another.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        where = f"port {port} of 127.0.0.1 is in use: choose another with"
        for option, arguments in [
            ("--amqp-port", ("dev", "--memory", "--http-port=0")),
            ("--http-port", ("dev", "--memory", "--amqp-port=0")),
            ("--port", ("broker", "--memory")),
        ]:
            program = quebert_(start, *arguments, f"{option}={port}")
            assert await sentence(program) == f"{where} {option}"


@pytest.mark.parametrize("content", [b"", b"what one has written", b"\0" * 5000])
@ensureDeferred
async def test_broken_database(start: Start, tmp_path: Path, content: bytes) -> None:
    """
    A file that is no database of ours is told, and left as it was.
    """
    file = tmp_path / "broker.sqlite"
    file.write_bytes(content)
    for command in (("dev", "--amqp-port=0", "--http-port=0"), ("broker", "--port=0")):
        program = quebert_(start, *command, f"--data={tmp_path}")
        assert (await sentence(program)).startswith(f"{file}: ")
    assert file.read_bytes() == content


@ensureDeferred
async def test_database_in_use(start: Start, tmp_path: Path) -> None:
    """
    Two cannot keep their messages in the same folder.
    """
    await broker(start, f"--data={tmp_path}")
    program = quebert_(start, "broker", "--port=0", f"--data={tmp_path}")
    told = "another broker has this database open"
    assert await sentence(program) == f"{tmp_path / 'broker.sqlite'}: {told}"


# -- broker


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@ensureDeferred
async def test_broker(start: Start, tmp_path: Path, number: int) -> None:
    """
    The broker alone: others use it, and what it has confirmed outlives it.
    """
    data = f"--data={tmp_path / 'data'}"
    program = await broker(start, data)
    with channel(url_of(program)) as publishing:
        publishing.queue_declare("q", durable=True)
        publish(publishing, "", "q", b"1", b"2")
    program.signal(number)
    assert await program.ended() in (0, -number)
    again = await broker(start, data)
    with channel(url_of(again)) as getting:
        assert [getting.basic_get("q")[2] for _ in range(3)] == [b"1", b"2", None]
    await ended(again)


@ensureDeferred
async def test_users_and_vhosts(start: Start) -> None:
    """
    Who is let in, and where to, can be said; the password is not told.
    """
    user = {"QUEBERT_BROKER_USERS": "me:s3cret"}
    program = await broker(start, "--memory", "--vhost=here", "--vhost=there", **user)
    url = url_of(program).replace("...", "s3cret")
    for each in (url, url.replace("here", "there")):
        with channel(each) as publishing:
            publishing.queue_declare("q", durable=True)
    for wrong in (url.replace("s3cret", "x"), url.replace("me:s3cret", "guest:guest")):
        with pytest.raises(pika.exceptions.AMQPConnectionError), channel(wrong):
            pass
    assert "s3cret" not in await ended(program)


def fill(url: str) -> int:
    """
    Publish until the broker takes no more; how much it has confirmed.
    """
    confirmed = 0
    try:
        with channel(url) as publishing:
            publishing.queue_declare("q", durable=True)
            while confirmed < 1_000:
                publish(publishing, "", "q", b"x" * 10_000)
                confirmed += 1
    except pika.exceptions.AMQPError:
        return confirmed
    raise AssertionError("it takes everything")


@pytest.mark.parametrize("command", ["broker", "dev"])
@ensureDeferred
async def test_disk_full(start: Start, tmp_path: Path, command: str) -> None:
    """
    A broker that cannot write any more says so and ends; what it has confirmed
    is there.
    """
    ports = {
        "broker": ["--port=0"],
        "dev": ["--amqp-port=0", "--http-port=0", "--no-page"],
    }
    options = (command, *ports[command], f"--data={tmp_path}")
    program = start("-c", _SMALL_FILES, *options)
    lines = {"broker": 1, "dev": 5}[command]
    await until(lambda: program.output.count("\n") == lines)
    confirmed = fill(url_of(program))
    assert await program.ended() == 1
    (told,) = program.output.splitlines()[lines:]
    assert told.startswith(f"Error: {tmp_path / 'broker.sqlite'}: ")
    again = await broker(start, f"--data={tmp_path}")
    with channel(url_of(again)) as it:
        assert depth(it, "q") in (confirmed, confirmed + 1)


# -- add


@ensureDeferred
async def test_add_is_refused(start: Start) -> None:
    """
    What is not added is told in one sentence.
    """
    program = await dev(start, "--memory")
    url = url_of(program)
    for arguments, told in [
        (["/", "--key=other.key"], "no queue takes this"),
        (["/", "--exchange=nowhere"], "no exchange 'nowhere'"),
        (["/", f"--key={'x' * 256}"], "longer than 255 bytes"),
        (["/", "--ttl=1", "--delay=2"], "run_at is beyond the ttl"),
        (["ftp://host/"], "must begin with http:// or https://"),
        (["/", f"--amqp-url={url.replace(':guest@', ':wrong@')}"], "ACCESS_REFUSED"),
        (["/", "--amqp-url=http://host/"], "must begin with amqp:// or amqps://"),
    ]:
        adding = quebert_(start, "add", *arguments, QUEBERT_AMQP_URL=url)
        assert told in await sentence(adding)


@ensureDeferred
async def test_add_is_interrupted(start: Start) -> None:
    """
    Who gives up waiting for the broker is not told that the task is there.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}/"
        adding = quebert_(start, "add", "/", f"--amqp-url={url}")
        with silent.accept()[0] as connection:
            connection.recv(8)
            adding.signal(signal.SIGINT)
            assert await adding.ended() == 1
        assert adding.output.strip() == "Aborted!"


@ensureDeferred
async def test_version(start: Start) -> None:
    """
    It tells what it is, and what it stands on.
    """
    program = quebert_(start, "--version")
    assert await program.ended() == 0
    first, python, *others = program.output.splitlines()
    assert first == f"quebert, version {quebert.__version__}"
    assert python.endswith(platform.python_version())
    assert {f"{name} {version(name)}" for name in ("Twisted", "txAMQP")} < set(others)
