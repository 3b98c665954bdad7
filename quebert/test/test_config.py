"""
Settings: AMQP URLs and what to watch.
"""

from __future__ import annotations

import traceback
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.config import (
    DEFAULT_AMQP_URL,
    TLS,
    Address,
    AmqpURL,
    Broker,
    Watch,
    chosen_amqp_url,
    default_amqp_url,
    read,
)
from quebert.config import seconds as seconds_of
from quebert.errors import ConfigError
from quebert.test.checks import QUICK, folder, refusal

LOCAL = (Address("localhost", 5672),)
TEXTS = st.text(min_size=1)  # never half a surrogate pair


class BrokerTests(SynchronousTestCase):
    """
    L{Broker.from_url} reads an AMQP URL.
    """

    def check(self, url: str, **wanted: Any) -> None:
        """
        C{url} says what is C{wanted}, and else the defaults.
        """
        address = Address(wanted.pop("host", "localhost"), wanted.pop("port", 5672))
        defaults = {
            "addresses": (address,),
            "username": "guest",
            "password": "guest",
            "vhost": "/",
            "heartbeat": 30,
            "tls": None,
        }
        self.assertEqual(Broker.from_url(url), Broker(**{**defaults, **wanted}), url)

    def refused(self, url: str) -> str:
        """
        What is said against C{url}.
        """
        return refusal(ConfigError, Broker.from_url, url)

    def test_default(self) -> None:
        """
        What is not said is the default, as in RabbitMQ itself.
        """
        for url in ("amqp://", "amqp:///", "amqp://localhost", DEFAULT_AMQP_URL):
            self.check(url)

    def test_everything(self) -> None:
        """
        Every part is read.
        """
        self.check(
            "amqps://user:password@example.com:10000/vhost?heartbeat=60",
            host="example.com",
            port=10000,
            username="user",
            password="password",
            vhost="vhost",
            heartbeat=60,
            tls=TLS(),
        )

    def test_parts(self) -> None:
        """
        Parts may be left out.
        """
        self.check("amqp://user@", username="user")
        self.check("amqp://user:password@", username="user", password="password")
        self.check("amqp://user:@h", host="h", username="user", password="")
        self.check("amqp://:password@h", host="h", username="", password="password")
        self.check("amqp://h:10000", host="h", port=10000)
        self.check("amqp:///vhost", vhost="vhost")
        self.check("amqp://h?heartbeat=5", host="h", heartbeat=5)

    def test_hosts(self) -> None:
        """
        A host may be a name in any case or an address.
        """
        self.check("amqp://EXAMPLE.com/", host="example.com")
        self.check("amqp://10.0.0.1:1/", host="10.0.0.1", port=1)
        self.check("amqp://[::1]", host="::1")
        self.check("amqp://[::1]:1/a", host="::1", port=1, vhost="a")
        self.check("amqp://my_broker/", host="my_broker")

    def test_several_hosts(self) -> None:
        """
        Several nodes of one broker may be named, with or without their ports.
        """
        broker = Broker.from_url("amqps://u:p@a,b:1,10.0.0.1,[::1]:2,[::1]/v")
        wanted = [("a", 5671), ("b", 1), ("10.0.0.1", 5671), ("::1", 2), ("::1", 5671)]
        self.assertEqual(broker.addresses, tuple(Address(*each) for each in wanted))
        self.assertEqual(
            ",".join(map(str, broker.addresses)),
            "a:5671,b:1,10.0.0.1:5671,[::1]:2,[::1]:5671",
        )
        for hosts in (",", "a,", ",a", "a,,b", "a b", "[::z]", "[::1]x", "a:1:2"):
            self.assertIn("AMQP URL", self.refused(f"amqp://{hosts}/"), hosts)

    def test_tls_files(self) -> None:
        """
        The files for TLS are options, which make no sense without TLS.
        """
        url = "amqps://h?cacertfile=/ca.pem&certfile=c%26.pem&keyfile=k&heartbeat=5"
        files = TLS("/ca.pem", "c&.pem", "k")
        self.check(url, host="h", port=5671, tls=files, heartbeat=5)
        self.assertIn("needs an amqps", self.refused("amqp://h?cacertfile=/ca.pem"))

    def test_tls(self) -> None:
        """
        amqps is TLS, with a default port of its own.
        """
        self.check("amqps://h", host="h", port=5671, tls=TLS())
        self.check("AMQPS://h:5672", host="h", port=5672, tls=TLS())

    def test_percent_encoding(self) -> None:
        """
        Every part may be percent-encoded.
        """
        self.check(
            "amqp://user%61:%61pass@ho%61st:10000/v%2fhost",
            host="hoast",
            port=10000,
            username="usera",
            password="apass",
            vhost="v/host",
        )
        self.check(
            "amqp://us%3Aer:p%40ss%3A%2F%23%3F%25@h/%C3%BC",
            host="h",
            username="us:er",
            password="p@ss:/#?%",
            vhost="ü",
        )

    def test_as_it_is(self) -> None:
        """
        What needs no encoding stays as it is: a plus is no space.
        """
        self.check(
            "amqp://u+v:p:q+ü@h/a+b@c:d",
            host="h",
            username="u+v",
            password="p:q+ü",
            vhost="a+b@c:d",
        )

    def test_not_utf8(self) -> None:
        """
        What is percent-encoded must be UTF-8; what is not is named.
        """
        cases = {
            "user": "amqp://%FF@h/",
            "password": "amqp://user:hunter2%FF@h/",
            "virtual host": "amqp://h/%FF",
            "host": "amqp://%FF/",
        }
        for part, url in cases.items():
            text = self.refused(url)
            self.assertIn(f"the {part} in the AMQP URL is not UTF-8", text)

    def test_vhosts(self) -> None:
        """
        The virtual host is what follows the slash, C{/} where nothing does.
        """
        cases = {
            "": "/",
            "/": "/",
            "/%2f": "/",
            "/%2F%2f": "//",
            "/a": "a",
            "/a%2fb": "a/b",
            "/%20": " ",
            "/a%3fb%23": "a?b#",
        }
        for path, vhost in cases.items():
            self.check(f"amqp://h{path}", host="h", vhost=vhost)

    def test_slash_in_vhost(self) -> None:
        """
        A slash in a virtual host is refused, and how to write it is told.
        """
        for path in ("//", "/a/b", "/a/"):
            self.assertIn("%2f", self.refused(f"amqp://h{path}"))

    def test_fragment(self) -> None:
        """
        A number sign, which would cut the URL short, is refused.
        """
        for url in ("amqp://h/a#b", "amqp://user:12#3@h/", "amqp://h#"):
            self.refused(url)

    def test_schemes(self) -> None:
        """
        Any other scheme, or none, is refused with an example.
        """
        for url in ("", "h", "h:5672", "//h", "http://h/", "amqpx://h/", "guest@h"):
            self.assertIn("amqp:// or amqps://", self.refused(url))

    def test_ports(self) -> None:
        """
        A port is a number from 1 to 65535.
        """
        for port in (1, 5672, 65535):
            self.check(f"amqp://h:{port}/", host="h", port=port)
        for text in ("0", "65536", "-1", "+5672", "a", "5_672", "5.5", "٣", "9" * 5000):
            self.assertIn("AMQP URL", self.refused(f"amqp://h:{text}/"))

    def test_brackets(self) -> None:
        """
        An address that is not closed is refused.
        """
        for url in ("amqp://[::1/", "amqp://::1]/"):
            self.assertIn("AMQP URL", self.refused(url))

    def test_heartbeat(self) -> None:
        """
        A heartbeat is seconds from 0, for none, to 65535.
        """
        for seconds in (0, 1, 600, 65535):
            self.check(f"amqp://?heartbeat={seconds}", heartbeat=seconds)
        wrong = ("", "65536", "-1", "+1", "1.5", "a", "1s", "٣", "²", "1_0", "9" * 5000)
        for text in wrong:
            self.assertIn("heartbeat", self.refused(f"amqp://h/?heartbeat={text}"))
        self.assertIn("heartbeat", self.refused("amqp://h/?heartbeat"))

    def test_options(self) -> None:
        """
        An option that we do not have is named.
        """
        for name in ("Heartbeat", "timeout", "heart", "é"):
            text = self.refused(f"amqp://h/?heartbeat=5&{name}=1")
            self.assertIn(f"the option {name}", text)

    def test_password_untold(self) -> None:
        """
        The password is in no repr.
        """
        broker = Broker.from_url("amqp://user:hunter2@h/")
        self.assertEqual(broker.password, "hunter2")
        self.assertNotIn("hunter2", f"{broker!r} {broker} {[broker]}")

    def test_errors_untold(self) -> None:
        """
        Nor is it in an error, whatever is wrong.
        """
        self.check_untold(
            "http://user:hunter2@h/",
            "amqp://user:hunter2@h:x/",
            "amqp://user:hunter2@h:99999/",
            "amqp://user:hunter2%FF@h/",
            "amqp://%FF:hunter2@h/",
            "amqp://user:hunter2@h[/",
            "amqp://user:hunter2@[::1/",
            "amqp://user:hunter2@h/a/b",
            "amqp://user:hunter2@h/%FF",
            "amqp://user:hunter2@h/?heartbeat=x",
            "amqp://user:hunter2@h/?timeout=5",
            "user:hunter2@h",
        )

    def test_undelimited_untold(self) -> None:
        """
        Nor is one with characters that should have been encoded.
        """
        self.check_untold(
            "amqp://user:hunter2/x@h/",
            "amqp://user:hunter2?x@h/",
            "amqp://user:hunter2#x@h/",
            "amqp://user:12/hunter2@h/",
            "amqp://user:12?hunter2@h/",
        )

    def check_untold(self, *urls: str) -> None:
        """
        Each of C{urls} is refused, without telling the hunter2 in it.
        """
        for url in urls:
            try:
                Broker.from_url(url)
            except ConfigError as e:
                told = "".join(traceback.format_exception_only(e))
                self.assertNotIn("hunter2", told)
                self.assertTrue(e.__suppress_context__ or e.__context__ is None)
            else:
                self.fail(f"{url} was taken")

    @QUICK
    @given(TEXTS, TEXTS, TEXTS)
    def test_any_text(self, username: str, password: str, vhost: str) -> None:
        """
        Any user, password and virtual host can be said.
        """
        user, word, path = (quote(t, safe="") for t in (username, password, vhost))
        broker = Broker.from_url(f"amqp://{user}:{word}@h:1/{path}")
        told = (broker.username, broker.password, broker.vhost)
        self.assertEqual(told, (username, password, vhost))
        self.assertEqual(broker.addresses, (Address("h", 1),))

    @QUICK
    @given(st.text() | st.text("amqps:/@[]%#?&=.\\019ab_-é \n"))
    def test_anything(self, text: str) -> None:
        """
        Whatever the URL, it is read, or refused as a wrong setting.
        """
        for url in (text, f"amqp:{text}", f"amqp://{text}", f"amqp://h/?{text}"):
            try:
                broker = Broker.from_url(url)
            except ConfigError as e:
                self.assertTrue(str(e))
            else:
                self.assertTrue(broker.addresses)
                for each in broker.addresses:
                    self.assertIn(each.port, range(1, 65536))
                    self.assertTrue(each.host)
                self.assertTrue(broker.vhost)


