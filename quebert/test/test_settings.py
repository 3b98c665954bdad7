"""
Tests for L{quebert.config.read}: from a configuration file to settings, or to what
is wrong with it.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple
from unittest import skipUnless

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import quebert
from quebert.cloud_events import CloudEvents
from quebert.config import (
    OIDC,
    TLS,
    Address,
    Backoff,
    BadConfig,
    Events,
    Host,
    Listen,
    MadeQueues,
    Priorities,
    QueueSettings,
    Service,
    Settings,
    Web,
    read,
)
from quebert.config._positions import lines
from quebert.config._problems import Problem
from quebert.config._settings import MOST_SHOWN
from quebert.errors import ConfigError
from quebert.guard import Guard, Place
from quebert.http import Limits
from quebert.limits import (
    AdaptiveSettings,
    BreakerSettings,
    OriginLimits,
    Rate,
)
from quebert.policy import RetryPolicy
from quebert.service._ways import connections_of, tls_of
from quebert.signatures import parse_key, write_key
from quebert.test.checks import QUICK, folder, misspellings
from quebert.test.test_token_keys import KEYS

EXAMPLE = Path(quebert.__file__).parents[1] / "examples" / "quebert.toml"
DOCUMENTED = EXAMPLE.parents[1] / "docs" / "configuration.rst"
needs_example = skipUnless(EXAMPLE.exists(), "without its examples")
PASSWORD = "tr0ub4dor"
#: Another, which is no part of it.
SECRET = "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"

# A key of ours in the example: those in [queues.mail.headers] are anybody's.
_KEY = re.compile(r"([a-z_]+) +=")
#: What most tests add something to.
# Fields that are no keys of a file.
NO_KEYS = (
    "name",
    "own",
    "drop_before",
    "http_target",
    "leases",
    "shared_concurrency",
)
LEAST = '[queues.a]\nkey = "k"\n'
_LONG = "N" * 3_000


class Bad(NamedTuple):
    """
    A text, and what is said of it: the line, and how it goes on.
    """

    text: str
    line: int
    sentence: str
    #: Whether it stands in the table of the queue C{a}, which is two lines.
    of_queue: bool = True


#: What is wrong with the file as a whole, or with other tables than a queue's.
FILES = [
    Bad(LEAST + '[guard]\nown = ["x:1"]\n', 4, "guard.own is not known: there", False),
    Bad("[queues.a\n", 1, "this is not TOML in column 10: Expected ']'", False),
    Bad(LEAST + "x = \n", 3, "this is not TOML in column 5: Invalid value", False),
    Bad(LEAST + 'key = "l"\n', 3, "Cannot overwrite a value", False),
    Bad(LEAST + LEAST, 3, "Cannot declare ('queues', 'a') twice", False),
    Bad("x = " + "9" * 5000, 1, "this is not TOML: ", False),
    Bad("x = " + "[" * 5000, 1, "it is nested too deeply", False),
    Bad('x = """\n\n', 3, "this is not TOML: Unterminated string", False),
    Bad("", 1, "queues is missing: a table for each queue, like [queues", False),
    Bad("[queues]\n", 1, "queues is missing", False),
    Bad(
        LEAST + "[made_queues]\neach.timeout = 5\n",
        4,
        'made_queues.each needs serve beside it, like serve = ["*"]',
        False,
    ),
    Bad(
        '[made_queues]\nserve = ["*"]\neach.rate = 5\n',
        3,
        "made_queues.each.rate is not known: there can be bury",
        False,
    ),
    Bad('[made_queues]\nserve = "*"\n', 2, "serve must be an array", False),
    Bad(
        LEAST + '[hosts."*.example.com"]',
        3,
        'hosts."*.example.com" must be a host, host:port or "*", like',
        False,
    ),
    Bad(
        LEAST + '[hosts."[::::]"]',
        3,
        'hosts."[::::]" must be a host, host:port or "*", like',
        False,
    ),
    Bad(
        LEAST + '[hosts."example.com:80"]',
        3,
        'hosts."example.com:80" must be without the port, which is the'
        " usual one of its scheme",
        False,
    ),
    Bad(
        LEAST + '[hosts."m\u00fcnchen.de"]\n[hosts."xn--mnchen-3ya.de"]',
        4,
        'hosts."xn--mnchen-3ya.de" is the same host as "m\u00fcnchen.de"',
        False,
    ),
    Bad(
        LEAST + "[hosts.a]\nrate = 1\n[hosts.A]\nrate = 2",
        5,
        "hosts.A is the same as a: capitals make no difference",
        False,
    ),
    Bad("queues = 3\n", 1, "queues must be a table, not 3", False),
    Bad("[[queues]]\n", 1, "queues must be a table, not an array", False),
    Bad("[queues]\na = 3\n", 2, "queues.a must be a table, not 3", False),
    Bad(LEAST + "[queue.b]\n", 3, "queue is not known; did you mean queues?", False),
    Bad(LEAST + "[sevice]\n", 3, "sevice is not known; did you mean service?", False),
    Bad(
        LEAST + "[events]\npublish = 1",
        4,
        "events.publish must be true or false, not 1",
        False,
    ),
    Bad(
        LEAST + "[events]\ninterval = 0.01",
        4,
        "events.interval must be seconds from 0.05 to 60",
        False,
    ),
    Bad(
        LEAST + "[zzz]\n",
        3,
        "zzz is not known: there can be broker, events, guard, hosts, leases,",
        False,
    ),
    Bad(
        f'{LEAST}[broker]\nurl = "amqp://me:{PASSWORD}@host/"\n',
        4,
        "broker.url holds a password, which anybody can read here: give the whole URL"
        " in an environment variable or a file, which url_env or url_file names",
        False,
    ),
    Bad(LEAST + "broker.url = 3", 3, "queues.a.broker is not known", False),
    Bad(LEAST + "[broker]\nurl = 3", 4, "broker.url must be a text, like", False),
    Bad(
        LEAST + '[broker]\nurl = "http://h"',
        4,
        "broker.url is wrong: the AMQP URL must begin with amqp:// or amqps://",
        False,
    ),
    Bad(
        LEAST + '[broker]\nurl = "amqp://h"\nurl_env = "URL"',
        5,
        "broker.url_env cannot be given beside url",
        False,
    ),
    Bad(
        LEAST + '[broker]\nurl_env = "UNSET"',
        4,
        "broker.url_env is the environment variable UNSET, which is not set",
        False,
    ),
    Bad(
        LEAST + '[broker]\nurl_env = "amqp://u:p@host/"',
        4,
        "broker.url_env must be the name of an environment variable",
        False,
    ),
    Bad(
        LEAST + '[broker]\nurl_file = "amqp://u:p@host/"',
        4,
        "broker.url_file must be the path of a file",
        False,
    ),
    Bad(
        LEAST + 'priority = "high"\n[priorities]\nweights.high = "x"',
        5,
        'priorities.weights.high must be a whole number from 1 to 1000000, not "x"',
        False,
    ),
    Bad(
        LEAST + '[broker]\nurl_env = "WRONG_URL"',
        4,
        "broker.url_env is wrong: the AMQP URL must begin",
        False,
    ),
    Bad(LEAST + '[broker]\nurl_file = "none"', 4, "No such file or directory", False),
    Bad(LEAST + '[broker]\nurl_file = "a\\u0000b"', 4, "must be a text on one", False),
    Bad("x = 1\n" * 700_000, 1, "cannot be read: it has more than 4194304 byt", False),
    Bad(LEAST + '[broker]\nurl_file = "large"', 4, "larger than any secret", False),
    Bad(LEAST + '[broker]\nurl_file = "empty"', 4, "empty', which is empty", False),
    Bad(LEAST + '[broker]\nurl_file = "."', 4, "which is not a file", False),
    Bad(LEAST + '[broker]\nurl_file = "pipe"', 4, "which is not a file", False),
    Bad(LEAST + '[broker]\nurl_file = "latin"', 4, "which is not in UTF-8", False),
    Bad(
        LEAST + "[broker]\nheartbeat = 1.5", 4, "heartbeat must be whole seconds", False
    ),
    Bad(LEAST + '[broker]\nheartbeat = "7d"', 4, "heartbeat must be seconds up", False),
    Bad(
        LEAST + '[broker]\nquorum_delays = "no"',
        4,
        'broker.quorum_delays must be "auto", true or false, not "no"',
        False,
    ),
    Bad(
        LEAST + '[broker]\nmanagement_url = "http://me:secret@h"',
        4,
        "broker.management_url must be like http://rabbit.example:15672",
        False,
    ),
    Bad(LEAST + "[broker]\nmanagement_url = 5", 4, "must be like http://", False),
    Bad(
        LEAST + '[web]\nlisten = "localhost:80"',
        4,
        'web.listen must be a port, or an address and a port, like "0.0.0.0:8080", not'
        ' "localhost:80"',
        False,
    ),
    Bad(LEAST + "[web]\nlisten = 65536", 4, "web.listen must be a port", False),
    Bad(LEAST + "[web]\nlisten = true", 4, "web.listen must be a port", False),
    Bad(LEAST + '[web]\nlisten = "1.2.3:4"', 4, "web.listen must be a port", False),
    Bad(LEAST + '[web]\nlisten = "\u0661\u0661"', 4, "web.listen must be a", False),
    Bad(
        LEAST + '[broker.tls]\ncacertfile = "ca.pem"',
        3,
        "broker.tls needs a URL that begins with amqps://",
        False,
    ),
    Bad(
        LEAST + '[broker]\nurl = "amqps://h"\ntls = { keyfile = "k" }',
        5,
        "broker.tls is wrong: the keyfile for TLS needs a certfile beside it",
        False,
    ),
    Bad(
        LEAST + '[broker]\nurl = "amqps://h"\ntls.cafile = "k"',
        5,
        "broker.tls.cafile is not known; did you mean",
        False,
    ),
    Bad(
        LEAST + "[service]\nprocesses = 0",
        4,
        "service.processes must be a whole number from 1 to 1000, not 0",
        False,
    ),
    Bad(LEAST + "[service]\nprocesses = true", 4, "1 to 1000, not true", False),
    Bad(LEAST + "[service]\nprocesses = 2.0", 4, "1 to 1000, not 2.0", False),
    Bad(LEAST + "[service]\ngrace = nan", 4, "grace must be seconds up to", False),
    Bad(LEAST + "[service]\ngrace = inf", 4, "grace must be seconds up to", False),
    Bad(LEAST + "[service]\ngrace = -1", 4, 'like "90s", "5m", "2h" or "7d"', False),
    Bad(
        LEAST + '[service]\ndefault_url = "localhost:8000"',
        4,
        "service.default_url must be an HTTP URL, such as",
        False,
    ),
    Bad(
        LEAST + "[priorities]\nweights = {}",
        4,
        "priorities.weights must name a class at least, like { high = 6, low = 1 }",
        False,
    ),
    Bad(
        LEAST + "[priorities]\nweights.high = -6",
        4,
        "priorities.weights.high must be a whole number from 1 to",
        False,
    ),
    Bad(
        LEAST + "[priorities]\naging = 3",
        4,
        "priorities.aging is not known; did you mean ageing?",
        False,
    ),
    Bad(
        LEAST + '[hosts."http://h/"]',
        3,
        'hosts."http://h/" must be a host, host:port or "*", like [hosts."exam',
        False,
    ),
    Bad(LEAST + '[hosts."h:99999"]', 3, "must be a host, host:port or", False),
    Bad(
        LEAST + '[hosts."h"]\nburst = 3',
        4,
        "hosts.h.burst needs a rate beside it",
        False,
    ),
    Bad(
        LEAST + "[hosts.h]\nbreaker = 3",
        4,
        "hosts.h.breaker must be true, false or a table, not 3",
        False,
    ),
    Bad(
        LEAST + "[hosts.h]\nbreaker.fails = 3",
        4,
        "hosts.h.breaker.fails is not known; did you mean failures?",
        False,
    ),
    Bad(
        LEAST + "[hosts.h]\nadaptive = { floor = 9, ceiling = 3 }",
        4,
        "hosts.h.adaptive does not fit: floor=9 must be at least 1, and ceiling=3 no",
        False,
    ),
    Bad(
        "[queues.a]\n",
        1,
        'queues.a.key is missing: the routing key of its tasks, like "tasks.#"',
        False,
    ),
    Bad(
        '[queues."amq.x"]\nkey = ""', 1, "cannot be watched: such names are the", False
    ),
    Bad('[queues."quebert.x"]\nkey = ""', 1, "such names are quebert's own", False),
    Bad('[queues.""]\nkey = ""', 1, "must have a name of 1 to 255 bytes", False),
]

