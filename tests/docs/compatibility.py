"""Writes docs/compatibility.md: ``python -m tests.docs.compatibility``."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from gateway.api.compatibility import page
from tests.support.control import control_plane

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with control_plane(Path(folder)) as control:
            PAGE.write_text(page(control.app.routes))


if __name__ == "__main__":
    asyncio.run(main())
