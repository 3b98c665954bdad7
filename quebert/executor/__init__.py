"""
The executor side: a web server that runs a function for each task.
"""

from quebert.executor._limits import ExecutorLimits
from quebert.executor._options import ExecutorOptions, makeService
from quebert.executor._service import ExecutorService
from quebert.executor._site import ExecutorSite
from quebert.executor._web import ExecutorResource

#: What C{twistd} looks for under this name.
Options = ExecutorOptions

__all__ = [
    "ExecutorLimits",
    "ExecutorOptions",
    "ExecutorResource",
    "ExecutorService",
    "ExecutorSite",
    "Options",
    "makeService",
]
