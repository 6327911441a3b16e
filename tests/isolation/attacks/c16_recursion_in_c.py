"""Recurse in C: json, pickle, the compiler, repr, regular expressions."""

import ast
import json
import pickle
import re


def attempt():
    deep = []
    for _ in range(200_000):
        deep = [deep]
    for work in (
        lambda: json.loads("[" * 200_000),
        lambda: json.dumps(deep),
        lambda: pickle.dumps(deep),
        lambda: repr(deep),
        lambda: ast.parse("(" * 150),
        lambda: compile("-" * 100_000 + "1", "", "eval"),
        lambda: re.compile("(" * 5000 + ")" * 5000),
    ):
        try:
            work()
        except (RecursionError, MemoryError, SyntaxError, re.error, OverflowError):
            pass
    return {"success": False, "detail": "survived"}
