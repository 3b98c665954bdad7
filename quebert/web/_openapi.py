"""
The OpenAPI 3.1 document of the API, made of its table of routes.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import quebert
from quebert.web._exchange import JSON, PROBLEM
from quebert.web._routes import Route
from quebert.web._schemas import PROBLEM_SCHEMA, Schemas

__all__ = ["openapi", "statuses_of"]

_NAME = re.compile(r"\{(\w+)\}")
# What each request may be answered: it cannot be read, its target is too long, or the
# server has too many connections or too little memory.
_OF_ALL = (400, 414, 503)
# What each request that needs a right may be answered.
_OF_RIGHTS = (401, 403, 429)
_PART = {"type": "string", "minLength": 1}
_LATER = {"Retry-After": {"schema": {"type": "string"}}}
_PLACE = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}


def statuses_of(route: Route[Any]) -> frozenset[int]:
    """
    The statuses that are documented of a route.
    """
    common = _OF_RIGHTS if route.right else ()
    return frozenset((route.doc.status, *_OF_ALL, *common, *route.doc.problems))


def openapi(routes: Iterable[Route[Any]]) -> Mapping[str, Any]:
    """
    The document.
    """
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        method = paths.setdefault(route.path, {})
        method[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "quebert",
            "version": quebert.__version__,
            "summary": "Tasks, queues, hosts and mediators of a cluster.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": {**schemas.known, "Problem": PROBLEM_SCHEMA},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route[Any], schemas: Schemas) -> Mapping[str, Any]:
    doc = route.doc
    answers = {str(status): _answer(route, status) for status in statuses_of(route)}
    answers[str(doc.status)] |= _good(route, schemas)
    found: dict[str, Any] = {
        "operationId": doc.name,
        "summary": doc.summary,
        "parameters": list(_parameters(route, schemas)),
        "responses": dict(sorted(answers.items())),
        "security": list(_security(route.right)),
    }
    if doc.body is not None:
        content = {JSON: {"schema": schemas.of(doc.body)}}
        found["requestBody"] = {"content": content, "required": doc.needs_body}
    return found


def _security(right: str) -> Iterable[Mapping[str, Any]]:
    if right:
        yield {"token": [right]}
    if right == "read":  # programs of the same machine need none, unless told otherwise
        yield {}


def _parameters(route: Route[Any], schemas: Schemas) -> Iterable[Mapping[str, Any]]:
    for name in _NAME.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": _PART}
    for place, given in (("query", route.doc.query), ("header", route.doc.headers)):
        for name, schema in given.items():
            yield {"name": name, "in": place, "schema": schemas.of(schema)}


def _answer(route: Route[Any], status: int) -> dict[str, Any]:
    found: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if status == 201:
        found["headers"] = _PLACE
    if status < 400:
        return found
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    tells_health = route.method == "GET" and not route.right
    if status == 503 and tells_health and status in route.doc.problems:
        # The same object as if all is well.
        return {**found, "content": {**content, JSON: {"schema": {}}}}
    if status in (429, 503):
        found["headers"] = _LATER
    return {**found, "content": content}


def _good(route: Route[Any], schemas: Schemas) -> dict[str, Any]:
    doc = route.doc
    kind = str if doc.answer is None else doc.answer
    return {"content": {doc.content_type: {"schema": schemas.of(kind)}}}
