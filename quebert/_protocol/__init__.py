"""
What both ends of an AMQP connection speak: values, properties, methods, contents,
frames and heartbeats.

Pure: knows no sockets, no client and no broker.
"""