#: What is wrong with a queue.
QUEUES = [
    Bad('guard.private = "no"', 3, 'guard.private must be "allow" or "refuse", not'),
    Bad("guard.privat = 1", 3, "guard.privat is not known; did you mean private?"),
    Bad("guard = 3", 3, "guard must be a table, not 3"),
    Bad('guard.allow = ["10.1.0.1/16"]', 3, "be a network, such as 10.1.0.0/16, not"),
    Bad('guard.allow = "svc"', 3, 'guard.allow must be an array, not "svc"'),
    Bad('guard.deny = ["svc", "127.1"]', 3, 'guard.deny[1] must be like "10.1.0.0/16"'),
    Bad('guard.deny = ["svc:99999"]', 3, "must have a port from 1 to 65535, not"),
    Bad("guard.allow = [3]", 3, "guard.allow[0] must be a text on one line, not 3"),
    Bad('guard.schemes = ["ftp"]', 3, 'schemes[0] must be "http" or "https", not'),
    Bad('guard.proxy = "squid:3128"', 3, "proxy must be like http://smokescreen:4750"),
    Bad(
        'guard.proxy = "http://u:p@squid:3128"',
        3,
        'proxy must be like http://smokescreen:4750, not "http://...@squid:3128"',
    ),
    Bad('guard.allow = ["u:p@host"]', 3, '"svc.internal:8080", not "...@host"'),
    Bad("guard.proxy = 3128", 3, "guard.proxy must be a text on one line, not 3128"),
    Bad("guard.schemes = []", 3, 'must have an element at least, like ["https"]'),
    Bad("guard.ports = [0]", 3, "ports[0] must be a whole number from 1 to 65535"),
    Bad("guard.ports = []", 3, "ports must have an element at least, like [80, 443]"),
    Bad("prefetchh = 3", 3, "queues.a.prefetchh is not known; did you mean prefetch?"),
    Bad("maxEvents = 3", 3, "queues.a.maxEvents is not known; did you mean prefetch?"),
    Bad('routing_key = "x"', 3, "routing_key is not known; did you mean key?"),
    Bad('prefetch = "many"', 3, 'must be a whole number from 0 to 65535, not "many"'),
    Bad("prefetch = 65536", 3, "prefetch must be a whole number from 0 to 65535"),
    Bad("concurrency = 0", 3, "concurrency must be a whole number from 1 to 65535"),
    Bad("exchange = 3", 3, "exchange must be a text of 255 bytes at most, not 3"),
    Bad(f'exchange = "{"x" * 256}"', 3, 'at most, not "xxxxxxxxx'),
    Bad('exchange_type = "top"', 3, 'be "topic" or "direct" or "fanout" or "headers"'),
    Bad('queue_type = "stream"', 3, 'queue_type must be "classic" or "quorum", not'),
    Bad("arguments = 3", 3, "arguments must be a table, not 3"),
    Bad("arguments.x-max-length = []", 3, "x-max-length must be a text, a number, or"),
    Bad('arguments.x-queue-type = "quorum"', 3, "must be set by the key queue_type"),
    Bad("key_arguments.a = 1", 3, 'needs exchange_type = "headers", and it is "topic"'),
    Bad("hold_up_to = 1000", 3, "hold_up_to must be seconds up to 900, or"),
    Bad("timeout = 0", 3, "timeout must be seconds from 0.001 to 1500, or"),
    Bad('timeout = "5 minutes"', 3, 'or "7d", not "5 minutes"'),
    Bad("timeout = 2026-11-24", 3, 'or "7d", not 2026-11-24'),
    Bad('slow_after = "5"', 3, "slow_after must be seconds from"),
    Bad("hang_after = -1", 3, "hang_after must be seconds up to"),
    Bad("hang_after = false", 3, "hang_after must be seconds up to"),
    Bad(
        'rate = "fast"',
        3,
        'queues.a.rate must be more than 0 a second, or a text like "500/s",'
        ' "30/m" or "10/h", not "fast"',
    ),
    Bad("rate = 0", 3, "rate must be more than 0 a second"),
    Bad("rate = true", 3, "rate must be more than 0 a second"),
    Bad('rate = "0/s"', 3, "rate must be more than 0 a second"),
    Bad("burst = 3", 3, "burst needs a rate beside it"),
    Bad('priority = "hi"', 3, 'must be "high" or "medium" or "low", not "hi"'),
    Bad('mediator = "best"', 3, 'must be "policy" or "delay-on-error" or "plain"'),
    Bad("permanent = [\n404,\n200,\n]", 5, "permanent[1] must be the status of a fail"),
    Bad('permanent = ["404"]', 3, 'must be a whole number from 300 to 599, not "404"'),
    Bad("permanent = 404", 3, "queues.a.permanent must be an array, not 404"),
    Bad(
        'permanent = [404]\nmediator = "plain"',
        3,
        'permanent needs mediator = "policy", and it is "plain"',
    ),
    Bad(
        "max_retry_after = 3\nretry.constant = 2",
        3,
        'max_retry_after needs mediator = "policy", and it is "delay-on-error"',
    ),
    Bad("retry = 3", 3, "queues.a.retry must be a table, not 3"),
    Bad("retry = { attempts = 3 }", 3, "retry.attempts is not known; did you mean"),
    Bad(
        "retry.max_attempts = 0",
        3,
        "retry.max_attempts must be a whole number from 1 to 1000000, or -1 for no"
        " limit, not 0",
    ),
    Bad("retry.min_backoff = 0", 3, "min_backoff must be seconds from 0.01 to"),
    Bad('retry.jitter = "half"', 3, 'jitter must be "none" or "full", not "half"'),
    Bad("retry.constant = 0.5", 3, "constant must be a number from 1 to 1000, not 0.5"),
    Bad(
        '[queues.a.retry]\nmin_backoff = "1h"\nmax_backoff = "1m"',
        3,
        "queues.a.retry does not fit: max_backoff must be at least min_backoff, which"
        " is 3600, not 60.0",
    ),
    Bad(
        "[queues.a.retry]\nconstant = 2\nmin_backoff = 3",
        5,
        'min_backoff cannot be set for the mediator "delay-on-error",'
        " which has max_attempts,"
        " max_retry_duration, constant, max_delay",
    ),
    Bad(
        'mediator = "policy"\nretry.constant = 2',
        4,
        'retry.constant cannot be set for the mediator "policy", which'
        " has max_attempts, max",
    ),
    Bad(
        'mediator = "plain"\nretry.constant = 2',
        4,
        'queues.a.retry cannot be set for the mediator "plain", which'
        " waits for a second",
    ),
    Bad(
        f'default_url = "http://me:{PASSWORD}@host/"',
        3,
        "default_url must hold no user and password: give them as headers.Authorizat",
    ),
    Bad(
        'default_url = "localhost:8004"',
        3,
        "queues.a.default_url must be an HTTP URL, such as http://localhost:8004/",
    ),
    Bad('default_url = "http://[::::]:8000/"', 3, "default_url must be an HTTP URL"),
    Bad('default_url = "http://$HOST/"', 3, "default_url must be an HTTP URL"),
    Bad("max_body = 0", 3, "max_body must be a whole number from 1 to 536870912"),
    Bad("max_url_length = 0", 3, "max_url_length must be a whole number from 1 to"),
    Bad('default_url = "http:///x"', 3, "default_url must be an HTTP URL"),
    Bad('default_url = "http://h:99999/"', 3, "default_url must be an HTTP URL"),
    Bad('default_url = "http://a b/"', 3, "default_url must be an HTTP URL"),
    Bad(
        f'headers.authorization = "Bearer {PASSWORD}"',
        3,
        'headers.authorization is a secret, and must be { env = "NAME" } or'
        ' { file = "PATH" }',
    ),
    Bad(
        '[queues.a]\nkey = "k"\n[queues."a.dead"]\nkey = "k"',
        3,
        'queues."a.dead" has the dead letters of a: they would be carried out again',
        False,
    ),
    Bad('[queues."a\\nb"]\nkey = "k"', 3, "must have a name with no control"),
    Bad("prefetch = 0x" + "F" * 5000, 3, "not a number of many digits"),
    Bad('headers.X = { file = "empty" }', 3, "empty', which is empty"),
    Bad('cloud_events = { source = "/s" }', 3, "cloud_events.type is missing"),
    Bad("cloud_events = 3", 3, "cloud_events must be a table, not 3"),
    Bad(
        'cloud_events = { source = "s", type = 3 }', 3, "cloud_events.type must be a t"
    ),
    Bad('cloud_events = { source = "\x85", type = "t" }', 3, "source of an event must"),
    Bad("sign = {}", 3, 'sign must be { secrets_file = "PATH" }'),
    Bad("sign = true", 3, "sign must be a table, not true"),
    Bad('sign.secret_file = "key"', 3, "did you mean secrets_file?"),
    Bad('sign.secrets_file = "bad"', 3, "/bad, line 3: what follows whsec_ must be"),
    Bad('sign.secrets_file = "key"', 3, "/key, line 1: a secret begins with whsec_"),
    Bad('sign.secrets_file = "none"', 3, "/none cannot be read: No such file"),
    Bad(f'sign.secrets_file = "{_LONG}"', 3, "NNN cannot be read: File name too long"),
    Bad(f'headers.authorization.env = "{_LONG}"', 3, "NNN, which is not set"),
    Bad('sign.secrets_file = "pipe"', 3, "/pipe is not a file"),
    Bad('sign.secrets_file = "empty"', 3, "/empty has no secret"),
    Bad('sign.secrets_file = "latin"', 3, "/latin is not in UTF-8"),
    Bad(
        'headers.X = "1"\nheaders.x = "2"',
        4,
        "headers.x is the same as X: capitals make no difference",
    ),
    Bad("headers.X = 3", 3, 'headers.X must be a text, or { env = "NAME" } or'),
    Bad('headers.X = { env = "UNSET" }', 3, "X.env is the environment variable UNSET,"),
    Bad("headers.X = {}", 3, 'queues.a.headers.X must be { env = "NAME" } or'),
    Bad('headers.X = { en = "A" }', 3, "headers.X.en is not known; did you mean env?"),
    Bad('headers.X = { env = "URL", file = "key" }', 3, "queues.a.headers.X must be {"),
    Bad('headers.X = { env = "LINES" }', 3, "headers.X must hold no control character"),
    Bad('headers.X.scheme = "bearer"', 3, "queues.a.headers.X must be {"),
    Bad(
        'headers.X = { env = "KEY", scheme = "digest" }',
        3,
        'queues.a.headers.X.scheme must be "bearer" or "basic", not "digest"',
    ),
    Bad('headers.X = { env = "KEY", scheme = "basic" }', 3, "must be user:password"),
    Bad('headers.X = { env = "URL", scheme = "bearer" }', 3, "must be a token for b"),
    Bad('headers.X = "a\\nb"', 3, "headers.X must hold no control character"),
    Bad('headers."a b" = "c"', 3, '"a b" is not the name of an HTTP header'),
    Bad('headers.Content-Length = "1"', 3, "cannot be set here: the mediator sees"),
    Bad('prehooks = "a.b"', 3, 'queues.a.prehooks must be an array, not "a.b"'),
    Bad('posthooks = ["a.b",\n"a"]', 4, "posthooks[1] must be the name of a function"),
    Bad('prehooks = ["no.such"]', 3, "prehooks[0] is wrong: there is no no.such"),
    Bad('"a\\nb" = 3', 3, 'queues.a."a\\nb" is not known'),
    Bad('"é" = 3', 3, 'queues.a."é" is not known'),
]

