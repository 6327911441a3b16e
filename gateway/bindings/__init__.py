"""What tenant code reaches outside its jail, and on which terms."""
