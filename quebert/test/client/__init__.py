"""
Tests of L{quebert.client}.
"""
