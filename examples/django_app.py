r"""
Tasks in Django, with gunicorn::

    $ gunicorn --bind=127.0.0.1:8000 examples.django_app:application
    … Listening at: http://127.0.0.1:8000 …

Any path below /tasks brings a task to the function that has it::

    $ curl -s localhost:8000/tasks/export -H 'Content-Type: application/json' \
        --data '{"url": "/tasks/export", "params": {"orders": 1}}'
    order,total
    1,10

For others than this machine, name a file of secrets: TASK_SECRETS=mediator.secret.

Ctrl-C ends it:

.. code-block:: console

    … Booting worker with pid: …
    ^C

A project of your own needs the line in ``urlpatterns`` alone; the rest is a project in
one file.
"""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import path

from examples import shop_tasks
from quebert.functions import Receiver
from quebert.functions.django import task_view

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    MIDDLEWARE=[
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.urandom(32).hex(),
)

receiver = Receiver(secrets_file=os.environ.get("TASK_SECRETS"))
urlpatterns = [
    path("tasks/<path:path>", task_view(receiver, shop_tasks.all_functions)),
]
application = get_wsgi_application()
asgi_application = get_asgi_application()
