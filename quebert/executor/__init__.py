"""
The executor side: a web server that runs a function for each task.
"""
