"""Instances: starting them, choosing one for a request, speaking the wire to it, ending it."""
