"""
The RabbitMQ that L{quebert.testing} starts.
"""

from __future__ import annotations

import os
from pathlib import Path

import pika
import pytest
from pytest_twisted import ensureDeferred

from quebert.errors import QuebertError
from quebert.test.support import publish, until
from quebert.testing import RabbitMQNode, find_rabbitmq


def test_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    A command is taken from the folder that C{QUEBERT_RABBITMQ} names.
    """
    command = tmp_path / "rabbitmqctl"
    command.touch(mode=0o755)
    monkeypatch.setenv("QUEBERT_RABBITMQ", str(tmp_path))
    assert find_rabbitmq("rabbitmqctl") == str(command)


def test_not_in_the_chosen_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    A command that is not in that folder is taken from nowhere else.
    """
    monkeypatch.setenv("QUEBERT_RABBITMQ", str(tmp_path))
    with pytest.raises(QuebertError) as caught:
        RabbitMQNode()
    assert str(caught.value) == (
        f"QUEBERT_RABBITMQ names {tmp_path}, where there is no rabbitmq-server"
    )


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a RabbitMQ, the error tells how to install one.
    """
    monkeypatch.delenv("QUEBERT_RABBITMQ", raising=False)
    with pytest.raises(QuebertError, match="apt-get install -y rabbitmq-server"):
        find_rabbitmq("rabbitmq-of-no-version")


def processes_in(folder: Path) -> set[str]:
    """
    The commands that run with this folder as their home: those of a node.
    """
    commands = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().split(b"\0")[0]
        except OSError:  # It has just ended, or belongs to somebody else.
            continue
        if f"HOME={folder}".encode() in environment:
            commands.add(os.path.basename(command.decode()))
    return commands


@ensureDeferred
async def test_life_of_a_node(installed_rabbitmq: None) -> None:
    """
    Killed or stopped, a node has no process left but Erlang's port mapper. A killed
    one keeps its messages; closed, it leaves nothing.
    """
    with RabbitMQNode() as node:
        assert node.depths() == {}
        folder = Path(node._environment["HOME"])
        assert "beam.smp" in processes_in(folder)
        with pika.BlockingConnection(pika.URLParameters(node.url + "%2f")) as link:
            channel = link.channel()
            channel.confirm_delivery()
            channel.queue_declare("kept", durable=True)
            publish(channel, "", "kept", b"a task")

        assert str(folder) in node.log
        node.eval("mnesia:sync_log()")  # else it may forget a queue that is new
        node.kill()
        assert not node.running
        # What Erlang started for itself ends when it finds Erlang gone.
        await until(lambda: processes_in(folder) <= {"epmd"})
        node.start()
        assert node.depths() == {"kept": 1}
        node.stop()
        await until(lambda: processes_in(folder) <= {"epmd"})
    await until(lambda: not processes_in(folder))
    assert not folder.exists()
