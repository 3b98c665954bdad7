"""
Tests for L{quebert.task_store}.
"""
