"""
quebert: an HTTP-push task queue on AMQP.

A task is a URL and JSON parameters in a RabbitMQ queue; a mediator takes it
and POSTs it to an executor until the answer is 2xx.
"""

__version__ = "0.1.0.dev0"

__all__ = ["__version__"]
