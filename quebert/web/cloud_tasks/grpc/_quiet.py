"""
Keeps grpcio from writing to standard error.  It would write a line for each client
whose TLS fails, past the log and its format.  To be imported before grpcio, which reads
the environment then.
"""

from __future__ import annotations

import os

__all__ = ["VERBOSITY"]

#: What grpcio writes, unless somebody has said otherwise.
VERBOSITY = os.environ.setdefault("GRPC_VERBOSITY", "NONE")
