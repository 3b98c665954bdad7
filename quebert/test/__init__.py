"""
quebert's own tests: C{trial quebert} runs the TestCases, C{pytest} all.
"""
