"""
Rows as values of a database, and back.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.created_tasks import ENDED, STATES, CreatedTask, EndNote, NewTask
from quebert.task_store._encoding import decode_row, encode_row, raw, text
from quebert.task_store._schema import COLUMNS
from quebert.test.checks import QUICK
from quebert.test.created_tasks.doubles import new_task

_TEXTS = st.text(st.characters(), max_size=9)
_TIMES = st.floats(allow_nan=False)
_TASKS = st.builds(
    NewTask,
    queue=_TEXTS,
    uuid=_TEXTS,
    body=st.binary(max_size=9),
    created=_TIMES,
    due=_TIMES,
    name=st.none() | _TEXTS,
    digest=st.binary(max_size=9),
)


@st.composite
def _rows(draw: st.DrawFn) -> CreatedTask:
    task = draw(_TASKS)
    fields: dict[str, Any] = {
        "uuid": st.just(task.uuid),
        "queue": _TEXTS,
        "outcome": _TEXTS,
        "ended": _TIMES,
        "reason": _TEXTS,
        "status": st.none() | st.integers(),
        "first_attempt": st.none() | _TIMES,
    }
    end = draw(st.none() | st.builds(EndNote, **fields))
    state = draw(st.sampled_from(STATES))
    return CreatedTask(task=task, state=state, end=end, held_until=draw(_TIMES))


class EncodingTests(SynchronousTestCase):
    """
    C{_encoding}.
    """

    @QUICK
    @given(row=_rows(), number=st.integers())
    def test_and_back(self, row: CreatedTask, number: int) -> None:
        """
        Each row is what it was.
        """
        values = encode_row(number, row)
        self.assertEqual(len(values), len(COLUMNS))
        self.assertEqual(decode_row(values), (number, row))

    @QUICK
    @given(first=_TEXTS, second=_TEXTS)
    def test_texts(self, first: str, second: str) -> None:
        """
        Different texts are different bytes.
        """
        self.assertEqual(first == second, raw(first) == raw(second))
        self.assertEqual(text(raw(first)), first)

    def test_older_ends(self) -> None:
        """
        An end that was kept when notes said less has the defaults of what is new.
        """
        row = CreatedTask(task=new_task(), state=ENDED)
        values = list(encode_row(1, row))
        values[9] = '{"queue":"tasks","outcome":"done","ended":5.0}'
        end = EndNote(uuid="u", queue="tasks", outcome="done", ended=5.0)
        self.assertEqual(decode_row(values)[1].end, end)
