"""Helpers of the tests: a real node in a thread, and a client for it."""
