"""
The Cloud Tasks API over gRPC.  It needs grpcio and protobuf (the extra C{grpc}), which
no other module imports.

  - C{_schema}: the messages and methods, as tables.
  - C{_descriptors}: makes message classes from them.
  - C{_proto_json}: from messages to proto JSON, and back.
  - C{_methods}: the methods, from bytes to bytes.
  - C{_reactor_calls}: from the threads of grpcio to the reactor, and back.
  - C{_server}: the server.
  - C{_quiet}: keeps grpcio from writing to standard error; it comes first.
"""

from quebert.web.cloud_tasks.grpc._quiet import VERBOSITY
from quebert.web.cloud_tasks.grpc._server import GRPCLimits, GRPCServer

__all__ = ["VERBOSITY", "GRPCLimits", "GRPCServer"]
