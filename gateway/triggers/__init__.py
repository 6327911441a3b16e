"""What enters the corridor without a client: schedules."""
