"""Look in scratch for what another instance left."""

import os

_own = []


def attempt():
    found = [os.path.join(d, f) for d, _, fs in os.walk("/tmp") for f in fs if "site" not in d]
    found = [path for path in found if path.startswith("/tmp/left") and path not in _own]
    _own.append("/tmp/left")
    try:
        open("/tmp/left", "w").write("a secret of this instance")
    except PermissionError:
        pass  # There is no scratch.
    return {"success": bool(found), "detail": found}
