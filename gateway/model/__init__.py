"""The words the rooms speak to each other: frozen values, no I/O."""
