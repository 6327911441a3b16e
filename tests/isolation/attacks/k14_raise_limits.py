"""Raise its own limits."""

import resource


def attempt():
    done = []
    for name in ("RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_STACK"):
        which = getattr(resource, name)
        soft, hard = resource.getrlimit(which)
        try:
            resource.setrlimit(which, (soft, hard))
            done.append(name)
        except (OSError, ValueError):
            pass
    return {"success": bool(done), "detail": done}
