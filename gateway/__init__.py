"""Waypost: an edge dispatch gateway for tenants' untrusted Python."""

__version__ = "0.1.0"
