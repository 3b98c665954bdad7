"""
Which lines of quebert each of trial's tests executes, and how long it takes.

It runs one test module, in a process of its own, and writes what it found as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from coverage import Coverage
from twisted.trial.reporter import MinimalReporter
from twisted.trial.runner import TestLoader, TrialRunner


def main(module: str, target: str, *folders: str) -> None:
    """
    Write C{{"seconds": {test: seconds}, "lines": {path: {line: [test]}}}}; tests that
    fail, or are skipped, have no seconds.
    """
    seconds: dict[str, float] = {}
    measured = Coverage(data_file=None, config_file=False, source=folders)

    class Reporter(MinimalReporter):
        _lastTime: Any

        def startTest(self, test: Any) -> None:
            super().startTest(test)  # type: ignore[no-untyped-call]
            measured.switch_context(test.id())

        def stopTest(self, test: Any) -> None:
            super().stopTest(test)  # type: ignore[no-untyped-call]
            seconds[test.id()] = self._lastTime
            measured.switch_context("")

    with measured.collect():
        suite = TestLoader().loadByName(module)
        result: Any = TrialRunner(Reporter, stream=sys.stderr).run(suite)
    for test, _ in (*result.failures, *result.errors, *result.skips):
        seconds.pop(test.id(), None)
    data, root = measured.get_data(), Path.cwd()
    lines = {
        str(Path(path).relative_to(root)): data.contexts_by_lineno(path)
        for path in data.measured_files()
    }
    Path(target).write_text(json.dumps({"seconds": seconds, "lines": lines}))


if __name__ == "__main__":
    main(*sys.argv[1:])
