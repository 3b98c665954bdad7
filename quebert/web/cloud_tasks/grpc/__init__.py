"""
The Cloud Tasks API over gRPC.  It needs grpcio and protobuf (the extra C{grpc}), which
no other module imports.

  - C{_schema}: the messages and methods, as tables.
  - C{_descriptors}: makes message classes from them.
  - C{_methods}: from bytes to proto JSON, and back.
  - C{_reactor_calls}: from the threads of grpcio to the reactor, and back.
  - C{_server}: the server.
"""

from quebert.web.cloud_tasks.grpc._server import GRPCLimits, GRPCServer

__all__ = ["GRPCLimits", "GRPCServer"]