ENVIRONMENT = {
    "URL": f"amqps://me:{PASSWORD}@host:1/v",
    "WRONG_URL": f"http://me:{PASSWORD}@host/",
    "KEY": PASSWORD,
    "LINES": f"{PASSWORD}\n{PASSWORD}",
}


def find(name: str) -> None:
    """
    There are all hooks but one.
    """
    if name == "no.such":
        raise ConfigError(f"there is no {name}")


class ReadCase(SynchronousTestCase):
    """
    What files say.
    """

    def setUp(self) -> None:
        self.folder = folder(self)
        (self.folder / "latin").write_bytes(b"\xe4")
        (self.folder / "empty").write_bytes(b"\n")
        (self.folder / "large").write_bytes(b"x" * 2**23)
        os.mkfifo(self.folder / "pipe")
        (self.folder / "key").write_text(f"{PASSWORD}\n")
        (self.folder / "bad").write_text(f"# new\n{SECRET}\nwhsec_{PASSWORD}\n")

    def read(self, text: str | bytes, **environment: str) -> Settings:
        """
        Read a file with C{text} in it.
        """
        path = self.folder / "q.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read(str(path), {**ENVIRONMENT, **environment}, find)

    def queue(self, text: str) -> QueueSettings:
        """
        The queue C{a} of which C{text} says more.
        """
        return self.read(LEAST + text).queues["a"]

    def wrong(self, text: str | bytes) -> BadConfig:
        """
        What is wrong with it.
        """
        try:
            found = self.read(text)
        except BadConfig as e:
            return e
        raise AssertionError(f"taken: {text!r}: {found}")


