"""
What people call, with which keywords; and whether the calls in a piece of Python, as in
a document, are right.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from types import FunctionType
from typing import Any

from quebert.amqp import PriorityGroup, TxAMQPClient
from quebert.client import AsyncClient, Client
from quebert.config import TLS
from quebert.executor import ExecutorLimits, ExecutorService
from quebert.limits import AdaptiveSettings, BreakerSettings, OriginLimits, Origins
from quebert.mediator import DelayOnErrorMediator, Mediator, PolicyMediator
from quebert.outcome import Bury, Discard, Retry
from quebert.policy import RetryPolicy
from quebert.producer import BlockingProducer, Producer, add_task, add_tasks, aio
from quebert.testing import Simulation

__all__ = ["ADDING", "CALLS", "CLIENT", "Call", "keywords", "wrong_calls"]

Call = Callable[..., object]


def keywords(call: Call) -> list[str]:
    """
    The names of the parameters of C{call}, but for what takes any.
    """
    any_number = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(call).parameters.values()
    return [each.name for each in parameters if each.kind not in any_number]


def nobody(task: object) -> None:
    """
    For a callback that is never called.
    """


#: What people call, with arguments that do, and what further keywords it has.
CLIENT = TxAMQPClient("localhost", "guest", "guest")
ADDING = [*keywords(Producer.add_task), "timestamp", "filter", "failures", "traceback"]
MEDIATING = keywords(Mediator)
CALLS: list[tuple[Call, tuple[Any, ...], list[str]]] = [
    (TxAMQPClient, ("h", "u", "p"), []),
    (TxAMQPClient.from_url, ("amqp://h/",), keywords(TxAMQPClient)),
    (CLIENT.watch, ("flow", "queue", "key", nobody), []),
    (CLIENT.publish, ("flow", "key", b""), []),
    (PriorityGroup, (), []),
    (Mediator, (), []),
    (DelayOnErrorMediator, (), MEDIATING),
    (PolicyMediator, (), MEDIATING),
    (Producer, (CLIENT,), []),
    (Producer(CLIENT).add_task, ("/",), ADDING),
    (Producer(CLIENT).add_raw_task, (b"",), []),
    (BlockingProducer, (), []),
    (BlockingProducer().add_task, ("/",), ADDING),
    (BlockingProducer().add_raw_task, (b"",), []),
    (BlockingProducer().add_tasks, ([], nobody), []),
    (add_task, ("/",), ADDING),
    (add_tasks, ([], nobody), []),
    (Simulation, (nobody,), [*MEDIATING, *keywords(PolicyMediator), "constant"]),
    (RetryPolicy, (), []),
    (OriginLimits, (), []),
    (Origins, (), []),
    (AdaptiveSettings, (), []),
    (BreakerSettings, (), []),
    (ExecutorLimits, (), []),
    (ExecutorService, (nobody,), []),
    (TLS, (), []),
    (Retry, (), []),
    (Discard, ("why",), []),
    (Bury, ("why",), []),
]

# The packages whose names and methods documents use without an import.
_PACKAGES = (
    "amqp",
    "executor",
    "limits",
    "mediator",
    "operations",
    "policy",
    "producer",
    "testing",
)
_FURTHER = {getattr(call, "__func__", call): {*more} for call, _, more in CALLS}
# A coroutine, which tells of a wrong keyword when it is awaited.
_FURTHER[aio.add_task] = {*ADDING}


def wrong_calls(tree: ast.AST, written: Collection[str] = ()) -> Iterator[str]:
    """
    The calls of quebert's functions, classes and methods that would be a TypeError, and
    why.  The class of an object is not known, so a method is looked up by its name in
    all classes, and one of them must take the arguments.

    @param written: modules that are not there, and whose names nobody knows.
    """
    names = _names(tree, written)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            errors = [_error(node, *each) for each in _called(node.func, names)]
            if errors and all(errors):
                yield f"{ast.unparse(node)}: {errors[0]}"


def _names(tree: ast.AST, written: Collection[str]) -> Mapping[str, Any]:
    """
    What names mean, without those that the code binds itself.
    """
    names = {**vars(builtins), **_PUBLIC}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in written:
            for each in node.names:
                names.pop(each.name, None)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            alone = ast.Module([node], type_ignores=[])
            exec(compile(alone, "document", "exec"), names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.pop(node.id, None)
        elif isinstance(node, ast.arg):
            names.pop(node.arg, None)
    return names


def _called(node: ast.expr, names: Mapping[str, Any]) -> list[tuple[Call, int]]:
    """
    What of ours may be called, and how many arguments it has before those in the code.
    """
    found = _value(node, names)
    if found is not None:
        ours = (getattr(found, "__module__", None) or "").startswith("quebert.")
        return [(found, 0)] if ours else []
    if isinstance(node, ast.Attribute):
        return [(method, 1) for method in _METHODS.get(node.attr, ())]
    return []


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """
    What an expression is, C{None} if only running the code would tell.
    """
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, names)
        try:
            return None if owner is None else getattr(owner, node.attr)
        except RuntimeError:  # such as the request of Flask, where there is none
            return None
    return None


def _error(node: ast.Call, call: Call, before: int) -> str:
    """
    Why C{call} does not take the arguments, C{""} if it does.
    """
    given = [each for each in node.args if not isinstance(each, ast.Starred)]
    named = {each.arg: each for each in node.keywords if each.arg is not None}
    whole = len(given) + len(named) == len(node.args) + len(node.keywords)
    signature = inspect.signature(call)
    bind = signature.bind if whole else signature.bind_partial
    try:
        bound = bind(*[None] * before, *given, **named).arguments
    except TypeError as e:
        return str(e)
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            known = _FURTHER.get(getattr(call, "__func__", call), set())
            unknown = set(bound.get(parameter.name, {})) - known
            return f"no keyword {', '.join(sorted(unknown))}" if unknown else ""
    return ""


def _public() -> Mapping[str, Any]:
    packages = [importlib.import_module(f"quebert.{name}") for name in _PACKAGES]
    return {name: getattr(each, name) for each in packages for name in each.__all__}


def _methods() -> Mapping[str, list[FunctionType]]:
    """
    The methods that quebert's public classes define, by their names.
    """
    methods: dict[str, list[FunctionType]] = {}
    for value in _PUBLIC.values():
        for name, method in inspect.getmembers(value, inspect.isfunction):
            known = methods.setdefault(name, [])
            if method.__module__.startswith("quebert.") and method not in known:
                known.append(method)
    # Their other methods are called as those of other libraries are.
    for name in ("add_task", "add_tasks"):
        methods[name] += [getattr(each, name) for each in (Client, AsyncClient)]
    return methods


_PUBLIC = _public()
_METHODS = _methods()
