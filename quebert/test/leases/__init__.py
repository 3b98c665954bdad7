"""
Tests for L{quebert.leases}.
"""
