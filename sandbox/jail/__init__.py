"""The barriers around untrusted code, one a file; each says what it stops and what it does not."""