class SecondsTests(SynchronousTestCase):
    """
    C{quebert.config.seconds}: a time on a command line, or in a cell of a table.
    """

    def test_times(self) -> None:
        """
        It is a number of seconds, or a number with a unit.
        """
        for text, expected in (
            ("90", 90.0),
            (" 1.5 ", 1.5),
            ("0", 0.0),
            ("1e3", 1000.0),
            ("90s", 90.0),
            ("5m", 300.0),
            ("2h", 7200.0),
            ("1d", 86400.0),
            ("0.5 h", 1800.0),
        ):
            self.assertEqual(seconds_of(text), expected)

    def test_no_times(self) -> None:
        """
        Anything else is refused; the text goes on from its name.
        """
        for text in ("", "soon", "5x", "m", "-5", "-5m", "nan", "inf", "1e99", "1_0 s"):
            told = refusal(ConfigError, seconds_of, text)
            self.assertTrue(told.startswith("must be seconds up to 268435455"), told)


class DefaultURLTests(SynchronousTestCase):
    """
    L{default_amqp_url} asks the environment.
    """

    def test_set(self) -> None:
        """
        The environment's URL is taken where there is one.
        """
        url = "amqp://other/"
        self.assertEqual(default_amqp_url({"QUEBERT_AMQP_URL": url}), url)

    def test_unset(self) -> None:
        """
        Else it is the broker on this machine, which can be read.
        """
        for environment in ({}, {"QUEBERT_AMQP_URL": ""}, {"AMQP_URL": "x"}):
            self.assertEqual(default_amqp_url(environment), DEFAULT_AMQP_URL)
        self.assertEqual(Broker.from_url(DEFAULT_AMQP_URL).addresses, LOCAL)


