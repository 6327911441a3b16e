"""A loop in C that never looks at signals, beside an endless query without the lock."""

import collections
import itertools
import sqlite3
import threading


def _query():
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n"
    sqlite3.connect(":memory:", check_same_thread=False).execute(endless).fetchone()


def attempt():
    threading.Thread(target=_query, daemon=True).start()
    collections.deque(itertools.repeat(0), maxlen=0)
    return {"success": True, "detail": ""}
