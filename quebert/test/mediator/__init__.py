"""
Tests for L{quebert.mediator}, module by module.
"""