class WatchTests(SynchronousTestCase):
    """
    L{Watch.parse} reads C{--watch}.
    """

    def test_forms(self) -> None:
        """
        The number of events may be left out.
        """
        cases = {
            "flow:high:tasks.high": Watch("flow", "high", "tasks.high", None),
            "flow:high:tasks.high:": Watch("flow", "high", "tasks.high", None),
            "flow:high:tasks.#:5": Watch("flow", "high", "tasks.#", 5),
            "flow:q:*.high:0": Watch("flow", "q", "*.high", 0),
            "flow:q::65535": Watch("flow", "q", "", 65535),
            ":q:": Watch("", "q", "", None),
            "é:ü/@ :#": Watch("é", "ü/@ ", "#", None),
        }
        self.assertEqual({text: Watch.parse(text) for text in cases}, cases)

    def test_wrong_forms(self) -> None:
        """
        Too few parts, too many, or no queue, and the form is told.
        """
        for text in ("", "q", "flow:q", "flow::key", "::", "flow:q:key:5:6", ":::"):
            told = refusal(ConfigError, Watch.parse, text)
            self.assertIn(f"--watch {text} must be exchange:queue:key", told)

    def test_wrong_numbers(self) -> None:
        """
        The prefetch is a number from 0 to 65535.
        """
        wrong = ("65536", "-1", "+1", "1.5", "five", " 5", "٣", "²", "1_0", "9" * 5000)
        for number in wrong:
            told = refusal(ConfigError, Watch.parse, f"flow:q:key:{number}")
            self.assertIn("prefetch must be a number from 0 to 65535", told)

    @QUICK
    @given(st.text() | st.text("ab:09"))
    def test_anything(self, text: str) -> None:
        """
        Whatever is written, it is read, and can be written and read again, or
        it is refused as a wrong setting.
        """
        try:
            watch = Watch.parse(text)
        except ConfigError as e:
            self.assertIn("--watch", str(e))
        else:
            self.assertTrue(watch.queue)
            self.assertEqual(Watch.parse(str(watch)), watch)


