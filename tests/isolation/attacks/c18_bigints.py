"""Integers of a hundred million digits, in strings and out of them."""

import sys


def attempt():
    sys.set_int_max_str_digits(0)
    return {"success": True, "detail": len(str(3 ** (10**8)))}
