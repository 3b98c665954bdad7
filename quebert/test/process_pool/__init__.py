"""
Tests for L{quebert._process_pool}.
"""
