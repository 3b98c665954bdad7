"""
Tests for L{quebert.signatures}.
"""

from __future__ import annotations

import base64
import os
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import skipUnless

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import BadSignature, ConfigError
from quebert.signatures import (
    Key,
    PublicKey,
    SharedSecret,
    Signer,
    SigningKey,
    Verifier,
    parse_key,
    read_keys,
)
from quebert.signatures._verifier import Memory
from quebert.test.checks import QUICK, folder
from quebert.test.forgeries import (
    FORGERIES,
    NODE,
    accepted_by_node,
    accepted_by_python,
)

UUID = "8f145aec-5b4a-464e-b5bc-69f9794aece0"
BODY = '{"url":"/hello","params":[1,"é"]}'.encode()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
T = 1_674_087_231


def text_of(size: int, prefix: str = "whsec_") -> str:
    """
    A key of so many bytes.
    """
    return prefix + base64.b64encode(b"k" * size).decode()


class Clock:
    """
    A time of day that the test sets.
    """

    def __init__(self, now: float = T) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class KeyTests(SynchronousTestCase):
    """
    Secrets and keys as they are written.
    """

    def test_kinds(self) -> None:
        """
        The prefix tells what it is, and it is written as it was read.
        """
        pair = SigningKey.generate()
        for key, kind in (
            (SharedSecret.generate(), SharedSecret),
            (pair, SigningKey),
            (pair.public, PublicKey),
        ):
            self.assertIsInstance(parse_key(key.text), kind)
            self.assertEqual(parse_key(key.text), key)

    def test_padding(self) -> None:
        """
        The padding of base64 may be left out.
        """
        self.assertEqual(parse_key(text_of(25).rstrip("=")), parse_key(text_of(25)))

    def test_pair(self) -> None:
        """
        A signing key may have its public key after it, and no other.
        """
        one, other = SigningKey.generate(), SigningKey.generate()
        both = SigningKey(one.raw + one.public.raw)
        self.assertEqual(both.public, one.public)
        with self.assertRaisesRegex(ConfigError, "do not fit together"):
            SigningKey(one.raw + other.public.raw)

    def test_wrong(self) -> None:
        """
        What is no key is refused in one sentence, without its text.
        """
        for text, why in (
            ("canary", "a secret begins with whsec_, a key with whsk_ or whpk_"),
            ("whsec_canary!!", "what follows whsec_ must be base64"),
            ("whsec_canaryé", "what follows whsec_ must be base64"),
            (text_of(23), "must have 24 to 64 bytes, not 23"),
            (text_of(65), "must have 24 to 64 bytes, not 65"),
            (text_of(31, "whsk_"), "must have 32 or 64 bytes, not 31"),
            (text_of(33, "whpk_"), "must have 32 bytes, not 33"),
        ):
            with self.assertRaises(ConfigError) as caught:
                parse_key(text)
            self.assertIn(why, str(caught.exception))
            self.assertNotIn("canary", repr(caught.exception))
            self.assertNotIn(text, str(caught.exception))

    def test_sides(self) -> None:
        """
        A public key cannot sign, and an executor is to have no signing key.
        """
        pair = SigningKey.generate()
        with self.assertRaisesRegex(ConfigError, "cannot sign"):
            Signer([pair.public])
        with self.assertRaisesRegex(ConfigError, "belongs to the signing side alone"):
            Verifier([pair.text])
        for keys in ([], [SECRET] * 11):
            with self.assertRaisesRegex(ConfigError, "there must be 1 to 10 keys"):
                Verifier(keys)
        with self.assertRaisesRegex(ConfigError, "must be a list"):
            Verifier(SECRET)

    def test_repr(self) -> None:
        """
        No repr has a secret.
        """
        pair = SigningKey.generate()
        keys: list[Key] = [SharedSecret.generate(), pair]
        shown = repr([keys, pair.public, Signer(keys), vars(Signer(keys))])
        for key in keys:
            self.assertNotIn(key.text[6:], shown)
            self.assertNotIn(repr(key.raw)[2:-1], shown)