class BadTests(ReadCase):
    """
    What is wrong is told in a sentence, with the file, the line and the key.
    """

    def check(self, case: Bad) -> None:
        """
        One such case.
        """
        error = self.wrong(LEAST + case.text if case.of_queue else case.text)
        self.assertEqual(len(error.problems), 1, error)
        problem = error.problems[0]
        self.assertEqual((problem.line, str(error).count("\n")), (case.line, 0), error)
        self.assertIn(case.sentence, str(error))
        self.assertLessEqual(len(problem.text), 1_000)
        path = self.folder / "q.toml"
        self.assertTrue(str(error).startswith(f"{path}:{case.line}: "), error)
        self.assertNotIn(PASSWORD, str(error))

    def test_long(self) -> None:
        """
        Of a long sentence, the beginning and the end are told.
        """
        for length in (999, 1_000):
            text = Problem("q.toml", 1, "k" * length).text
            self.assertEqual(text, "k" * length)
        text = Problem("q.toml", 1, "key " + "N" * 993 + " end").text
        self.assertEqual(text, "key " + "N" * 496 + "…" + "N" * 495 + " end")

    def test_files(self) -> None:
        """
        Of files, brokers, services, hosts and priorities.
        """
        for case in FILES:
            self.check(case)

    def test_queues(self) -> None:
        """
        Of queues.
        """
        for case in QUEUES:
            self.check(case)

    def test_all(self) -> None:
        """
        All that is wrong is told, in the order of the lines.
        """
        error = self.wrong(
            '[queues.a]\nrate = 0\n[service]\ngrace = "x"\nx = 1\n[queues.b]\n'
        )
        self.assertEqual([each.line for each in error.problems], [1, 2, 4, 5, 6])
        self.assertEqual(len(str(error).splitlines()), 5)
        self.assertIsInstance(error, ConfigError)

    def test_no_file(self) -> None:
        """
        A file that is not there, or cannot be read as text.
        """
        for path in (self.folder / "none.toml", self.folder):
            try:
                read(str(path))
            except BadConfig as e:
                self.assertIn(f"{path}:1: the file cannot be read: ", str(e))
            else:
                self.fail(f"{path} was read")
        error = self.wrong(b"\n\nx = '\xff'\n")
        self.assertTrue(str(error).endswith("q.toml:3: the file must be in UTF-8"))

    @needs_example
    @QUICK
    @given(st.data())
    def test_misspelt_keys(self, data: st.DataObject) -> None:
        """
        A key of the example with another letter, one letter less or more, or two
        letters the other way round is told, with its line.
        """
        lines = EXAMPLE.read_text().splitlines()
        keys = [(n, m[1]) for n, line in enumerate(lines) if (m := _KEY.match(line))]
        n, key = data.draw(st.sampled_from(keys))
        wrong = data.draw(misspellings(st.just(key)))
        known = {each for _, each in keys} | {"url_env", "url_file"}
        if wrong in known:
            return
        error = self.wrong(
            "\n".join([*lines[:n], wrong + lines[n][len(key) :], *lines[n + 1 :]])
        )
        self.assertIn(f"q.toml:{n + 1}: ", str(error))
        self.assertIn(f"{wrong} is not known", str(error))

    @QUICK
    @given(st.text() | st.text("abq[]{}=.,\"'\\\n# 1"))
    def test_anything(self, text: str) -> None:
        """
        Whatever a file holds, it is read or refused.
        """
        for whole in (text, f"{LEAST}{text}", f"[queues.a]\nkey = {text}"):
            try:
                self.read(whole.encode("utf-8", "replace"))
            except BadConfig as e:
                self.assertTrue(e.problems)


