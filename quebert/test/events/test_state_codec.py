"""
Tests for L{quebert.events._state_codec}.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.events import (
    MediatorState,
    OriginState,
    UnreadableEvents,
    WatchState,
    decode_state,
    encode_state,
)
from quebert.test.checks import QUICK, refusal
from quebert.test.events.strategies import STATES

STATE = MediatorState(
    mediator="m",
    host="h",
    pid=1,
    version="1.0",
    started=1.0,
    at=2.0,
    queues={"tasks": WatchState(consuming=True)},
)


def packed(fields: object) -> bytes:
    """
    JSON, as the body of a message.
    """
    return b"QBS\x01" + zlib.compress(json.dumps(fields).encode())


class StateCodecTests(SynchronousTestCase):
    """
    States of mediators as bytes.
    """

    @QUICK
    @given(STATES)
    def test_round_trip(self, state: MediatorState) -> None:
        """
        What is written is read as it was.
        """
        self.assertEqual(decode_state(encode_state(state)), state)

    def test_other_versions(self) -> None:
        """
        Fields may be added, and left out where they have a default.
        """
        fields = json.loads(zlib.decompress(encode_state(STATE)[4:]))
        del fields["queues"]["tasks"]["rate"], fields["lag"]
        fields["new"] = fields["queues"]["tasks"]["newer"] = {"a": [1]}
        self.assertEqual(decode_state(packed(fields)), STATE)
        text = refusal(UnreadableEvents, decode_state, b"QBS\x07")
        self.assertIn("this state of a mediator is of version 7", text)

    def test_too_much(self) -> None:
        """
        What no mediator tells is refused, as it would fill the memory of who looks on:
        names and numbers that AMQP, or a metric, cannot have, and very many of them.
        """
        watch = WatchState(consuming=True)
        wrong: Any
        for wrong in (
            {"host": "h" * 5_000},
            {"memory": 10**300},
            {"queues": {"ä" * 128: watch}},
            {"queues": dict.fromkeys(map(str, range(5_001)), watch)},
            {"origins": {"o" * 5_000: OriginState()}},
            {"settings": dict.fromkeys(map(str, range(5_001)), "")},
        ):
            body = encode_state(attrs.evolve(STATE, **wrong))
            refusal(UnreadableEvents, decode_state, body)
        most = attrs.evolve(STATE, queues={"ä" * 127: watch}, memory=2**62)
        self.assertEqual(decode_state(encode_state(most)), most)
        long = attrs.evolve(STATE, settings={"allow": "x" * 9_000})
        told = decode_state(encode_state(long)).settings["allow"]
        self.assertEqual(told, "x" * 4_096)

    @QUICK
    @given(
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.floats(),
                st.just(10**400),
                st.sampled_from(["a", "\0", "\ud800"]),
            ),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
        st.sampled_from(["mediator", "pid", "at", "queues", "origins", "settings"]),
    )
    def test_wrong(self, value: object, name: str) -> None:
        """
        Whatever is in it, it is read or refused.
        """
        fields = json.loads(zlib.decompress(encode_state(STATE)[4:]))
        for body in (packed(value), packed({**fields, name: value})):
            try:
                decode_state(body)
            except UnreadableEvents as e:
                self.assertIn("a part of it is missing, or wrong", str(e))
