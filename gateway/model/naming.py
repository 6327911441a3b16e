"""Which names scripts and tenants may have, and which tenant a script's name belongs to."""

from __future__ import annotations

import re
from typing import Final

MAX_SLUG: Final = 40
"""Longest slug of a tenant."""
MAX_SCRIPT_NAME: Final = 63
"""Longest name of a script: it must fit one DNS label."""
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)


def is_label(name: str, *, longest: int = MAX_SCRIPT_NAME) -> bool:
    """Whether ``name`` is lower-case letters, digits and single inner hyphens."""
    return len(name) <= longest and "--" not in name and _LABEL.fullmatch(name) is not None


def owner_slugs(script: str) -> list[str]:
    """Slugs that a script of this name may belong to, the longest (which wins) first.

    ``acme-shop-api`` belongs to tenant ``acme-shop-api``, ``acme-shop`` or ``acme``.
    """
    parts = script.split("-")
    slugs = ("-".join(parts[:count]) for count in range(len(parts), 0, -1))
    return [slug for slug in slugs if len(slug) <= MAX_SLUG]