class GoodTests(ReadCase):
    """
    What files can say.
    """

    @needs_example
    def test_example(self) -> None:
        """
        The example, with all its comments uncommented, too.
        """
        settings = read(str(EXAMPLE), {}, find)
        self.assertEqual(list(settings.queues), ["tasks", "mail", "reports"])
        self.assertEqual(settings.broker.addresses, (Address("localhost", 5672),))
        text = EXAMPLE.read_text()
        (self.folder / "secrets").mkdir()
        (self.folder / "secrets" / "mail-signing").write_text(f"{SECRET}\n")
        write_key(self.folder / "secrets" / "id-tokens.pem", KEYS.keys[0])
        comments = (
            "broker.tls",
            "cacert",
            "certf",
            "keyf",
            "Authoriz",
            "X-Api",
            "sign",
            "cloud",
            "oidc",
            "issuer",
            "key_file",
        )
        for each in comments:
            self.assertEqual(text.count(f"# {each}") + text.count(f"# [{each}"), 1)
            text = text.replace(f"# {each}", each).replace(f"# [{each}", f"[{each}")
        text = text.replace('url = "amqp://', 'url = "amqps://')
        text = text.replace("secrets/mail-key", "key")
        whole = self.read(text, MAIL_AUTHORIZATION="Bearer x")
        headers = whole.queues["mail"].headers
        self.assertEqual(sorted(headers), ["Authorization", "User-Agent", "X-Api-Key"])
        events = whole.queues["mail"].cloud_events
        self.assertEqual(events, CloudEvents("/shop", "com.example.task"))
        signing = whole.queues["mail"].sign
        self.assertEqual(signing and signing.keys, (parse_key(SECRET),))
        self.assertEqual(whole.oidc and whole.oidc.keys.keys, KEYS.keys[:1])
        files = (f"{self.folder}/tls/{each}" for each in ("ca.pem", "me.pem", "me.key"))
        self.assertEqual(whole.broker.tls, TLS(*files))

    def test_arguments(self) -> None:
        """
        A queue can have arguments of AMQP, as can its binding to an exchange of
        headers, which needs no key.
        """
        text = '[queues.a]\nexchange_type = "headers"\n'
        text += (
            'arguments = { x-max-priority = 10, "x-single-active-consumer" = true }\n'
        )
        text += 'key_arguments = { x-match = "any", region = "eu", weight = 1.5 }\n'
        queue = self.read(text).queues["a"]
        self.assertEqual(
            queue.arguments, {"x-max-priority": 10, "x-single-active-consumer": True}
        )
        self.assertEqual(
            queue.key_arguments, {"x-match": "any", "region": "eu", "weight": 1.5}
        )

    def test_made_queues(self) -> None:
        """
        A file may serve queues that were made over the API, and has a part of their
        settings, with the guard of all; it needs no queue of its own then.
        """
        text = 'guard.private = "refuse"\n[made_queues]\nserve = ["mail-*"]\n'
        found = self.read(f"{text}each.timeout = 5\n").made_queues
        assert found.each is not None
        self.assertEqual(found.serve, ("mail-*",))
        self.assertEqual((found.each.guard.private, found.each.timeout), ("refuse", 5))
        self.assertEqual(self.read(LEAST).made_queues, MadeQueues())

    def test_shown_elsewhere(self) -> None:
        """
        No task of any queue may go where the mediator shows itself.
        """
        text = f'{LEAST}[made_queues]\nserve = ["*"]\n'
        listen = Listen("127.0.0.1", 8080)
        found = self.read(text).shown_at(listen)
        assert found.made_queues.each is not None
        for queue in (found.queues["a"], found.made_queues.each):
            self.assertEqual(queue.guard.own[-len(listen.places) :], listen.places)

    def test_schemes(self) -> None:
        """
        A secret can be a token or a user with a password, as headers have them.
        """
        (self.folder / "token").write_text("eyJ.a-b_c~d+e/f==\n")
        for text, wanted in (
            ('{ file = "token", scheme = "bearer" }', "Bearer eyJ.a-b_c~d+e/f=="),
            ('{ env = "USER", scheme = "basic" }', "Basic QWxhZGRpbjrDqTpi"),
        ):
            whole = f"{LEAST}headers.Authorization = {text}"
            found = self.read(whole, USER="Aladdin:é:b").queues["a"].headers
            self.assertEqual(found, {"Authorization": wanted})

    @needs_example
    def test_example_is_complete(self) -> None:
        """
        It has every key.
        """
        text = EXAMPLE.read_text()
        kinds: list[Any] = [
            Service,
            QueueSettings,
            RetryPolicy,
            Backoff,
            Host,
            Priorities,
            Events,
        ]
        kinds += [BreakerSettings, AdaptiveSettings, Guard]
        for kind in kinds:
            for field in attrs.fields(kind):
                if field.name not in NO_KEYS:
                    self.assertRegex(text, rf"\b{field.name}\b", kind)

    @needs_example
    def test_documented(self) -> None:
        """
        The documentation has every key, too.
        """
        text = DOCUMENTED.read_text()
        kinds: list[Any] = [
            Service,
            QueueSettings,
            RetryPolicy,
            Backoff,
            Host,
            Priorities,
            Events,
        ]
        kinds += [BreakerSettings, AdaptiveSettings, Guard, TLS]
        for kind in kinds:
            for field in attrs.fields(kind):
                if field.name not in NO_KEYS:
                    self.assertIn(f"``{field.name}``", text, kind)

    @needs_example
    def test_example_has_defaults(self) -> None:
        """
        What it has of them is what they are.
        """
        settings = read(str(EXAMPLE), {}, find)
        self.assertEqual(settings.service, Service())
        self.assertEqual(settings.queues["reports"].retry, Backoff())
        retry = settings.queues["mail"].retry
        self.assertEqual(retry, RetryPolicy(jitter="full"))
        self.assertEqual(settings.priorities, Priorities())
        self.assertEqual(settings.events, Events())

    def test_least(self) -> None:
        """
        A queue and its key are enough.
        """
        settings = self.read(LEAST)
        guard = Guard(own=settings.broker.places)
        queue = QueueSettings(name="a", key="k", retry=Backoff(), guard=guard)
        self.assertEqual(settings.queues, {"a": queue})
        self.assertEqual(settings.broker.username, "guest")
        self.assertEqual(settings.service, Service(1, 30.0))
        self.assertEqual(
            settings.priorities.weights, {"high": 6, "medium": 3, "low": 1}
        )

    def test_guard(self) -> None:
        """
        A queue's guard has the keys of C{[guard]}, unless its own table has them; the
        broker is forbidden.
        """
        common = '[guard]\nprivate = "refuse"\nallow = ["10.1.0.0/16", "Svc.:80"]\n'
        own = (
            'guard = { allow = ["[fd00::1]:81"], ports = [443], schemes = ["https"] }\n'
        )
        broker = '[broker]\nurl = "amqp://a,[::1]:7"\n'
        queues = self.read(
            f'{LEAST}[queues.b]\nkey = "k"\n{own}{common}{broker}'
        ).queues
        places = (
            "a:5672",
            "a:15671",
            "a:15672",
            "[::1]:7",
            "[::1]:15671",
            "[::1]:15672",
        )
        wanted = Guard(private="refuse", allow=["10.1.0.0/16", "svc:80"], own=places)
        self.assertEqual(queues["a"].guard, wanted)
        changed: dict[str, Any] = {"ports": [443], "schemes": ["https"]}
        changed["allow"] = ["[fd00::1]:81"]
        self.assertEqual(queues["b"].guard, attrs.evolve(queues["a"].guard, **changed))

    def test_bom(self) -> None:
        """
        A byte order mark, and Windows' ends of lines, do no harm.
        """
        text = "\ufeff" + LEAST.replace("\n", "\r\n")
        self.assertEqual(self.read(text), self.read(LEAST))

    def test_default_exchange(self) -> None:
        """
        With the default exchange there is no key.
        """
        self.assertEqual(self.read('[queues.a]\nexchange = ""').queues["a"].key, "")

    def test_durations(self) -> None:
        """
        Times are numbers of seconds, or texts with a unit.
        """
        cases = {"90": 90, "1.5": 1.5, '"90s"': 90, '"5m"': 300, '"0.5 h"': 1800}
        for text, seconds in {**cases, '"2h"': 7200, '"7d"': 604800, "0": 0}.items():
            grace = self.read(f"{LEAST}[service]\ngrace = {text}").service.grace
            self.assertEqual(grace, seconds, text)
        policy = self.queue("retry.max_retry_duration = -1").retry
        self.assertEqual(policy, RetryPolicy(max_retry_duration=-1.0))

    def test_rates(self) -> None:
        """
        Rates are numbers a second, or texts with a unit.
        """
        cases = {"5": Rate(5), "0.5": Rate(0.5), '"500/s"': Rate(500)}
        cases |= {'"30/m"': Rate(0.5), '"1.5 / h"': Rate(1.5 / 3600)}
        for text, rate in cases.items():
            self.assertEqual(self.queue(f"rate = {text}").rate, rate, text)

    def test_url(self) -> None:
        """
        The broker's URL stands in the file, in the environment or in another file.
        """
        (self.folder / "url").write_text("amqp://u:p@h:7/\n")
        for text, address in (
            ('url = "amqp://h:7/"', Address("h", 7)),
            ('url_env = "URL"', Address("host", 1)),
            ('url_file = "url"', Address("h", 7)),
            (f'url_file = "{self.folder / "url"}"', Address("h", 7)),
        ):
            broker = self.read(f"{LEAST}[broker]\n{text}").broker
            self.assertEqual(broker.addresses, (address,))
        default = self.read(LEAST, QUEBERT_AMQP_URL="amqp://other/").broker
        self.assertEqual(default.addresses, (Address("other", 5672),))

    def test_broker(self) -> None:
        """
        The rest of the broker's table goes with whatever URL there is.
        """
        text = '[broker]\nurl_env = "URL"\nheartbeat = "1m"\nquorum_delays = true\n'
        settings = self.read(f'{LEAST}{text}tls.cacertfile = "/ca.pem"')
        self.assertEqual(settings.broker.heartbeat, 60)
        self.assertEqual(settings.broker.tls, TLS("/ca.pem"))
        self.assertTrue(settings.quorum_delays)
        for text, quorum in (("", None), ('"auto"', None), ("false", False)):
            said = f"[broker]\nquorum_delays = {text}\n" if text else ""
            self.assertIs(self.read(said + LEAST).quorum_delays, quorum, text)

    def test_management(self) -> None:
        """
        The management API may be anywhere, and no task may request it.
        """
        self.assertIsNone(self.read(LEAST).management_url)
        text = '[broker]\nmanagement_url = "https://api.example:1234/rabbit/"\n'
        settings = self.read(text + LEAST)
        self.assertEqual(settings.management_url, "https://api.example:1234/rabbit")
        (queue,) = settings.queues.values()
        self.assertIn("api.example", queue.guard.own_hosts(1234))

    def test_web(self) -> None:
        """
        A mediator shows itself where the file says, and no task may go there.
        """
        self.assertEqual(self.read(LEAST).web, Web())
        for said, shown, own in (
            ("8080", "127.0.0.1:8080", "127.0.0.1"),
            ('"8080"', "127.0.0.1:8080", "127.0.0.1"),
            ('"0.0.0.0:8080"', "0.0.0.0:8080", "::1"),
            ('"[2001:db8::1]:8080"', "[2001:db8::1]:8080", "2001:db8::1"),
        ):
            settings = self.read(f"[web]\nlisten = {said}\n{LEAST}")
            self.assertEqual(str(settings.web.listen), shown)
            (queue,) = settings.queues.values()
            self.assertIn(Place.of(own, 8080), queue.guard.own)
        (change,) = self.read(LEAST).changes(settings)
        self.assertIn("listen changed from nothing to [2001:db8::1]:8080", change)

    def test_mediators(self) -> None:
        """
        The mediator follows from how it is to try again, unless it is said.
        """
        for text, mediator, retry in (
            ("", "delay-on-error", Backoff()),
            ("permanent = [404]", "policy", RetryPolicy()),
            ("retry.max_attempts = 3", "policy", RetryPolicy(max_attempts=3)),
            ("retry.constant = 2", "delay-on-error", Backoff(2.0)),
            ("max_retry_after = 0", "policy", RetryPolicy()),
            (
                "retry = { constant = 2, max_attempts = 3 }",
                "delay-on-error",
                Backoff(2.0, max_attempts=3),
            ),
            ('retry.max_delay = "1h"', "delay-on-error", Backoff(max_delay=3600.0)),
            ('mediator = "policy"', "policy", RetryPolicy()),
            ('mediator = "plain"', "plain", None),
        ):
            queue = self.queue(text)
            self.assertEqual((queue.mediator, queue.retry), (mediator, retry), text)

    def test_bury(self) -> None:
        """
        What is no task is buried, whatever the mediator, unless it is to be dropped.
        """
        for text, bury in (
            ("", True),
            ('mediator = "plain"', True),
            ("bury = false", False),
            ("permanent = [404]", True),
            ("permanent = [404]\nbury = false", False),
        ):
            self.assertEqual(self.queue(text).bury, bury, text)

    def test_max_url_length(self) -> None:
        """
        How long a URL may be is said for all queues, or for one.
        """
        self.assertEqual(self.queue("").max_url_length, 8192)
        self.assertEqual(self.queue("max_url_length = 100").max_url_length, 100)
        settings = self.read(f"[service]\nmax_url_length = 50\n{LEAST}")
        self.assertEqual(settings.queues["a"].max_url_length, 50)

    def test_max_body(self) -> None:
        """
        How large a message may be is said for all queues, or for one.
        """
        self.assertEqual(self.queue("").max_body, 2**24)
        self.assertEqual(self.queue("max_body = 100").max_body, 100)
        settings = self.read(f"[service]\nmax_body = 50\n{LEAST}")
        self.assertEqual(settings.queues["a"].max_body, 50)

    def test_max_memory(self) -> None:
        """
        How much memory the tasks of a process take is said for all queues together.
        """
        self.assertEqual(self.read(LEAST).service.max_memory, 2**27)
        settings = self.read(f"[service]\nmax_memory = 50\n{LEAST}")
        self.assertEqual(settings.service.max_memory, 50)

    def test_effective_prefetch(self) -> None:
        """
        Both limits of what is in flight hold.
        """
        for text, most in (
            ("", None),
            ("prefetch = 0", 0),
            ("concurrency = 5", 5),
            ("prefetch = 0\nconcurrency = 5", 5),
            ("prefetch = 9\nconcurrency = 5", 5),
            ("prefetch = 3\nconcurrency = 5", 3),
        ):
            self.assertEqual(self.queue(text).effective_prefetch, most, text)

    def test_default_url(self) -> None:
        """
        A queue's default URL is the service's, unless it has its own.
        """
        text = '[service]\ndefault_url = "http://s/"\n[queues.b]\nkey = "k"\n'
        queues = self.read(f'{LEAST}{text}default_url = "http://b/"').queues
        self.assertEqual(queues["a"].default_url, "http://s/")
        self.assertEqual(queues["b"].default_url, "http://b/")

    def test_hosts(self) -> None:
        """
        Hosts are named in any case, with or without a port.
        """
        hosts = self.read(f'{LEAST}[hosts."EXAMPLE.com:81"]\nbreaker = false').hosts
        host = Host(name="example.com:81", breaker=None)
        self.assertEqual(hosts, {"example.com:81": host})

    def test_limits(self) -> None:
        """
        A host's limits are what there is for an origin.
        """
        text = (
            'rate = "5/s"\nburst = 2\nconcurrency = 3\nbreaker = { failures = 2 }\n'
            'adaptive = { latency = "2s" }'
        )
        hosts = self.read(f'{LEAST}[hosts."*"]\n{text}\n[hosts.h]').hosts
        self.assertEqual(
            hosts["*"].limits,
            OriginLimits(
                Rate(5), 2, 3, BreakerSettings(2), AdaptiveSettings(latency=2.0)
            ),
        )
        default = OriginLimits(breaker=BreakerSettings(), adaptive=AdaptiveSettings())
        self.assertEqual(hosts["h"].limits, default)

    def test_connections(self) -> None:
        """
        What is said of a host's connections is so, and all else as usual.
        """
        text = '[hosts."*"]\nidle = 0\n[hosts.h]\nconnections = 3\nslowest = 0.5\n'
        every, hosts = connections_of(self.read(LEAST + text).hosts)
        self.assertEqual(every, Limits(idle=0.0))
        self.assertEqual(hosts, {"h": Limits(per_origin=3, slowest=0.5)})
        every, hosts = connections_of(self.read(LEAST).hosts)
        self.assertEqual((every, hosts), (Limits(), {}))

    def test_tls_of_hosts(self) -> None:
        """
        A host may have files for TLS, whose paths are relative to the configuration.
        """
        text = '[hosts.h]\ntls = { cacertfile = "a.pem" }\n[hosts."*"]\n'
        hosts = self.read(f'{LEAST}{text}tls.certfile = "/b"').hosts
        files, others = tls_of(hosts)
        assert files["h"].cacertfile is not None
        self.assertTrue(files["h"].cacertfile.endswith("/a.pem"))
        self.assertEqual((list(files), others), (["h"], TLS(certfile="/b")))

    def test_untold(self) -> None:
        """
        Secrets are in no repr.
        """
        text = 'headers = { X = { env = "KEY" }, Y = { file = "key" } }'
        settings = self.read(f'{LEAST}{text}\n[broker]\nurl_env = "URL"')
        self.assertEqual(settings.queues["a"].headers, {"X": PASSWORD, "Y": PASSWORD})
        self.assertNotIn(PASSWORD, repr(settings))


