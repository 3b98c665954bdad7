"""
What both ends of an AMQP connection speak: values, properties and frames.

Pure: knows no sockets, no client and no broker.
"""
