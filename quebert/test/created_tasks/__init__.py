"""
Tests for L{quebert.created_tasks}.
"""