class IssuerTests(ReadCase):
    """
    The table C{[oidc]}.
    """

    def setUp(self) -> None:
        """
        A file with a key.
        """
        super().setUp()
        write_key(self.folder / "keys.pem", KEYS.keys[0])

    def issuer(self, text: str) -> OIDC | None:
        """
        What the table says.
        """
        return self.read(f"{LEAST}[oidc]\n{text}").oidc

    def test_read(self) -> None:
        """
        The URL as it is written, the path, and the keys, of which nothing is shown.
        """
        self.assertIsNone(self.read(LEAST).oidc)
        for url in ("https://tasks.example", "http://localhost:8080/a"):
            found = self.issuer(f'issuer = "{url}"\nkey_file = "keys.pem"')
            assert found is not None
            self.assertEqual((found.issuer, found.keys.keys), (url, KEYS.keys[:1]))
            self.assertEqual(found.key_file, f"{self.folder}/keys.pem")
            self.assertNotIn(KEYS.keys[0].id, repr(found))

    def test_accounts(self) -> None:
        """
        Tasks of a queue may ask for the accounts of all patterns that match its name;
        for any account where there is no table of them.
        """
        text = 'issuer = "https://a"\nkey_file = "keys.pem"\n'
        found = self.issuer(text)
        assert found is not None
        self.assertEqual(found.accounts_of("mail"), ["*"])
        text += '[oidc.accounts]\n"mail*" = ["mailer@*", "b@x"]\nmail = ["c@x"]\n'
        found = self.issuer(text)
        assert found is not None
        self.assertEqual(found.accounts_of("mail.slow"), ["mailer@*", "b@x"])
        self.assertEqual(found.accounts_of("mail"), ["mailer@*", "b@x", "c@x"])
        self.assertEqual(found.accounts_of("Mail"), [])

    def test_wrong(self) -> None:
        """
        Both keys must be there, a URL without a query, and a file of keys that nobody
        else may read.
        """
        (self.folder / "open.pem").write_text(KEYS.keys[0].text)
        (self.folder / "open.pem").chmod(0o644)
        (self.folder / "key").chmod(0o600)
        key, url = 'key_file = "keys.pem"\n', 'issuer = "https://a.example"\n'
        for text, line, sentence in (
            (key, 3, "oidc.issuer is missing"),
            (url, 3, "oidc.key_file is missing"),
            (f'{key}issuer = "a.example"', 5, "oidc.issuer must be an HTTP URL"),
            (f'{key}issuer = "https://a/?b"', 5, "oidc.issuer must be "),
            (f'{key}issuer = "https://a/#b"', 5, "oidc.issuer must be "),
            (f'{key}issuer = "https://u:p@a/"', 5, "oidc.issuer must hold no user"),
            (f'{url}key_file = "open.pem"', 5, "other users may read or write"),
            (f'{url}key_file = "key"', 5, "has something that is no key in PEM"),
            (f'{url}{key}keys = "a"', 6, "oidc.keys is not known"),
            (f"{url}{key}accounts = 3", 6, "oidc.accounts must be a table of patterns"),
            (f'{url}{key}accounts.m = "a"', 6, "oidc.accounts.m must be an array"),
            (f"{url}{key}accounts.m = [1]", 6, "oidc.accounts.m[0] must be a text"),
        ):
            error = self.wrong(f"{LEAST}[oidc]\n{text}")
            self.assertEqual([each.line for each in error.problems], [line], error)
            self.assertIn(sentence, str(error))
            self.assertNotIn(PASSWORD, str(error))
        error = self.wrong(f"oidc = 3\n{LEAST}")
        self.assertIn("oidc must be a table, not 3", str(error))
        self.assertEqual(len(error.problems), 1)

    def test_changes(self) -> None:
        """
        That it has changed, and no more, as when a key is added; it is not shown.
        """
        text = f'{LEAST}[oidc]\nissuer = "https://a"\nkey_file = "keys.pem"'
        before = self.read(text)
        self.assertEqual(before.changes(self.read(text)), [])
        self.assertFalse([key for key in before.shown() if "oidc" in key])
        with (self.folder / "keys.pem").open("a") as file:
            file.write(KEYS.keys[1].text)
        self.assertEqual(before.changes(self.read(text)), ["oidc changed"])
        self.assertEqual(before.changes(self.read(LEAST)), ["oidc changed"])