class FileTests(SynchronousTestCase):
    """
    Files of secrets.
    """

    def setUp(self) -> None:
        """
        A folder.
        """
        self.path = folder(self) / "secrets"

    def wrong(self, data: bytes, *, signing: bool = True) -> str:
        """
        What is said of a file.
        """
        self.path.write_bytes(data)
        with self.assertRaises(ConfigError) as caught:
            read_keys(self.path, signing=signing)
        self.assertNotIn("canary", str(caught.exception))
        return str(caught.exception).replace(str(self.path), "FILE")

    def test_lines(self) -> None:
        """
        One secret a line; comments, blank lines, spaces and a byte order mark do not
        matter.
        """
        one, other = SharedSecret.generate(), SigningKey.generate()
        lines = f"\ufeff# the new one\r\n  {one.text} \r\n\n#\n{other.text}"
        self.path.write_text(lines, encoding="utf-8")
        self.assertEqual(read_keys(self.path, signing=True), (one, other))

    def test_wrong(self) -> None:
        """
        The line that is wrong is named, and its text is not told.
        """
        secret = SECRET.encode()
        for data, why in (
            (b"", "FILE has no secret"),
            (b"# none\n", "FILE has no secret"),
            (secret + b"\n\n canary", "FILE, line 3: a secret begins with whsec_, a"),
            (b"#\nwhsec_canary", "FILE, line 2: a secret (whsec_) must have 24"),
            (b"whpk_" + b"A" * 43, "FILE, line 1: a public key (whpk_) cannot sign"),
            (b"\xff", "FILE is not in UTF-8"),
            (b"#" * 70_000, "FILE is larger than 65536 bytes"),
            ((secret + b"\n") * 11, "FILE has more than 10 secrets"),
        ):
            self.assertIn(why, self.wrong(data))
        signing = SigningKey.generate().text.encode()
        self.assertIn("belongs to the signing", self.wrong(signing, signing=False))

    def test_unreadable(self) -> None:
        """
        So is a file that cannot be read.  A pipe is not waited for.
        """
        pipe = self.path.parent / "pipe"
        os.mkfifo(pipe)
        for path, why in (
            (self.path, "cannot be read: No such file"),
            (self.path.parent, "is not a file"),
            (pipe, "is not a file"),
            ("a\0b", "cannot be read"),
        ):
            with self.assertRaisesRegex(ConfigError, why):
                read_keys(path, signing=True)


