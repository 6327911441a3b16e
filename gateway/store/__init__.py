"""Where state lives. Rooms see the protocols of :mod:`gateway.store.base` only."""
