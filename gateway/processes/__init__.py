"""Several processes that serve as one node: a leader with the control API, and its followers."""
