"""
Tests for L{quebert.guard}.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from quebert.errors import ConfigError, Forbidden
from quebert.guard import Guard, Place, faces, parsed
from quebert.guard._tiers import Tier, tier
from quebert.test.checks import QUICK


def words(text: str) -> list[str]:
    """
    The words of a text.
    """
    return text.split()


FORBIDDEN = words(
    """
0.0.0.0 0.0.0.1 0.255.255.255 169.254.0.0 169.254.0.23 169.254.42.42 169.254.169.254
169.254.170.2 169.254.255.255 100.100.100.200 168.63.129.16 192.0.0.192 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.254 255.255.255.255 :: ::2 ::127.0.0.1
::10.0.0.1 ::8.8.8.8 ::169.254.169.254 fe80::1 fe80::1%eth0 fe80::a9fe:a9fe febf::1
ff02::1 ff0e::1 fd00:ec2::254 fd00:ec2::23 fd00:ec2:0:0::123 fd20:ce::254 fd00:42::42
fd00:c1::a9fe:a9fe fd00:a9fe:a9fe::1 fd00:100::100:200 ::ffff:169.254.169.254
::ffff:a9fe:a9fe ::ffff:0.0.0.0 ::ffff:100.100.100.200 ::ffff:0:127.0.0.1
::ffff:0:a9fe:a9fe 64:ff9b::169.254.169.254 64:ff9b::0.0.0.0 64:ff9b::a83f:8110
64:ff9b:1::169.254.169.254 64:ff9b:1:a9fe:a9:fe00:: 64:ff9b:1:a9:fe:a9fe::
64:ff9b:1:0:a9:fea9:fe00:0 64:ff9b:1:: 2002:a9fe:a9fe::1 2002::1 2002:6464:64c8::
2001::1 2001:0:a9fe:a9fe::f7f7:f7f7 2001:0:808:808:0:0:5601:5601
2606:4700::5efe:169.254.169.254 2606:4700::200:5efe:a9fe:a9fe 100::1 4000::1 5f00::1
64:ff9b:2::1 ::1:0:0:0:1 e000::1 2002:a9fe:a9fe::5efe:8.8.8.8
2002:a9fe:a9fe::200:5efe:8.8.8.8 2002:808:808::5efe:169.254.169.254
2001:0:a9fe:a9fe:0:5efe:100.200.0.1 2001:0:808:808:0:5efe:5601:5601
64:ff9b:1:a9fe:0:5efe:8.8.8.8
"""
)
PRIVATE = words(
    """
127.0.0.1 127.1.2.3 127.255.255.254 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254
192.168.0.1 100.64.0.1 100.127.255.254 198.18.0.1 198.19.255.254 192.0.2.1
198.51.100.7 203.0.113.9 192.0.0.8 192.88.99.1 ::1 ::1%lo fc00::1 fd12:3456::1 fec0::1
feff::1 2001:db8::1 3fff::1 2001:2::1 2001:10::1 2001:20::1 ::ffff:127.0.0.1
2001:1::1 2001:9c:7f00:1::1 2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff
::ffff:10.0.0.1 ::ffff:7f00:1 64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::8.8.8.8
64:ff9b:1::10.0.0.1 64:ff9b:1:a00:0:100:: 2002:7f00:1:: 2002:c0a8:1::1
2001:0:a00:1:0:0:f7f7:f7f7 2001:0:808:808:0:0:80ff:fffe 2606:4700::5efe:10.0.0.1
2002:7f00:1::5efe:8.8.8.8 2001:0:a00:1:0:5efe:100.200.0.1
"""
)
PUBLIC = words(
    """
