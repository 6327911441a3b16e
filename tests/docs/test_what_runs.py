"""The page about public programs names the figures that are in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config

PAGE = (Path(__file__).parents[2] / "docs" / "what-runs.md").read_text(encoding="utf-8")
CONFIG = Config()


@pytest.mark.parametrize(
    "figure",
    [
        f"{CONFIG.upload.max_mb} MiB uncompressed, `upload.max_mb`",
        f"{CONFIG.upload.max_modules:,}, `upload.max_modules`",
        f"{CONFIG.runtime.startup_cpu_ms // 1000} s, `runtime.startup_cpu_ms`",
    ],
)
def test_the_sizes_are_the_defaults(figure: str) -> None:
    assert figure in PAGE
