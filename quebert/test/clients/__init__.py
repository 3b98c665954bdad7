"""
Google's own clients of Cloud Tasks, against a server of ours.  C{make test-google}
installs them in an environment of their own, where the suites C{google_python} and
C{google_node.mjs} run; C{server} is the server.
"""
