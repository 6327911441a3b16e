"""What the operator and the tenants see of what happened: metrics, tail, access log, log."""
