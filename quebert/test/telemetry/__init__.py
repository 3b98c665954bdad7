"""
Tests for L{quebert.telemetry}.
"""