class ChangesTests(ReadCase):
    """
    L{Settings.changes} tells what is different.
    """

    def changes(self, before: str, after: str) -> list[str]:
        """
        What it tells of two files.
        """
        return self.read(before).changes(self.read(after))

    def test_none(self) -> None:
        """
        Nothing, where the same is said in other words.
        """
        self.assertEqual(self.changes(LEAST, LEAST), [])
        with_default = f"[service]\ngrace = 30\n{LEAST}prefetch = 5"
        self.assertEqual(self.changes(f"{LEAST}prefetch = 5", with_default), [])

    def test_shown(self) -> None:
        """
        All settings are shown that are set, without secrets; of very many, the first.
        """
        text = 'headers = { X = { env = "KEY" } }'
        shown = self.read(f"{LEAST}rate = 7\n{text}\n").shown()
        self.assertEqual(shown["queues.a.rate"], "7/s")
        self.assertEqual(shown["events.publish"], "true")
        self.assertEqual(shown["queues.a.retry.constant"], "1.5")
        self.assertNotIn(PASSWORD, str(shown))
        self.assertFalse([key for key in shown if "headers" in key or "broker" in key])
        queues = "".join(f'[queues.q{n}]\nkey = "k"\n' for n in range(200))
        self.assertEqual(len(self.read(queues).shown()), MOST_SHOWN)

    def test_values(self) -> None:
        """
        A line for each value.
        """
        before = f'{LEAST}prefetch = 5\nrate = "30/m"\n[service]\ngrace = 5'
        after = f"{LEAST}rate = 7\npermanent = [404, 410]\n[priorities]\nageing = 1.5"
        self.assertEqual(
            self.changes(before, after),
            [
                "priorities.ageing changed from 60 to 1.5",
                "queues.a.mediator changed from delay-on-error to policy",
                "queues.a.permanent changed from [] to [404, 410]",
                "queues.a.prefetch changed from 5 to nothing",
                "queues.a.rate changed from 30/m to 7/s",
                "queues.a.retry changed",
                "service.grace changed from 5 to 30",
            ],
        )

    def test_guard(self) -> None:
        """
        Of a guard, each key; not the broker, which is forbidden anyway.
        """
        before = f'{LEAST}[broker]\nurl = "amqp://a"'
        after = f'{LEAST}[broker]\nurl = "amqp://b"\n[guard]\nallow = ["10.0.0.0/8:80"]'
        wanted = ["broker changed"]
        wanted += ["queues.a.guard.allow changed from [] to [10.0.0.0/8:80]"]
        self.assertEqual(self.changes(before, after), wanted)

    def test_retry(self) -> None:
        """
        Of a policy, each of its terms.
        """
        before = f"{LEAST}retry = {{ max_attempts = 3, min_backoff = 1 }}"
        after = f"{LEAST}retry = {{ max_attempts = 4, min_backoff = 1 }}"
        wanted = ["queues.a.retry.max_attempts changed from 3 to 4"]
        self.assertEqual(self.changes(before, after), wanted)

    def test_tables(self) -> None:
        """
        A line for each queue or host that is there, or not any more.
        """
        before = f'{LEAST}[hosts.h]\n[queues.b]\nkey = ""'
        after = f'{LEAST}[queues.c]\nkey = ""\n[hosts.i]'
        wanted = ["hosts.h removed", "hosts.i added"]
        wanted += ["queues.b removed", "queues.c added"]
        self.assertEqual(self.changes(before, after), wanted)
        weights = f"{LEAST}[priorities]\nweights = {{ high = 6, medium = 4 }}"
        wanted = ["priorities.weights.low changed from 1 to nothing"]
        wanted += ["priorities.weights.medium changed from 3 to 4"]
        self.assertEqual(self.changes(LEAST, weights), wanted)

    def test_secrets(self) -> None:
        """
        That a secret has changed, and no more.
        """
        text = f'{LEAST}headers.X = {{ env = "KEY" }}\n[broker]\nurl_env = "URL"'
        before = self.read(text)
        after = self.read(text, KEY="k", URL="amqp://a:b@c/")
        wanted = ["broker changed", "queues.a.headers changed"]
        self.assertEqual(before.changes(after), wanted)
        (self.folder / "signing").write_text(SECRET)
        signed = f'{LEAST}sign.secrets_file = "signing"'
        self.assertEqual(self.changes(LEAST, signed), ["queues.a.sign changed"])
        before = self.read(signed)
        self.assertNotIn(SECRET[6:], repr(before))
        (self.folder / "signing").write_text(f"{SECRET}\n{SECRET}Y2Fu\n")
        after = self.read(signed)
        self.assertEqual(before.changes(after), ["queues.a.sign changed"])
        self.assertEqual(after.changes(self.read(signed)), [])


