"""
C{twistd quexecutor}.
"""

from twisted.application.service import ServiceMaker

quexecutor = ServiceMaker(
    "quexecutor",
    "quebert.executor",
    "An executor: a web server that runs a function for each task.",
    "quexecutor",
)
