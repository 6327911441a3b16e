"""The right to run: suspension, body size, and a tenant's share of the node at once."""
