"""
An operator's work on a RabbitMQ: users, virtual hosts, and policies.

It is done with L{RabbitMQNode.eval}, since a C{rabbitmqctl} needs most of a second of a
processor, and the tests need it a hundred times.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from quebert.test.contract.patience import until
from quebert.testing import RabbitMQNode

__all__ = [
    "EVERYTHING",
    "add_user",
    "add_vhost",
    "close_connections",
    "limit_channels",
    "set_permissions",
    "set_policy",
]

#: The patterns of configure, write and read that permit all.
EVERYTHING = (".*", ".*", ".*")
_USERS = "rabbit_auth_backend_internal"
_TESTS = '<<"tests">>'


def binary(text: str) -> str:
    """
    A text as a binary of Erlang.
    """
    return f"<<{','.join(map(str, text.encode()))}>>"


def add_user(
    node: RabbitMQNode, name: str, permissions: tuple[str, ...] = EVERYTHING
) -> str:
    """
    Add a user to the virtual host C{/}; the AMQP URL with the user's name.
    """
    secret = binary("secret")
    node.eval(f"ok = {_USERS}:add_user({binary(name)}, {secret}, {_TESTS})")
    set_permissions(node, name, permissions)
    return node.url.replace("guest:guest", f"{name}:secret")


def limit_channels(node: RabbitMQNode, name: str, most: int) -> None:
    """
    Let a user have no more channels than so many.
    """
    limits = f'<<"{{\\"max-channels\\": {most}}}">>'
    node.eval(f"ok = {_USERS}:set_user_limits({binary(name)}, {limits}, {_TESTS})")


def set_permissions(
    node: RabbitMQNode,
    user: str,
    permissions: tuple[str, ...] = EVERYTHING,
    vhost: str = "/",
) -> None:
    """
    Permit a user what the patterns of configure, write and read say.
    """
    given = ", ".join(map(binary, (user, vhost, *permissions)))
    node.eval(f"ok = {_USERS}:set_permissions({given}, {_TESTS})")


def add_vhost(node: RabbitMQNode, name: str, queue_type: str | None = None) -> str:
    """
    Add a virtual host, in which C{guest} may do everything; its AMQP URL.

    @param queue_type: the type of queues that are declared without one.
    """
    settings = f"default_queue_type => {binary(queue_type)}" if queue_type else ""
    node.eval(f"ok = rabbit_vhost:add({binary(name)}, #{{{settings}}}, {_TESTS})")
    set_permissions(node, "guest", vhost=name)
    return node.url + name


def set_policy(
    node: RabbitMQNode, queues: str, rule: dict[str, object], name: str = "limit"
) -> Callable[[], None]:
    """
    Set a policy, and wait until a queue has it.  What is returned takes it back.

    @param queues: a pattern of the names of queues.
    """
    where = ", ".join(map(binary, ("/", name)))
    given = ", ".join((*map(binary, (queues, json.dumps(rule))), "0", binary("queues")))
    node.eval(f"ok = rabbit_policy:parse_set({where}, {given}, {_TESTS})")
    _until_applied(node, name, True)

    def clear() -> None:
        node.eval(f"ok = rabbit_policy:delete({where}, {_TESTS})")
        _until_applied(node, name, False)

    return clear


def _until_applied(node: RabbitMQNode, policy: str, wanted: bool) -> None:
    """
    Wait until a queue has a policy, or until none has it.
    """
    columns = f"rabbit_amqqueue:info_all({binary('/')}, [policy])"
    found = f'{{policy,<<"{policy}">>}}'
    until(lambda: (found in node.eval(columns)) is wanted)


def close_connections(node: RabbitMQNode, user: str | None = None) -> None:
    """
    Close all connections, or those of a user.
    """
    module, why = "rabbit_networking", binary("for a test")
    if user is None:
        node.eval(f"{module}:close_all_connections({why})")
    else:
        node.eval(f"{module}:close_all_user_connections({binary(user)}, {why})")
