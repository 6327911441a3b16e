"""A regular expression that backtracks for ever."""

import re


def attempt():
    re.match(r"(a|aa)+$", "a" * 60 + "b")
    return {"success": True, "detail": "matched"}
