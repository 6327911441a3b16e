"""From a request to the script version that serves it."""
