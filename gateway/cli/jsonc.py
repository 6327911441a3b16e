"""JSON with comments and trailing commas, as ``wrangler.jsonc`` is written."""

from __future__ import annotations

import json
import re
from typing import Any

_STRING = r'"(?:\\.|[^"\\\n])*"'
_COMMENT = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"({_STRING})|,(?=\s*[}}\]])")
_NOT_NEWLINE = re.compile(r"[^\n]")


def loads(text: str) -> Any:
    """Parse JSONC. Raises ``json.JSONDecodeError`` whose line and column are those of ``text``."""
    return json.loads(_blank(_TRAILING_COMMA, _blank(_COMMENT, text.removeprefix("\ufeff"))))


def _blank(pattern: re.Pattern[str], text: str) -> str:
    """Turn matches into spaces, except strings, so that positions stay."""
    return pattern.sub(lambda match: match.group(1) or _NOT_NEWLINE.sub(" ", match.group()), text)
