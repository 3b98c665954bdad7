"""
The formats of a file of tasks: JSON Lines, and CSV with a header.  Each makes of a
record an item: a mapping with the keywords of C{add_task}.  Pure.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from quebert import task as tasks
from quebert.bulk._records import MAX_ROW, TaskRecord, is_line, is_row
from quebert.config import seconds
from quebert.errors import BadTask, ConfigError

__all__ = ["FORMATS", "CSVRows", "FileFormat", "JSONLines", "checked_item"]

#: What a line may say.
KEYWORDS = frozenset(
    {
        "callback_url",
        "delay",
        "extra",
        "headers",
        "kind",
        "method",
        "params",
        "payload",
        "priority",
        "retry",
        "run_at",
        "timeout",
        "ttl",
        "url",
        "uuid",
    }
)
#: The columns of a CSV file whose cells are JSON.
_AS_JSON = frozenset({"extra", "headers", "params", "retry"})
#: Columns of which each makes one value of an object, such as C{params.name}.
_GROUPS = ("params", "headers", "extra")
#: Fields that may be a text such as C{5m}.
_DURATIONS = ("delay", "ttl", "timeout")

_BOM = b"\xef\xbb\xbf"


class FileFormat(Protocol):
    """
    How the records of a file are written.
    """

    @staticmethod
    def is_whole(raw: bytes) -> bool:
        """
        Whether a line is a whole record.
        """

    def takes(self, record: TaskRecord) -> bool:
        """
        Whether a record is one of a task; the header is none, nor is an empty line.

        @raise ConfigError: it is the header, and wrong.
        """

    def item(self, record: TaskRecord) -> Mapping[str, Any]:
        """
        The item that a record says.

        @raise BadTask: it says none.
        """


class JSONLines:
    """
    A JSON object in each line (U{https://jsonlines.org}).
    """

    @staticmethod
    def is_whole(raw: bytes) -> bool:
        """
        Whether a line is a whole record.
        """
        return is_line(raw)

    def takes(self, record: TaskRecord) -> bool:
        """
        Whether there is anything in the line.
        """
        return bool(record.raw.strip())

    def item(self, record: TaskRecord) -> Mapping[str, Any]:
        """
        The object.
        """
        found = tasks.decode(record.raw.removeprefix(_BOM))
        if isinstance(found, dict):
            return found
        raise BadTask('it is JSON, but no object such as {"url": "/hello"}')


class CSVRows:
    """
    CSV in UTF-8 with a header (RFC 4180).  The header names the keywords of
    C{add_task}; an empty cell says nothing.
    """

    @staticmethod
    def is_whole(raw: bytes) -> bool:
        """
        Whether a line is a whole row.
        """
        return is_row(raw)

    def __init__(self) -> None:
        self._columns: list[str] | None = None
        csv.field_size_limit(MAX_ROW)

    def takes(self, record: TaskRecord) -> bool:
        """
        Whether it is not the header, which is read here, and not empty.
        """
        if not record.raw.strip():
            return False
        if self._columns is not None:
            return True
        try:
            if record.too_long:
                raise BadTask(record.too_long)
            columns = [each.strip() for each in _cells(record.raw.removeprefix(_BOM))]
        except BadTask as e:
            raise ConfigError(
                f"the header of the CSV file cannot be read: {e}"
            ) from None
        _check(columns)
        self._columns = columns
        return False

    def item(self, record: TaskRecord) -> Mapping[str, Any]:
        """
        The cells of a row by their columns.
        """
        columns = self._columns
        assert columns is not None
        cells = _cells(record.raw)
        if len(cells) != len(columns):
            raise BadTask(f"it has {len(cells)} cells, and the header {len(columns)}")
        item: dict[str, Any] = {}
        for column, cell in zip(columns, cells, strict=True):
            if cell == "":
                continue
            group, dot, name = column.partition(".")
            if dot:
                item.setdefault(group, {})[name] = cell
            else:
                item[column] = _json(column, cell) if column in _AS_JSON else cell
        return item


#: The formats by their names.
FORMATS: Mapping[str, Callable[[], FileFormat]] = {"jsonl": JSONLines, "csv": CSVRows}


def _cells(raw: bytes) -> list[str]:
    try:
        [cells] = csv.reader([raw.decode("utf-8")], strict=True)
    except UnicodeDecodeError as e:
        raise BadTask(f"it is not in UTF-8: {e.reason}") from None
    except (csv.Error, ValueError) as e:
        raise BadTask(f"it is not CSV: {e}") from None
    return cells


def _check(columns: list[str]) -> None:
    """
    @raise ConfigError: a column is none.
    """
    for column in columns:
        group, dot, name = column.partition(".")
        if column in KEYWORDS or (dot and group in _GROUPS and name):
            continue
        known = ", ".join(sorted(KEYWORDS))
        raise ConfigError(
            f"the header of the CSV file has a column {column!r:.60}: columns are"
            f" {known}, and params.NAME, headers.NAME and extra.NAME for one value each"
        )
    for column in columns:
        group = column.partition(".")[0]
        twice = columns.count(column) > 1 or (group != column and group in columns)
        if twice:
            raise ConfigError(f"the header of the CSV file says {group!r:.60} twice")


def _json(column: str, cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as e:
        raise BadTask(f"{column} must be JSON: {e}") from None


def checked_item(
    item: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """
    An item with what it does not say itself, and without what is C{null}.

    @param defaults: what it does not say.
    @raise BadTask: it has a key that is none, a time that is none, or a payload that is
        not base64.
    """
    whole = {**defaults, **item}
    for name, other in (("delay", "run_at"), ("run_at", "delay")):
        if item.get(name) is not None and item.get(other) is None:
            whole.pop(other, None)  # a default, which says another time
    if not whole.keys() <= KEYWORDS:
        name = min(whole.keys() - KEYWORDS)
        if name == "name":
            raise BadTask("names need the HTTP API: tasks of a file go over AMQP")
        meant = tasks.meant_by(name)
        hint = f": did you mean {meant}?" if meant in KEYWORDS else ""
        raise BadTask(f"{name!r:.60} is no keyword{hint}")
    for name in _DURATIONS:
        value = whole.get(name)
        if isinstance(value, str):
            try:
                whole[name] = seconds(value)
            except ConfigError as e:
                raise BadTask(f"{name} {e}") from None
    payload = whole.get("payload")
    if isinstance(payload, str):  # as a task has it
        whole["payload"] = tasks.read_payload(payload)
    return {name: value for name, value in whole.items() if value is not None}
