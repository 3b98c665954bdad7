"""
C{twistd quebert}.
"""

from twisted.application.service import ServiceMaker

quebert = ServiceMaker(
    "quebert",
    "quebert.service",
    "A mediator: takes tasks from RabbitMQ and requests their URLs.",
    "quebert",
)