TOML = '''# [no]
title = "a # b" # [x]
a.b."c.d" = 1
x = """
[no]
k = 1
a\\""" """""
y = \'\'\'
[no]\'\'\'
d = 1979-05-27 07:32:00
array = [ 1, # one
  "]", [2, 3],
  { p = 1, q.r = [4] },
]
[t."ü.\\u00e9"] # c
k = { a = 1, "b" = "}" }
e = ""
[[s]]
n = 1
[s.u]
v = 1
[[s]]
[[s.w]]
z = 1
[[s.w]]
z = 2
'''


def paths(value: Any, path: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    """
    Of all that is in a value.
    """
    found = {path} - {()}
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in pairs:
            found |= paths(each, (*path, key))
    return found


class LinesTests(SynchronousTestCase):
    """
    L{lines} tells where each key of a file is.
    """

    def test_lines(self) -> None:
        """
        In tables, inline tables, arrays of both, and whatever texts are around.
        """
        found = lines(TOML)
        self.assertEqual(set(found), paths(tomllib.loads(TOML)))
        for path, line in {
            ("title",): 2,
            ("a", "b", "c.d"): 3,
            ("x",): 4,
            ("y",): 8,
            ("d",): 10,
            ("array", 0): 11,
            ("array", 2, 1): 12,
            ("array", 3, "q", "r", 0): 13,
            ("t", "ü.é", "k", "b"): 16,
            ("s", 0, "u", "v"): 21,
            ("s", 1): 22,
            ("s", 1, "w", 1, "z"): 26,
        }.items():
            self.assertEqual(found[path], line, path)
        self.assertEqual(lines(TOML.replace("\n", "\r\n")), found)

    @QUICK
    @given(st.text("ab.=\"'[]{},#\\\n 1", max_size=30))
    def test_anything(self, text: str) -> None:
        """
        All keys are found, and no others.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return
        self.assertEqual(set(lines(text)), paths(data))
