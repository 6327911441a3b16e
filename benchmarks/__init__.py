"""What Waypost costs, measured beside what its users would pick instead."""
