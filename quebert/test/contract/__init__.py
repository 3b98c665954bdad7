"""
What an AMQP 0-9-1 broker has to do, as RabbitMQ 3.10 does it.

Every test runs on RabbitMQ, which is right by definition, and on the embedded
broker.  What the latter does otherwise on purpose is in C{differences.py}.
"""
