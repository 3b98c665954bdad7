"""
A real nginx or HAProxy that runs with a configuration of C{examples/deploy}.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import quebert
from quebert.test.support import until
from quebert.test.test_quexecutor_process import listening
from quebert.testing import free_port

__all__ = ["DEPLOY", "RealProxy"]

DEPLOY = Path(quebert.__file__).parents[1] / "examples" / "deploy"
#: Where a system keeps what only root starts.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


class RealProxy:
    """
    An nginx or a HAProxy that runs with a configuration of C{examples/deploy}.

    @param name: C{nginx} or C{haproxy}.
    @param file: the configuration.
    @param changes: texts of the configuration, and what stands in their place here.
    """

    def __init__(
        self, name: str, file: str, folder: Path, changes: dict[str, str]
    ) -> None:
        program = shutil.which(name, path=PATH)
        if program is None:
            pytest.skip(f"{name} is not installed")
        self.name = name
        self.port = free_port()
        self.log = folder / "log"
        text, arguments = getattr(self, f"_{name}")((DEPLOY / file).read_text(), folder)
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        (folder / "configuration").write_text(text)
        with open(self.log, "ab") as log:  # nginx opens it again
            self._process = subprocess.Popen(
                [program, *arguments, str(folder / "configuration")],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _nginx(self, text: str, folder: Path) -> tuple[str, list[str]]:
        kinds = "client_body", "proxy", "fastcgi", "uwsgi", "scgi"
        own = [f"{each}_temp_path {folder};" for each in kinds]
        for old, new in {
            r"\blisten \d+": f"listen 127.0.0.1:{self.port}",
            r"\baccess_log /\S+;": "\n".join(["access_log /dev/stdout;", *own]),
            r"\bpid /run/nginx.pid": f"pid {folder}/pid",
            r"\bworker_processes auto": "worker_processes 1",
        }.items():
            text, count = re.subn(old, new, text)
            assert count == 1, old
        # Its workers may not read the folders of tests otherwise.
        user = "user root; " if os.getuid() == 0 else ""
        directives = f"{user}daemon off;"
        return text, ["-e", "stderr", "-g", directives, "-c"]

    def _haproxy(self, text: str, folder: Path) -> tuple[str, list[str]]:
        assert "bind :8000" in text
        return text.replace("bind :8000", f"bind 127.0.0.1:{self.port}"), ["-db", "-f"]

    @property
    def url(self) -> str:
        """
        Where it takes requests.
        """
        return f"http://127.0.0.1:{self.port}/"

    async def started(self) -> RealProxy:
        """
        Wait until it takes requests.
        """

        def ready() -> bool:
            assert self._process.poll() is None, self.log.read_text()
            return listening(self.port)

        await until(ready)
        return self

    def end(self) -> None:
        """
        End it, with what it has started.
        """
        self._process.terminate()
        self._process.wait()
