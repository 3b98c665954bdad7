"""
The files in C{examples/deploy}: each is well-formed, names commands and options that
there are, and lets what it starts end in good order.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import quebert
from quebert.cli import main
from quebert.config import Settings, read
from quebert.executor import ExecutorOptions
from quebert.signatures import SharedSecret, write_key
from quebert.test.documents import Document
from quebert.testing import RabbitMQNode
from quebert.testing._rabbitmq import _ADVANCED

ROOT = Path(quebert.__file__).parents[1]
DEPLOY = ROOT / "examples" / "deploy"
pytestmark = pytest.mark.skipif(not DEPLOY.exists(), reason="not in a checkout")
UNITS = ("quebert.service", "quebert-web.service", "quexecutor.service")
#: Instructions of Dockerfiles that are in ours.
INSTRUCTIONS = {
    *("FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "STOPSIGNAL"),
    *("HEALTHCHECK", "CMD"),
}
#: Seconds after the grace of a mediator in which its workers are killed.
KILLING = 30


def text_of(name: str) -> str:
    """
    A file, with lines that go on joined.
    """
    return (DEPLOY / name).read_text("utf-8").replace("\\\n", " ")


def unit(name: str) -> dict[str, list[str]]:
    """
    The settings of a unit, of all sections.
    """
    found: dict[str, list[str]] = {}
    for line in text_of(name).splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def instructions() -> list[tuple[str, str]]:
    """
    The instructions of the Dockerfile.
    """
    lines = (line.strip() for line in text_of("Dockerfile").splitlines())
    return [
        (name, rest.strip())
        for name, _, rest in (each.partition(" ") for each in lines)
        if name and not name.startswith("#")
    ]


def documents(name: str) -> list[Any]:
    """
    The documents of a YAML file.
    """
    yaml: Any = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(text_of(name)))


def manifest(kind: str, name: str) -> Any:
    """
    A manifest of Kubernetes.
    """
    [found] = (
        each
        for each in documents("kubernetes.yaml")
        if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )
    return found


def pod(name: str) -> Any:
    """
    The pod of a deployment, with its one container.
    """
    spec = manifest("Deployment", name)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    return spec, container


def services() -> Any:
    """
    The services of C{compose.yaml}.
    """
    [found] = documents("compose.yaml")
    return found["services"]


def seconds(text: str) -> int:
    """
    A time of C{compose.yaml}.
    """
    assert text.endswith("s"), text
    return int(text[:-1])


def commands_of(name: str) -> Iterator[list[str]]:
    """
    The commands in a file.
    """
    if name in UNITS:
        settings = unit(name)
        for key in ("ExecStart", "ExecReload"):
            yield from map(shlex.split, settings[key])
    elif name == "Dockerfile":
        for instruction, rest in instructions():
            if instruction in ("CMD", "HEALTHCHECK"):
                yield json.loads(rest[rest.index("[") :])
    elif name == "compose.yaml":
        for each in services().values():
            if "command" in each:
                yield each["command"]
            if "healthcheck" in each:
                kind, *command = each["healthcheck"]["test"]
                assert kind == "CMD"
                yield command
    else:
        for deployment in ("mediator", "executor"):
            _, container = pod(deployment)
            yield container.get("command", ["quebert", "--version"])
            probes = (each for key, each in container.items() if "Probe" in key)
            hooks = container.get("lifecycle", {}).values()
            for each in (*probes, *hooks):
                if "exec" in each:
                    yield each["exec"]["command"]


@pytest.mark.parametrize(
    "name", [*UNITS, "Dockerfile", "compose.yaml", "kubernetes.yaml"]
)
def test_commands(name: str, tmp_path: Path) -> None:
    """
    Each command is there, and takes its options.
    """
    secrets = tmp_path / "signing"
    write_key(secrets, SharedSecret.generate())
    kinds = set()
    for program, *arguments in commands_of(name):
        kind = Path(program).name
        kinds.add(kind)
        match kind:
            case "quebert":
                check_quebert(arguments)
            case "twistd":
                check_twistd(arguments, secrets)
            case "python":
                assert arguments[0] == "-c"
                ast.parse(arguments[1])
            case _:
                assert kind in ("kill", "sleep", "rabbitmq-diagnostics"), kind
    assert kinds & {"quebert", "twistd"}


def check_quebert(arguments: list[str]) -> None:
    """
    Have C{quebert} read arguments, without doing anything.
    """
    if arguments == ["--version"]:
        return
    name, *rest = arguments
    command = main.commands[name]
    command.make_parser(click.Context(command)).parse_args(rest)


def check_twistd(arguments: list[str], secrets: Path) -> None:
    """
    Have C{twistd quexecutor} read arguments.
    """
    options, plugin, *rest = arguments[:2], arguments[2], *arguments[3:]
    assert options == ["--nodaemon", "--pidfile="]
    assert plugin == "quexecutor"
    given = "--verify-secret-file=/etc/quebert/secrets/signing"
    own = [each.replace(given, f"--verify-secret-file={secrets}") for each in rest]
    assert own != rest
    parsed: Any = ExecutorOptions()
    # The function is in a module of the reader's.
    function = "--function=tasks.execute"
    parsed.parseOptions(
        [each.replace(function, "--function=json.dumps") for each in own]
    )
    assert function in own


def test_functions_may_finish() -> None:
    """
    systemd stops the executor alone, which ends its processes.
    """
    assert unit("quexecutor.service")["KillMode"] == ["mixed"]


@pytest.mark.parametrize("name", UNITS)
def test_unit(name: str, tmp_path: Path) -> None:
    """
    systemd finds no fault with it, and calls it well protected.
    """
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / name).read_text("utf-8")
    # Both must be there.
    text = text.replace("/opt/quebert/bin", str(Path(sys.executable).parent))
    path = tmp_path / name
    path.write_text(text.replace("/opt/tasks\n", f"{tmp_path}\n"))
    for arguments in (
        ["verify", str(path)],
        ["security", "--offline=true", "--threshold=20", str(path)],
    ):
        done = subprocess.run(
            [analyze, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        # Other units of the machine may have faults.
        assert name not in done.stderr, done.stderr
    settings = unit(name)
    assert settings["User"] == ["quebert"]
    assert all(
        len(values) == 1 for key, values in settings.items() if "Call" not in key
    )


def test_dockerfile() -> None:
    """
    It copies files that are there, runs shell commands that parse, and leaves no root.
    """
    found = instructions()
    assert {name for name, _ in found} == INSTRUCTIONS
    sent = set(re.findall("(?m)^!(.*)", text_of("Dockerfile.dockerignore")))
    for name, rest in found:
        match name:
            case "COPY" if "--from" not in rest:
                for each in rest.split()[:-1]:
                    assert (ROOT / each).exists(), each
                    assert each in sent
            case "RUN":
                subprocess.run(["sh", "-n", "-c", rest], check=True)
            case "USER":
                user, group = map(int, rest.split(":"))
                assert 0 not in (user, group)
    names = [name for name, _ in found]
    assert names.index("USER") < names.index("CMD")


def settings_in(text: str, folder: Path) -> Settings:
    """
    Read a configuration beside its secrets.
    """
    secrets = folder / "secrets"
    secrets.mkdir(parents=True)
    write_key(secrets / "signing", SharedSecret.generate())
    (secrets / "broker-url").write_text("amqp://quebert:secret@rabbitmq/\n")
    (folder / "quebert.toml").write_text(text)
    return read(str(folder / "quebert.toml"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """
    The configuration of a mediator as a service.
    """
    return settings_in(text_of("quebert.toml"), tmp_path / "file")


def test_configuration(settings: Settings, tmp_path: Path) -> None:
    """
    The configuration can be read, and is the same in Kubernetes.
    """
    data = manifest("ConfigMap", "quebert")["data"]
    same = settings_in(data["quebert.toml"], tmp_path / "map")
    assert same.queues.keys() == settings.queues.keys()
    without_comments = re.sub(r"(?m)^#.*\n", "", text_of("quebert.toml"))
    assert data["quebert.toml"] == without_comments.lstrip()
    ast.parse(data["tasks.py"])


def test_time_to_end(settings: Settings) -> None:
    """
    What starts the mediator and the executor gives them the time to end tasks.
    """
    grace = settings.service.grace + KILLING
    for name in ("quebert.service", "quexecutor.service"):
        assert int(unit(name)["TimeoutStopSec"][0]) > grace
    for name in ("mediator", "executor"):
        assert seconds(services()[name]["stop_grace_period"]) > grace
        spec, _ = pod(name)
        assert spec["terminationGracePeriodSeconds"] > grace


def test_compose() -> None:
    """
    What it mounts is there, or the reader's; what runs quebert may do little else.
    """
    for name, service in services().items():
        for each in service["volumes"]:
            source = each.partition(":")[0]
            if not source.startswith(("./secrets/", "./tasks")) and source[0] == ".":
                assert (DEPLOY / source).exists(), source
        assert set(service.get("depends_on", ())) <= services().keys()
        if name != "rabbitmq":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
            path = DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]
            assert path.exists()


@pytest.mark.parametrize("name", ["mediator", "executor"])
def test_kubernetes(name: str) -> None:
    """
    Selectors find their pods, volumes and keys are there, and no container is root.
    """
    deployment = manifest("Deployment", name)["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    budget = manifest("PodDisruptionBudget", name)["spec"]
    assert budget["selector"]["matchLabels"] == labels
    # One may always go, or no node can be drained.
    assert budget["maxUnavailable"] == 1
    spec, container = pod(name)
    volumes = {each["name"] for each in spec["volumes"]}
    assert {each["name"] for each in container["volumeMounts"]} == volumes
    known = {*manifest("ConfigMap", "quebert")["data"], "broker-url", "signing"}
    keys = set(re.findall(r"'key': '([\w.-]+)'", repr(spec["volumes"])))
    assert keys <= known
    assert spec["securityContext"]["runAsNonRoot"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_service(settings: Settings) -> None:
    """
    Tasks go to the executors' service.
    """
    service = manifest("Service", "executor")["spec"]
    [port] = service["ports"]
    [queue] = settings.queues.values()
    assert queue.default_url == f"http://executor:{port['port']}/"
    assert "executor" in services()
    _, container = pod("executor")
    assert f"--port={port['port']}" in container["command"]
    labels = manifest("Deployment", "executor")["spec"]["selector"]["matchLabels"]
    assert service["selector"] == labels


def test_rabbitmq(installed_rabbitmq: None) -> None:
    """
    RabbitMQ starts with the configuration, and knows all of its keys.
    """
    with RabbitMQNode(text_of("rabbitmq.conf")) as node:
        for key, value in {
            "consumer_timeout": "1800000",
            "max_message_size": "33554432",
            "dead_letter_worker_publisher_confirm_timeout": "2000",
        }.items():
            assert value in node.eval(f"application:get_env(rabbit, {key})")
    # RabbitMQNode has the same.
    assert text_of("advanced.config") == _ADVANCED


@pytest.mark.parametrize("name", ["deployment", "proxies"])
def test_quoted(name: str) -> None:
    """
    What a document quotes stands in one of the files.
    """
    document = Document.read(ROOT / f"docs/{name}.rst", f"docs/{name}.rst")
    files = [path.read_text("utf-8") for path in DEPLOY.iterdir() if path.is_file()]
    lines = {line.strip() for text in files for line in text.splitlines()}
    quoted = [each for each in document.blocks if each.kind == "text"]
    assert quoted
    for block in quoted:
        for line in block.text.splitlines():
            assert not line.strip() or line.strip() in lines, line
