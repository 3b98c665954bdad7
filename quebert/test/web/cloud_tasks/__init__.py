"""
Tests of the Cloud Tasks API.
"""