class SignerTests(SynchronousTestCase):
    """
    The headers of a request.
    """

    def test_known(self) -> None:
        """
        A signature is what the specification says.
        """
        headers = Signer([SECRET], now=Clock(1_614_265_330)).headers(
            "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
        )
        self.assertEqual(
            headers,
            {
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
        )

    def test_asymmetric(self) -> None:
        """
        With a signing key, the signature is one of ed25519.
        """
        pair = SigningKey.generate()
        headers = Signer([pair], now=Clock()).headers(UUID, BODY)
        version, _, encoded = headers["webhook-signature"].partition(",")
        self.assertEqual(version, "v1a")
        content = f"{UUID}.{T}.".encode() + BODY
        key = Ed25519PublicKey.from_public_bytes(pair.public.raw)
        key.verify(base64.b64decode(encoded), content)

    def test_several(self) -> None:
        """
        Each secret signs.
        """
        keys: list[Key | str] = [SECRET, SharedSecret.generate()]
        keys.append(SigningKey.generate())
        signature = Signer(keys).headers(UUID, BODY)["webhook-signature"]
        versions = [each.split(",")[0] for each in signature.split(" ")]
        self.assertEqual(versions, ["v1", "v1", "v1a"])

    def test_ids(self) -> None:
        """
        A uuid that cannot be an id becomes one, always the same; without a uuid each
        attempt has an id of its own.
        """
        signer = Signer([SECRET])

        def name(uuid: object) -> str:
            found = signer.headers(uuid, b"")["webhook-id"]
            self.assertRegex(found, r"\A[!-~]+\Z")
            self.assertNotIn(".", found)
            return found

        self.assertEqual([name(UUID), name("a"), name(17)], [UUID, "a", "17"])
        for odd in ("a.b", "a b", "é", "a\r\nb", "\ud800", "a" * 129, 1.5):
            self.assertEqual(name(odd), name(odd))
            self.assertNotEqual(name(odd), str(odd))
        self.assertNotEqual(name("a.b"), name("a.c"))
        self.assertNotEqual(name(None), name(None))

    def test_seconds(self) -> None:
        """
        Two attempts at a task never have the same second.
        """
        clock = Clock()
        signer = Signer([SECRET], now=clock)

        def second(uuid: str = UUID) -> int:
            return int(signer.headers(uuid, BODY)["webhook-timestamp"]) - T

        self.assertEqual([second(), second(), second("b"), second()], [0, 1, 0, 2])
        clock.now += 1.5
        self.assertEqual([second(), second("b")], [3, 1])
        clock.now += 100
        self.assertEqual([second(), len(signer._latest)], [101, 1])

    def test_replaces(self) -> None:
        """
        Headers that a task has itself do not get in the way, in any spelling.
        """
        theirs = {
            "Webhook-Id": "x",
            "WEBHOOK_SIGNATURE": "x",
            "webhook-timestamp": "1",
            "X-Shop": "7",
        }
        headers = Signer([SECRET]).signed(theirs, UUID, BODY)
        self.assertEqual(
            list(headers),
            ["X-Shop", "webhook-id", "webhook-timestamp", "webhook-signature"],
        )


class VerifierTests(SynchronousTestCase):
    """
    What is let in.
    """

    def setUp(self) -> None:
        """
        Both sides, at the same time.
        """
        self.clock = Clock()
        self.signer = Signer([SECRET], now=self.clock)
        self.verifier = Verifier([SECRET], now=self.clock)

    def refused(self, headers: object, body: bytes = BODY) -> str:
        """
        Why a request is refused.
        """
        with self.assertRaises(BadSignature) as caught:
            self.verifier.verify(headers, body)  # type: ignore[arg-type]
        return str(caught.exception)

    def test_accepts(self) -> None:
        """
        A signed request is let in, whatever the capitals of its headers' names.
        """
        headers = self.signer.headers(UUID, BODY)
        upper = [(name.upper(), value) for name, value in headers.items()]
        self.assertEqual(self.verifier.verify(upper, BODY), UUID)

    def test_rotation(self) -> None:
        """
        While a secret is replaced, either side may have both, and the other either.
        """
        new = SharedSecret.generate().text
        pair = SigningKey.generate()
        for signing, verifying in (
            ([SECRET, new], [SECRET]),
            ([SECRET, new], [new]),
            ([SECRET], [SECRET, new]),
            ([new], [SECRET, new]),
            ([SECRET, pair.text], [pair.public.text]),
            ([pair.text], [SECRET, pair.public.text]),
        ):
            headers = Signer(signing, now=self.clock).headers(UUID, BODY)
            Verifier(verifying, now=self.clock).verify(headers, BODY)

    def test_change_keys(self) -> None:
        """
        After a change of keys the old one is of no use, and what was here is known.
        """
        new = SharedSecret.generate().text
        both = Signer([SECRET, new], now=self.clock).headers(UUID, BODY)
        old = self.signer.headers("old", BODY)
        self.verifier.verify(both, BODY)
        self.verifier.change_keys([new])
        self.assertIn("was here before", self.refused(both))
        self.assertIn("no signature fits", self.refused(old))
        with self.assertRaises(ConfigError):
            self.verifier.change_keys(["whsec_"])

    def test_forgeries(self) -> None:
        """
        Each forgery is refused.
        """
        self.assertGreaterEqual(len(FORGERIES), 12)
        headers = self.signer.headers(UUID, BODY)
        for name, forged in FORGERIES.items():
            with self.subTest(name):
                self.refused(*forged(headers, BODY, SECRET, T))
        self.verifier.verify(headers, BODY)

    def test_forgeries_asymmetric(self) -> None:
        """
        So it is of a signature of ed25519; the public key is no secret of HMAC.
        """
        pair = SigningKey.generate()
        self.verifier = Verifier([pair.public], now=self.clock)
        headers = Signer([pair], now=self.clock).headers(UUID, BODY)
        for name, forged in FORGERIES.items():
            with self.subTest(name):
                made, body = forged(headers, BODY, SECRET, T)
                self.refused({k: v.replace("v1a,", "v2,") for k, v in made.items()})
                if "another version" not in name:
                    self.refused(made, body)
        confused = Signer([SharedSecret(pair.public.raw)], now=self.clock)
        signed = confused.headers(UUID, BODY)
        self.refused(signed)
        value = signed["webhook-signature"].replace("v1,", "v1a,")
        self.refused({**signed, "webhook-signature": value})
        self.verifier.verify(headers, BODY)

    def test_sentences(self) -> None:
        """
        Each refusal is one sentence, which tells nothing of the request.
        """
        good = self.signer.headers(UUID, BODY)
        for changes, why in (
            ({"webhook-id": "a.b"}, "webhook-id must be ASCII without dots and spaces"),
            ({"webhook-id": "canaryé"}, "webhook-id must be ASCII without dots"),
            ({"webhook-timestamp": f"{T}.5"}, "must be seconds since 1970"),
            ({"webhook-timestamp": "٣"}, "must be seconds since 1970"),
            ({"webhook-timestamp": str(T - 301)}, "signed more than 300 s ago"),
            ({"webhook-timestamp": str(T + 301)}, "more than 300 s from now: compare"),
            ({"webhook-signature": "canary"}, "no signature fits the request and"),
            ({"webhook-signature": "v1,é"}, "no signature fits the request and"),
            ({"webhook-signature": "v1,A " * 30}, "there are more than 20 signatures"),
            ({"WEBHOOK-ID": "b"}, "the request has two headers webhook-id"),
        ):
            told = self.refused({**good, **changes})
            self.assertIn(why, told)
            self.assertNotIn("canary", told)
        self.assertIn("is not signed: it has no webhook-id", self.refused({}))

    def test_tolerance(self) -> None:
        """
        The clocks may differ by the tolerance.
        """
        for seconds in (-300, 300):
            headers = Signer([SECRET], now=Clock(T + seconds)).headers(UUID, BODY)
            self.verifier.verify(headers, BODY)
        for wrong in (0, -1, float("inf"), float("nan")):
            with self.assertRaises(ConfigError):
                Verifier([SECRET], tolerance=wrong)

    def test_replay(self) -> None:
        """
        The same request is refused for as long as its time would let it in, and another
        attempt at the same task is not.
        """
        headers = self.signer.headers(UUID, BODY)
        self.verifier.verify(headers, BODY)
        for seconds in (0, 1, 150, 148, 1):
            self.clock.now += seconds
            self.assertIn("was here before", self.refused(headers))
        self.clock.now += 1
        self.assertIn("signed more than 300 s ago", self.refused(headers))
        self.verifier.verify(self.signer.headers(UUID, BODY), BODY)

    def test_many_of_one_id(self) -> None:
        """
        However many tasks have the same id, the times of their requests stay within
        what a receiver takes, so that all of them are let in one day.
        """
        waiting = 400
        for _ in range(400):
            for _ in range(waiting):
                headers = self.signer.headers(UUID, BODY)
                try:
                    self.verifier.verify(headers, BODY)
                except BadSignature as e:
                    self.assertIn("was here before", str(e))
                else:
                    waiting -= 1
            self.clock.now += 1
        self.assertEqual(waiting, 0)

    def test_replay_after_a_restart(self) -> None:
        """
        A process that has just begun refuses what an earlier one may have let in.
        """
        headers = self.signer.headers(UUID, BODY)
        self.verifier.verify(headers, BODY)
        self.clock.now += 2.5
        self.verifier = Verifier([SECRET], now=self.clock, since=self.clock.now)
        self.assertIn("signed before this program began", self.refused(headers))
        again = self.signer.headers(UUID, BODY)
        self.verifier.verify(again, BODY)
        self.clock.now += 1
        self.verifier.verify(self.signer.headers(UUID, BODY), BODY)
        self.assertIn("was here before", self.refused(again))

    def test_forged_first(self) -> None:
        """
        A forgery does not have the true request refused that comes after it.
        """
        headers = self.signer.headers(UUID, BODY)
        self.refused(headers, b"{}")
        self.verifier.verify(headers, BODY)

    def test_remember(self) -> None:
        """
        Several processes can share a memory of their own.
        """
        seen: set[tuple[str, int]] = set()

        def remember(name: str, second: int) -> bool:
            is_new = (name, second) not in seen
            seen.add((name, second))
            return is_new

        headers = self.signer.headers(UUID, BODY)
        one, other = (
            Verifier([SECRET], remember=remember, now=self.clock) for _ in range(2)
        )
        one.verify(headers, BODY)
        with self.assertRaises(BadSignature):
            other.verify(headers, BODY)
        self.assertEqual(seen, {(UUID, T)})

    def test_bytes(self) -> None:
        """
        A body that somebody has decoded is a mistake, and no forgery.
        """
        with self.assertRaisesRegex(TypeError, "the bytes of the request"):
            self.verifier.verify({}, "{}")  # type: ignore[arg-type]

    @QUICK
    @given(st.binary(max_size=50), st.text(max_size=40))
    def test_any(self, body: bytes, uuid: str) -> None:
        """
        What is signed is let in, whatever the body and the uuid.
        """
        verifier = Verifier([SECRET], now=self.clock)
        verifier.verify(Signer([SECRET], now=self.clock).headers(uuid, body), body)

    @QUICK
    @given(
        st.dictionaries(
            st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]),
            st.text(),
        )
    )
    def test_any_headers(self, headers: dict[str, str]) -> None:
        """
        Whatever the headers are, nothing but L{BadSignature} is raised.
        """
        self.refused(headers)