8.8.8.8 1.1.1.1 93.184.216.34 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1
169.253.255.255 169.255.0.1 168.63.129.15 198.17.255.255 198.20.0.1 223.255.255.255
2606:4700:4700::1111 2a00:1450:4001:810::200e ::ffff:8.8.8.8 64:ff9b::8.8.8.8
2002:808:808:: 2001:200::1 2001:4860:4860::8888 2001:0:808:808:0:0:f7f7:f7f7
2606:4700::5efe:8.8.8.8 2002:808:808::5efe:8.8.8.8
"""
)

refuse = Guard(private="refuse")


class TierTests(SynchronousTestCase):
    """
    How much harm a request to an address could do.
    """

    def test_table(self) -> None:
        """
        Each address has its tier, whatever other address it carries.
        """
        table = (
            (Tier.FORBIDDEN, FORBIDDEN),
            (Tier.PRIVATE, PRIVATE),
            (Tier.PUBLIC, PUBLIC),
        )
        for wanted, texts in table:
            for text in texts:
                self.assertEqual(tier(ip_address(text)).name, wanted.name, text)

    def test_parsed(self) -> None:
        """
        Only the strict spelling of an address is one: all else is a name, which
        somebody else may take for an address.
        """
        for text in ("127.1", "0x7f.0.0.1", "017700000001", "2130706433", "127.0.0.01"):
            self.assertIsNone(parsed(text), text)
        for text in (
            "1.1.1.1.",
            "[::1]",
            "",
            "\uff11\uff12\uff17.0.0.1",
            "127.0.0.1 ",
            "::1%",
        ):
            self.assertIsNone(parsed(text), text)
        self.assertEqual(parsed("::FFFF:7f00:1"), ip_address("::ffff:127.0.0.1"))

    @QUICK
    @given(st.ip_addresses(v=6))
    def test_worst_face(self, address: Any) -> None:
        """
        No address is better than an address that it carries.
        """
        for face in faces(address):
            self.assertGreaterEqual(tier(address), tier(face))

    def test_carried(self) -> None:
        """
        Each way to carry an IPv4 address in an IPv6 address is seen through.
        """
        for number in (0x7F000001, 0xA9FEA9FE, 0x0A000001, 0x08080808, 0x646464C8):
            carried = ip_address(number)
            for base, shift in (
                ("::ffff:0:0", 0),
                ("64:ff9b::", 0),
                ("2002::", 80),
                ("2001::ffff:ffff", 64),
                ("2606:4700::5efe:0:0", 0),
                ("64:ff9b:1::", 0),
            ):
                address = ip_address(int(ip_address(base)) | number << shift)
                self.assertIn(carried, faces(address), str(address))
                self.assertGreaterEqual(tier(address), tier(carried), str(address))


class GuardTests(SynchronousTestCase):
    """
    What a L{Guard} permits.
    """

    def permits(
        self, guard: Guard, text: str, host: str = "a.example", port: int = 80
    ) -> bool:
        """
        Whether an address may be dialled, for this host.
        """
        return guard.permits(ip_address(text), host, port)

    def test_tiers(self) -> None:
        """
        Forbidden addresses are never permitted, private ones unless they are refused.
        """
        for guard, private in ((Guard(), True), (refuse, False)):
            for texts, wanted in (
                (FORBIDDEN, False),
                (PRIVATE, private),
                (PUBLIC, True),
            ):
                for text in texts:
                    self.assertIs(self.permits(guard, text), wanted, text)
                    own = [ip_address("9.9.9.9")]  # the other way through the code
                    permitted = guard.permits(ip_address(text), "a.example", 80, own)
                    self.assertIs(permitted, wanted, text)

    def test_allow_network(self) -> None:
        """
        A network that is allowed is reached, also through an address that carries
        one of its addresses; none beside it is.
        """
        guard = Guard(private="refuse", allow=["10.1.0.0/16", "169.254.169.254"])
        for text in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"):
            self.assertTrue(self.permits(guard, text), text)
        self.assertTrue(self.permits(guard, "169.254.169.254"))
        for text in ("10.2.0.1", "169.254.169.253", "64:ff9b:1::10.1.2.3", "::1"):
            self.assertFalse(self.permits(guard, text), text)
        # One address of two that a Teredo address carries is not enough.
        self.assertFalse(self.permits(guard, "2001:0:a01:203:0:0:f5ff:fffe"))

    def test_allow_port(self) -> None:
        """
        A place with a port is that port of it.
        """
        guard = Guard(private="refuse", allow=["10.1.0.0/16:8080", "[fd00::1]:81"])
        self.assertTrue(self.permits(guard, "10.1.2.3", port=8080))
        self.assertFalse(self.permits(guard, "10.1.2.3", port=8081))
        self.assertTrue(self.permits(guard, "fd00::1", port=81))
        self.assertFalse(self.permits(guard, "fd00::1", port=80))

    def test_allow_name(self) -> None:
        """
        A name that is allowed is reached wherever it is, and no other name there is.
        """
        guard = Guard(private="refuse", allow=["Svc.Internal.:8080"])
        for host in ("svc.internal", "SVC.internal", "svc.internal."):
            self.assertTrue(self.permits(guard, "10.0.0.1", host, 8080), host)
        for host, port in (
            ("svc.internal", 80),
            ("x.svc.internal", 8080),
            ("svc.internal.evil.example", 8080),
            ("10.0.0.1", 8080),
        ):
            self.assertFalse(self.permits(guard, "10.0.0.1", host, port), host)

    def test_deny(self) -> None:
        """
        What is denied is refused even if it is allowed, by name or by address.
        """
        guard = Guard(
            allow=["10.0.0.0/8", "svc.internal"],
            deny=["10.1.2.3", "8.8.8.0/24:53", "bad.example"],
        )
        self.assertFalse(self.permits(guard, "10.1.2.3"))
        self.assertFalse(self.permits(guard, "10.1.2.3", "svc.internal"))
        self.assertFalse(self.permits(guard, "::ffff:10.1.2.3"))
        self.assertFalse(self.permits(guard, "8.8.8.8", port=53))
        self.assertTrue(self.permits(guard, "8.8.8.8", port=80))
        self.assertTrue(self.permits(guard, "10.1.2.4"))
        with self.assertRaises(Forbidden):
            guard.check("http", "BAD.example.", 80)
        guard.check("http", "good.example", 80)

    def test_mapped(self) -> None:
        """
        A list may spell IPv4 as IPv6 does.
        """
        for text in ("::ffff:10.1.2.3", "::ffff:10.0.0.0/104", "[::ffff:a01:203]:80"):
            denied = Guard(deny=[text])
            allowed = Guard(private="refuse", allow=[text])
            for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"):
                self.assertFalse(self.permits(denied, address), (text, address))
            for address in ("10.1.2.3", "::ffff:10.1.2.3"):
                self.assertTrue(self.permits(allowed, address), (text, address))
            self.assertTrue(self.permits(denied, "11.1.2.3"))
            self.assertFalse(self.permits(allowed, "192.168.2.3"))
        self.assertEqual(str(Place.parse("::ffff:10.0.0.0/104")), "10.0.0.0/8")
        self.assertEqual(Place.of("::ffff:10.0.0.1", 1), Place.of("10.0.0.1", 1))

    def test_own(self) -> None:
        """
        The addresses of the mediator's own are forbidden at their port, unless they
        are allowed.
        """
        guard = Guard(own=["rabbit.internal:5672", "10.0.0.1:80"])
        self.assertEqual(guard.own_hosts(5672), ["rabbit.internal"])
        self.assertEqual(guard.own_hosts(80), ["10.0.0.1"])
        self.assertEqual(guard.own_hosts(443), [])
        self.assertEqual(guard.own_addresses(5672), set())
        self.assertEqual(guard.own_addresses(80), {ip_address("10.0.0.1")})
        local = Guard(own=["localhost:5672", "[::ffff:10.0.0.1]:5672"])
        known = {ip_address(each) for each in ("127.0.0.1", "::1", "10.0.0.1")}
        self.assertEqual(local.own_addresses(5672), known)
        broker = ip_address("10.0.0.9")
        for text in ("10.0.0.9", "::ffff:10.0.0.9", "64:ff9b::10.0.0.9"):
            address = ip_address(text)
            self.assertFalse(guard.permits(address, "x", 5672, [broker]), text)
        self.assertTrue(guard.permits(ip_address("10.0.0.8"), "x", 5672, [broker]))
        for allow in ("10.0.0.9:5672", "rabbit.internal"):
            allowed = Guard(own=["rabbit.internal:5672"], allow=[allow])
            self.assertTrue(allowed.permits(broker, "rabbit.internal", 5672, [broker]))
        for network in ("10.0.0.0/16", "10.0.0.8/31", "0.0.0.0/0"):
            allowed = Guard(private="refuse", own=["rabbit:5672"], allow=[network])
            self.assertFalse(allowed.permits(broker, "x", 5672, [broker]), network)
            self.assertTrue(allowed.permits(broker, "x", 80), network)

    def test_own_name_behind_a_proxy(self) -> None:
        """
        A proxy knows where names lead, and nobody here: the name itself is forbidden.
        """
        options: Any = {"proxy": "http://p:4750", "own": ["rabbit.internal:5672"]}
        guard = Guard(**options)
        for name in ("rabbit.internal", "RABBIT.internal."):
            with self.assertRaises(Forbidden):
                guard.check("http", name, 5672)
            guard.check("http", name, 80)
            Guard(**options, allow=["rabbit.internal"]).check("http", name, 5672)

    def test_url_alone(self) -> None:
        """
        Schemes and ports are judged before anything is looked up; the reason names
        them.
        """
        guard = Guard(schemes=["https"], ports=[443, 8443])
        guard.check("https", "a.example", 8443)
        with self.assertRaisesRegex(Forbidden, "scheme http$"):
            guard.check("http", "a.example", 443)
        with self.assertRaisesRegex(Forbidden, "port 22$"):
            guard.check("https", "a.example", 22)
        with self.assertRaisesRegex(Forbidden, "scheme http.unix$"):
            Guard().check("http+unix", "", None)
        Guard(schemes=["http+unix"]).check("http+unix", "", None)

    def test_answers(self) -> None:
        """
        Where private addresses are refused, no answer is kept for others to read.
        """
        self.assertTrue(Guard().keeps_answers)
        self.assertFalse(refuse.keeps_answers)

    def test_wrong(self) -> None:
        """
        Whatever is wrong is told in a sentence.
        """
        wrong: tuple[tuple[dict[str, Any], str], ...] = (
            ({"private": "no"}, 'must be "allow" or "refuse", not .no.'),
            ({"allow": "10.0.0.0/8"}, "a guard needs a list, not .10"),
            ({"allow": ["10.0.0.1/8"]}, "a network, such as 10.0.0.0/8"),
            ({"allow": ["10.0.0.0/99"]}, "a network, such as 10.1.0.0/16"),
            ({"deny": ["http://x/"]}, "'http://x/' of a guard must be like"),
            ({"deny": ["x:70000"]}, "a port from 1 to 65535"),
            ({"schemes": ["ftp"]}, "schemes must be some of http, https"),
            ({"schemes": "https"}, "a list"),
            ({"schemes": []}, "schemes must"),
            ({"ports": [0]}, "ports must be numbers"),
            ({"proxy": "https://p:1"}, "like http://smokescreen:4750, not .https"),
            ({"proxy": "http://p"}, "the proxy of a guard must be like"),
            ({"proxy": "http://u:p@p:1"}, "must be like"),
            ({"proxy": "http://10.0.0.0/8:1"}, "must be like"),
            ({"ports": ["80"]}, "ports must be numbers"),
            ({"ports": [True]}, "ports must be numbers"),
            ({"schemes": [["http"]]}, "schemes must"),
            ({"allow": [5]}, "the place 5 of a guard must be a text"),
            ({"allow": None}, "a list, not None"),
            ({"proxy": 5}, "the proxy of a guard must be a text, not 5"),
            ({"proxy": Place.parse("smoke")}, "must have a port, not smoke"),
            ({"allow": b"abc"}, "a list"),
        )
        for options, text in wrong:
            with self.assertRaisesRegex(ConfigError, text):
                Guard(**options)


class PlaceTests(SynchronousTestCase):
    """
    A L{Place} is written as it is read.
    """

    def test_text(self) -> None:
        """
        Networks, addresses and names, with a port or without.
        """
        for text in (
            "10.1.0.0/16",
            "10.1.2.3",
            "10.1.0.0/16:80",
            "10.1.2.3:80",
            "fd00::/8",
            "fd00::1",
            "[fd00::1]:8080",
            "[fd00::/8]:8080",
            "svc",
            "svc.internal:8080",
            "a-b._tcp.internal",
        ):
            self.assertEqual(str(Place.parse(text)), text)

    def test_no_place(self) -> None:
        """
        A name that a resolver takes for an address is none, nor is anything else.
        """
        for text in (
            "",
            ":80",
            "127.1",
            "0x7f.1",
            "2130706433",
            "017700000001",
            "svc:0",
            "svc:",
            "a b",
            "*.internal",
            "http://svc",
            "svc/24",
            "[svc]:80",
            "\u00fcnicode",
            "a..b",
        ):
            with self.assertRaises(ConfigError, msg=text):
                Place.parse(text)
