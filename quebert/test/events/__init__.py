"""
Tests for L{quebert.events}.
"""
