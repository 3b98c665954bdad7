"""
L{RabbitMQNode}: an installed RabbitMQ as a private broker of a test.

If several are installed, it is the one whose commands are in the folder
C{$QUEBERT_RABBITMQ}.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from quebert.errors import QuebertError

__all__ = ["INSTALL", "RabbitMQNode", "find_rabbitmq", "free_port"]

#: How to get what L{RabbitMQNode} needs.
INSTALL = "apt-get install -y rabbitmq-server"
# Debian's own commands in /usr/sbin change the user, and refuse most users.
_FOLDERS = ("/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/usr/local/sbin")
#: The environment variable that chooses one of several RabbitMQs.
_CHOSEN = "QUEBERT_RABBITMQ"


def find_rabbitmq(command: str = "rabbitmq-server") -> str:
    """
    The path of one of RabbitMQ's commands.  It is in the folder that the environment
    variable C{QUEBERT_RABBITMQ} names; without that variable, wherever RabbitMQ is
    installed.

    @raise QuebertError: RabbitMQ is not installed, or the command is not in the folder
        that C{QUEBERT_RABBITMQ} names.
    """
    chosen = os.environ.get(_CHOSEN)
    path = chosen or os.pathsep.join((*_FOLDERS, os.environ.get("PATH", "")))
    found = shutil.which(command, path=path)
    if found is None and chosen:
        raise QuebertError(f"{_CHOSEN} names {chosen}, where there is no {command}")
    if found is None:
        raise QuebertError(f"RabbitMQ is not installed; on Debian: {INSTALL}")
    return found


#: What docs/watching.rst advises for delays.
_ADVANCED = """\
[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 2000}]}].
"""

_PORT_USED = "dist_port_already_used"


def reserve_port() -> tuple[int, socket.socket]:
    """
    A free TCP port of the loopback, and the socket that reserves it.

    While that socket is open, Linux gives the port to no connection, and to no server
    that asks for any free port.  A server that asks for this very port can listen on
    it, since all of them set C{SO_REUSEADDR}.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    number: int = holder.getsockname()[1]
    if sys.platform != "linux":
        holder.close()  # BSD lets no server listen beside it
    return number, holder


def free_port() -> int:
    """
    A TCP port of the loopback, reserved until this process ends.
    """
    number, holder = reserve_port()
    holder.detach()  # stays open, though nobody knows it any more
    return number


