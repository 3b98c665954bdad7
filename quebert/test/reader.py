"""
A reader who follows documents to the letter: writes their files, gives their commands
to a shell, and compares what these show with what the document says.

The reader's ports are free ones, put in the place of those in the documents (see
L{Places}), so that several readers can work at the same time.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from quebert.test.contract.patience import until
from quebert.test.documents import Block, Document, Step, pattern
from quebert.test.shell import Service, Shell
from quebert.testing import free_port

__all__ = ["Places", "Reader"]

#: Seconds in which a program must print what the document shows: far more than any
#: takes.
PATIENCE = 60.0
#: Commands that run until they are told to end: they are left in the background.
_SERVICES = re.compile(
    r"twistd (-n|--nodaemon) |quebert (dev|broker|run|tail|top|web)\b|flask |gunicorn "
    r"|uvicorn |python \S*(executor|med|shop)\.py"
)
#: What sets the colour of a terminal.  Flask prints it into files, too.
_COLOURS = re.compile(r"\x1b\[[\d;]*m")


class Places:
    """
    The ports in the documents, and a reader's own in their places.

    @ivar amqp_url: where the reader's broker is.
    """

    #: Of a broker, another broker, an executor, a web server, and the page or metrics.
    PORTS = ("5672", "5673", "8000", "3000", "8080")

    def __init__(self) -> None:
        self._own = {port: str(free_port()) for port in self.PORTS}
        amqp, http, page = (self._own[each] for each in ("5672", "8000", "8080"))
        self.amqp_url = f"amqp://guest:guest@127.0.0.1:{amqp}/"
        # Where a document leaves out a port, a default of quebert's is meant.
        self._left_out = {
            r"(amqp://[\w:@]*localhost)/": rf"\1:{amqp}/",
            r'("localhost", "guest", "guest")': rf"\1, port={amqp}",
            r"(--config=examples[.]\w+[.]config)": (
                rf"\1 --default-url=http://localhost:{http}/"
            ),
            r"(quebert dev)\b": (
                rf"\1 --amqp-port={amqp} --http-port={http} --web-port={page}"
            ),
            r"(quebert broker)(?!.*--port)": rf"\1 --port={amqp}",
        }

    def translate(self, text: str) -> str:
        """
        The text of a document or a file with the reader's ports.
        """
        text = re.sub(rf"\b({'|'.join(self.PORTS)})\b", self._port, text)
        for left_out, said in self._left_out.items():
            text = re.sub(left_out, said, text)
        return text

    def _port(self, found: re.Match[str]) -> str:
        return self._own[found[1]]

    def as_documented(self, output: str) -> str:
        """
        What a program prints, without colours, and without the broker that is another
        than the default.
        """
        shown = _COLOURS.sub("", output)
        return shown.replace(f" --amqp-url {self.amqp_url}", "")


class Reader:
    """
    Follows documents in one folder, with one shell.

    @ivar ran: the commands that were run.
    """

    def __init__(self, folder: Path, shell: Shell, places: Places) -> None:
        self._folder = folder
        self._shell = shell
        self._places = places
        self._services: list[Service] = []
        self.ran: list[str] = []

    @classmethod
    @contextmanager
    def at(
        cls, folder: Path, notes: Path, environment: Mapping[str, str], places: Places
    ) -> Iterator[Reader]:
        """
        A reader, all of whose processes are ended at last.

        @param notes: a folder for the output of commands.
        """
        shell = Shell(folder, notes, environment)
        reader = cls(folder, shell, places)
        try:
            yield reader
            reader.leave()
        finally:
            for each in reader._services:
                each.kill()
            shell.end()

    def follow(self, document: Document) -> None:
        """
        Write the files of a document, and run its commands, in order.
        """
        for block in document.blocks:
            if block.name is not None:
                text = self._places.translate(block.text)
                (self._folder / block.name).write_text(f"{text}\n", "utf-8")
            elif block.not_run is None:
                self._follow(document, block)

    def _follow(self, document: Document, block: Block) -> None:
        place = f"{document.name}, block at line {block.line}"
        steps = block.steps
        for number, step in enumerate(steps, 1):
            following = steps[number].command if number < len(steps) else None
            self._do(step, following == "echo $?", place)

    def _do(self, step: Step, status_is_shown: bool, place: str) -> None:
        shown = [pattern(self._places.translate(each)) for each in step.shown]
        if step.command is None:
            service = self._service_that_showed(shown, place)
        elif _SERVICES.match(step.command):
            self.ran.append(step.command)
            path, pid = self._shell.start(self._places.translate(step.command))
            service = Service(step.command, pid, path)
            self._services.append(service)
            assert shown, f"{place}: what shows that {step.command} has started?"
            self._service_that_showed(shown, place, service)
        else:
            self._run(step.command, shown, status_is_shown, place)
            return
        if step.interrupted:
            self._end(service, signal.SIGINT)

    def _run(
        self,
        command: str,
        shown: Sequence[re.Pattern[str]],
        status_is_shown: bool,
        place: str,
    ) -> None:
        self.ran.append(command)
        output, status = self._shell.run(self._places.translate(command))
        told = f"{place}: $ {command}\n{output}{self._outputs()}"
        assert status == 0 or status_is_shown, f"exit status {status}, {told}"
        if shown:
            whole = "".join(_lines(each) for each in shown)
            documented = self._places.as_documented(output)
            lines = "".join(f"{each.rstrip()}\n" for each in documented.splitlines())
            assert re.fullmatch(whole, lines), told

    def _service_that_showed(
        self,
        shown: Sequence[re.Pattern[str]],
        place: str,
        among: Service | None = None,
    ) -> Service:
        """
        Wait until one of the services has printed what is shown.
        """
        services = self._services if among is None else [among]
        found: list[Service] = []

        def printed() -> bool:
            found.extend(each for each in services if self._printed(each, shown))
            ended = [each for each in services if not each.running]
            assert found or not ended, f"{place}: ended{self._outputs()}"
            return bool(found)

        expected = "\n".join(each.pattern for each in shown)
        until(printed, lambda: f"{place}:\n{expected}\n{self._outputs()}", PATIENCE)
        return found[-1]

    def _printed(self, service: Service, shown: Sequence[re.Pattern[str]]) -> bool:
        lines = self._places.as_documented(service.output).splitlines()
        place = service.seen
        for each in shown:
            matching = range(place, len(lines))
            following = (n for n in matching if each.fullmatch(lines[n].rstrip()))
            place = next(following, -1) + 1
            if place == 0:
                return False
        service.seen = place
        return True

    def _outputs(self) -> str:
        outputs = (f"\n-- $ {each.command}\n{each.output}" for each in self._services)
        return "".join(outputs)

    def _end(self, service: Service, number: signal.Signals) -> None:
        self._services.remove(service)
        with suppress(ProcessLookupError):
            os.kill(service.pid, number)
        status = self._shell.status(service.pid)
        # After Ctrl-C twistd ends as a shell expects: by the signal.
        ended_well = status == 0 or (number, status) == (signal.SIGINT, 130)
        assert ended_well, f"exit status {status}: {service.command}\n{service.output}"
        assert "Traceback" not in service.output, service.output

    def leave(self) -> None:
        """
        End all that still runs, the last first: each ends well.
        """
        for each in reversed(self._services[:]):
            self._end(each, signal.SIGTERM)


def _lines(shown: re.Pattern[str]) -> str:
    """
    A line; where anything is shown in it alone, any lines.
    """
    return r"(?:.*\n)*" if shown.pattern == ".*" else f"{shown.pattern}\n"
