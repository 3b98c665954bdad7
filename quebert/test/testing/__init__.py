"""
Tests for L{quebert.testing}, as users have it in their own tests.
"""
