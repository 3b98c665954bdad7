"""
Tests of the Cloud Tasks API over gRPC.
"""