class SourceTests(SynchronousTestCase):
    """
    A broker remembers what names it, for errors.
    """

    def test_command_line(self) -> None:
        """
        The option, the environment variable, or neither of them.
        """
        url = chosen_amqp_url("amqp://h/")
        self.assertEqual((url, url.source), ("amqp://h/", "--amqp-url"))
        url = default_amqp_url({"QUEBERT_AMQP_URL": "amqp://me:hunter2@h/"})
        self.assertEqual(url.source, "QUEBERT_AMQP_URL")
        self.assertEqual(Broker.from_url(url).source, "QUEBERT_AMQP_URL")
        self.assertNotIn("hunter2", repr(url))
        self.assertIn("the default", default_amqp_url({}).source)
        self.assertEqual(Broker.from_url("amqp://h/").source, "")

    def test_file(self) -> None:
        """
        The key of a file, with the variable that it names.
        """
        path = folder(self) / "a.toml"
        (path.parent / "secret").write_text("amqp://h/")
        environment = {"WHERE": "amqp://h/", "QUEBERT_AMQP_URL": "amqp://h/"}
        for key, source in [
            ('url = "amqp://h/"', "url in [broker]"),
            ('url_env = "WHERE"', "url_env in [broker], WHERE"),
            ('url_file = "secret"', "url_file in [broker]"),
            ("", "QUEBERT_AMQP_URL"),
        ]:
            path.write_text(f'[broker]\n{key}\n[queues.a]\nkey = "k"\n')
            self.assertEqual(read(str(path), environment).broker.source, source)

    def test_no_difference(self) -> None:
        """
        Two that differ in that alone are the same broker.
        """
        one, other = (AmqpURL("amqp://h/", source) for source in "ab")
        self.assertEqual(Broker.from_url(one), Broker.from_url(other))
        self.assertEqual(len({Broker.from_url(one), Broker.from_url(other)}), 1)
