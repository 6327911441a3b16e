"""The tenants' listener: HTTP in, HTTP out, and what is said when nothing else answers."""
