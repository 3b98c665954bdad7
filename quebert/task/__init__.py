"""
The task message: its fields, its JSON, and the arithmetic of its times.  Pure.

A task is a mutable dict, since hooks may change it.  L{make} builds one, L{encode_new},
L{encode} and L{decode} are its wire form, L{schedule} and L{request} read what a
mediator needs from it.  Whatever is wrong with a task is told by L{BadTask
<quebert.errors.BadTask>} in one sentence that names the field.

To add a field: C{FIELDS} in C{_keywords}, with what other task queues call it
(C{_ELSEWHERE}); L{request} or L{schedule}, which read it, and L{Bounds}, if it has a
length; L{make}; C{docs/tasks.rst}.  Where producers give it: L{quebert.producer}, and
over HTTP L{quebert.web._task_body} and L{quebert.client}.  What a mediator does with
it: L{quebert.mediator}; if executors get it as a header, C{TaskReader.read} in
C{mediator/_reading} adds that to the headers of L{Request}.  A large field that
mediators do not read is left out in C{_part}.
"""

from quebert._bounds import BOUNDS, Bounds
from quebert.task._callback import check_callback_url
from quebert.task._cloud_tasks import CloudTasksField, IDTokenWanted, kept_headers
from quebert.task._header_names import folded
from quebert.task._json import (
    Task,
    check_size,
    decode,
    decode_bounded,
    encode,
    encode_finite,
    encode_new,
    may_hold,
)
from quebert.task._keywords import check_keywords, meant_by
from quebert.task._new import make, random_uuids
from quebert.task._part import CAN_READ_PART, LARGE, read_part
from quebert.task._payload import read_payload
from quebert.task._request import METHODS_WITH_BODY, Request, request, with_headers
from quebert.task._times import (
    ANY_TIME,
    Schedule,
    ages_since_sent,
    format_time,
    parse_time,
    schedule,
    times_of,
)

__all__ = [
    "ANY_TIME",
    "BOUNDS",
    "CAN_READ_PART",
    "LARGE",
    "METHODS_WITH_BODY",
    "Bounds",
    "CloudTasksField",
    "IDTokenWanted",
    "Request",
    "Schedule",
    "Task",
    "ages_since_sent",
    "check_callback_url",
    "check_keywords",
    "check_size",
    "decode",
    "decode_bounded",
    "encode",
    "encode_finite",
    "encode_new",
    "folded",
    "format_time",
    "kept_headers",
    "make",
    "may_hold",
    "meant_by",
    "parse_time",
    "random_uuids",
    "read_part",
    "read_payload",
    "request",
    "schedule",
    "times_of",
    "with_headers",
]
