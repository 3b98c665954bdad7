"""
Tests for L{quebert.functions.django}, in a process of their own: settings of Django are
for ever.
"""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = """
import json, logging, sys
import django
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": ":memory:",
            "ATOMIC_REQUESTS": True,
        }
    },
    DATA_UPLOAD_MAX_MEMORY_SIZE=10,
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    ROOT_URLCONF=__name__,
)
django.setup()
logging.disable()

from quebert.functions import Functions, GiveUp, Receiver
from quebert.functions.django import task_view

functions = Functions()

@functions.task("/write")
def write(task):
    with connection.cursor() as cursor:
        cursor.execute("insert into written values (%s)", [task["params"]])
    if task["params"] == "fails":
        raise ValueError
    if task["params"] == "gives up":
        return GiveUp("never")
    return None

urlpatterns = [path("tasks/<path:path>", task_view(Receiver(max_body=200), functions))]

with connection.cursor() as cursor:
    cursor.execute("create table written (word)")
client = Client(enforce_csrf_checks=True)

def post(params, path="/tasks/write", **headers):
    body = json.dumps({"params": params})
    answer = client.post(path, body, "application/json", headers=headers)
    return answer.status_code

print(post("first"), post("fails"), post("gives up"), post("last"))
print(post("x" * 200), post("x", "/tasks/other"), post("x", origin="http://x"))
print(client.get("/tasks/write").status_code)
with connection.cursor() as cursor:
    cursor.execute("select word from written")
    print(cursor.fetchall())
print([name for name in sys.modules if name.split(".")[0] == "twisted"])
"""


class TaskViewTests(SynchronousTestCase):
    """
    L{quebert.functions.django.task_view}.
    """

    def test_view(self) -> None:
        """
        It needs no CSRF token, and has a limit of its own; what fails is rolled back;
        and Twisted is not needed.
        """
        command = [sys.executable, "-c", SCRIPT]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ran = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=120
        )
        self.assertEqual(ran.stderr, "")
        expected = "204 500 422 204\n413 404 403\n405\n[('first',), ('last',)]\n[]\n"
        self.assertEqual(ran.stdout, expected)
