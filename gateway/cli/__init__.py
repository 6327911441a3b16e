"""The command line: a client of the control API, and the door to a node of one's own."""