class MemoryTests(SynchronousTestCase):
    """
    The memory is bounded.
    """

    def test_forgets(self) -> None:
        """
        What is older than the tolerance takes no memory.
        """
        clock = Clock()
        memory = Memory(300.0, clock)
        for n in range(2_000):
            self.assertTrue(memory("a", T + n))
            clock.now += 1
        self.assertLessEqual(memory._count, 302)
        self.assertEqual(memory._count, sum(map(len, memory._seconds.values())))

    def test_clock_set_back(self) -> None:
        """
        What was forgotten while the clock was ahead is not let in when it is set back;
        new requests are.
        """
        clock = Clock()
        memory = Memory(300.0, clock)
        self.assertTrue(memory("a", T))
        clock.now += 3_600
        self.assertTrue(memory("b", T + 3_600))
        clock.now -= 3_599
        self.assertFalse(memory("a", T))
        self.assertTrue(memory("c", T + 1))

    def test_threads(self) -> None:
        """
        Of the same request in many threads at once, one may pass.
        """
        memory = Memory(300.0, Clock())
        with ThreadPoolExecutor(8) as threads:
            passed = list(threads.map(memory, map(str, range(500)), [T] * 500))
            again = list(threads.map(memory, ["a"] * 500, [T] * 500))
        self.assertEqual((sum(passed), sum(again), memory._count), (500, 1, 501))

    def test_full(self) -> None:
        """
        If it is full, the oldest second is closed: it forgets no request that it would
        let in again.
        """
        memory = Memory(300.0, Clock(), most=10)
        seen = [(str(n), T + n // 4) for n in range(100)]
        for each in seen:
            self.assertTrue(memory(*each))
            self.assertLessEqual(memory._count, 10)
        self.assertFalse(any(memory(*each) for each in seen))
        self.assertFalse(memory("new", T))
        self.assertTrue(memory("new", T + 24))


class LibraryTests(SynchronousTestCase):
    """
    The official libraries accept what is signed, and refuse each forgery.
    """

    def cases(self) -> list[tuple[str, dict[str, str], bytes]]:
        """
        The true request for the old and for the new secret, then the forgeries.
        """
        new = SharedSecret.generate().text
        headers = Signer([SECRET, new]).headers(UUID, BODY)
        now = time.time()
        good = [(SECRET, headers, BODY), (new, headers, BODY)]
        forged = [make(headers, BODY, SECRET, now) for make in FORGERIES.values()]
        return [*good, *((SECRET, *each) for each in forged)]

    def test_python(self) -> None:
        """
        The one for Python.
        """
        found = [accepted_by_python(*each) for each in self.cases()]
        self.assertEqual(found, [True, True, *(False for _ in FORGERIES)])

    @skipUnless(NODE, "standardwebhooks for Node is not there")
    def test_node(self) -> None:
        """
        The one for Node.
        """
        found = accepted_by_node(self.cases())  # type: ignore[arg-type]
        self.assertEqual(found, [True, True, *(False for _ in FORGERIES)])
