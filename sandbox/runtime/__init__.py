"""What runs beside tenant code inside the jail: it loads a script, serves it and speaks the wire.

Nothing here is trusted by the gateway and nothing here enforces a limit: tenant code shares this
interpreter and may change any of it. The standard library, msgspec and the protocol are all it
imports.
"""