class RabbitMQNode:
    """
    A RabbitMQ of one's own: on free ports of the loopback, in a temporary
    folder, away from any other on the machine, and set up for delays as
    C{docs/watching.rst} advises::

        with RabbitMQNode() as node:
            client = TxAMQPClient.from_url(node.url)

    Its calls block.  What it holds survives L{kill} and L{stop}, until L{close}.

    @param configuration: lines for C{rabbitmq.conf}.
    @param plugins: names of plugins that it has, such as C{rabbitmq_management}.
    @ivar port: where it speaks AMQP.
    @ivar url: the same, as an AMQP URL.
    """

    #: Seconds that starting and stopping may take.
    PATIENCE = 120.0

    def __init__(self, configuration: str = "", plugins: Iterable[str] = ()) -> None:
        self._server = find_rabbitmq()
        # Reserved also while RabbitMQ is stopped: nobody else listens there then.
        ports, self._reserved = zip(*(reserve_port() for _ in range(3)), strict=True)
        self.port, self._epmd_port, self._distribution_port = ports
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self._folder = Path(tempfile.mkdtemp(prefix="quebert-rabbitmq-"))
        (self._folder / "rabbitmq.conf").write_text(configuration)
        (self._folder / "advanced.config").write_text(_ADVANCED)
        (self._folder / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = self._make_environment()

    def _make_environment(self) -> dict[str, str]:
        folder = self._folder
        others = {k: v for k, v in os.environ.items() if not k.startswith("RABBITMQ")}
        return others | {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"quebert-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def start(self) -> None:
        """
        Start it; returns once it takes connections.

        @raise QuebertError: it does not start.
        """
        deadline = time.monotonic() + self.PATIENCE
        while not self._has_started(deadline):
            time.sleep(0.5)

    def _has_started(self, deadline: float) -> bool:
        """
        Start it; tells whether it takes connections.  It does not where another process
        listens on its port for other nodes: RabbitMQ's commands do, for a moment, on
        any port that nobody listens on.

        @raise QuebertError: it does not start.
        """
        before = self._said()
        with open(self._folder / "output", "ab") as output:
            self._process = subprocess.Popen(
                [self._server],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._said().removeprefix(before)
                if _PORT_USED in said and time.monotonic() < deadline:
                    return False
                raise QuebertError(f"RabbitMQ does not start; it said: {said[-2000:]}")
            time.sleep(0.1)
        return True

    def _said(self) -> str:
        output = self._folder / "output"
        return output.read_text(errors="replace") if output.exists() else ""

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return probe.recv(1) == b"\x01"
        except OSError:
            return False

    @property
    def log(self) -> str:
        """
        The text that it has logged; empty before its first start, and once it is
        closed.
        """
        file = self._folder / "log" / f"{self._environment['RABBITMQ_NODENAME']}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def running(self) -> bool:
        """
        Whether it was started, and since then neither stopped nor killed.
        """
        return self._process is not None

    def stop(self) -> None:
        """
        Stop it in an orderly way.
        """
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """
        End it at once (SIGKILL).
        """
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(self.PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        except ProcessLookupError:
            process.wait()

    def ctl(self, *arguments: str) -> str:
        """
        What C{rabbitmqctl} says to these arguments.
        """
        command = [find_rabbitmq("rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True
        )
        if done.returncode:
            raise QuebertError(f"rabbitmqctl {arguments}: {done.stderr or done.stdout}")
        return done.stdout

    def eval(self, expression: str) -> str:
        """
        What an Erlang expression gives on this node, written as Erlang writes terms.

        Erlang's own C{erl_call} asks for it in 10 ms.  Where that is not installed,
        C{rabbitmqctl} does, which needs most of a second of a processor.

        @raise QuebertError: the expression fails; its text is Erlang's.
        """
        return self._text_of(f'io_lib:format("~0tp", [begin {expression} end])')

    def _text_of(self, expression: str) -> str:
        """
        The text that an expression gives.  It passes in base64, which no escape and no
        broken line can change.
        """
        encoding = "base64:encode_to_string(unicode:characters_to_binary"
        answer = self._evaluated(f"{encoding}({expression})).")
        if re.fullmatch(r"\[\]|\{ok, \[\]\}", answer.strip()):  # the empty text
            return ""
        found = re.findall(r'"([\w+/=]*)"', answer)
        if answer.startswith("{error") or not found:
            raise QuebertError(f"RabbitMQ evaluates {expression} to {answer}")
        return base64.b64decode("".join(found)).decode()

    def _evaluated(self, expression: str) -> str:
        if (erl_call := self._erl_call) is None:
            return self.ctl("eval", expression)
        command = [erl_call, "-sname", self._environment["RABBITMQ_NODENAME"], "-e"]
        done = subprocess.run(
            command,
            input=f"{expression}\n",
            env=self._environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:  # no connection: nothing was evaluated
            return self.ctl("eval", expression)
        return done.stdout

    @property
    def _erl_call(self) -> str | None:
        with suppress(QuebertError):
            return find_rabbitmq("erl_call")
        return None

    def depths(self, vhost: str = "/") -> dict[str, int]:
        """
        How many messages each queue holds, ready or delivered, if it says so.
        """
        name = ",".join(map(str, vhost.encode()))
        columns = f"rabbit_amqqueue:info_all(<<{name}>>, [name, messages])"
        lines = "[[Name, $\\t, integer_to_binary(Count), $\\n]"
        each = "[{name, {resource, _, queue, Name}}, {messages, Count}]"
        listed = self._text_of(f"{lines} || {each} <- {columns}, is_integer(Count)]")
        pairs = (line.rpartition("\t") for line in listed.splitlines())
        return {name: int(count) for name, _, count in pairs}

    def close(self) -> None:
        """
        Stop it, and remove all that it left.
        """
        self.stop()
        # Erlang's port mapper outlives the node. RabbitMQ may bring its own.
        folder = str(Path(self._server).parent)
        path = os.pathsep.join((folder, os.environ.get("PATH", "")))
        epmd = shutil.which("epmd", path=path)
        if epmd is not None:
            subprocess.run(
                [epmd, "-port", str(self._epmd_port), "-kill"],
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        for each in self._reserved:
            each.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> RabbitMQNode:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
