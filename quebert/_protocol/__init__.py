"""
What both ends of an AMQP connection speak: values, properties, methods, contents,
frames and heartbeats.

Pure: knows no sockets, no client and no broker.  The reply codes of both ends are
L{quebert.errors.ReplyCode}, since errors have them.
"""
