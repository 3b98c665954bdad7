"""
What both ends of an AMQP connection speak: values, properties, methods, contents,
frames and heartbeats.

Pure: knows no sockets, no client and no broker.  The reply codes of both ends are
L{quebert.errors.ReplyCode}, since errors have them.

What changes here changes at both ends: L{quebert.amqp.wire} tells what a method takes
at the client, C{producer/_connection} and C{producer/_frame_stream} at the producer
that blocks, L{quebert.broker.protocol} what it takes at the embedded broker, and
L{quebert._protocol.extensions} what an argument or a header of RabbitMQ takes.
"""
