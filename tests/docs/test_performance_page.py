"""docs/performance.md: every figure on it comes from a result file beside it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.charts import bars
from benchmarks.spent import ELSE, read_stacks

DOCS = Path(__file__).parents[2] / "docs"
KEPT = DOCS / report.KEPT
RENDERED = report.render(KEPT)


@pytest.mark.parametrize("path", sorted(RENDERED))
def test_the_page_and_its_charts_are_what_the_results_say(path: str) -> None:
    assert DOCS.joinpath(path).read_text() == RENDERED[path], "python -m benchmarks report"


def test_nothing_lies_beside_the_page_that_is_not_on_it() -> None:
    expected = {f"{report.KEPT}/{name}.json" for name in report.SECTIONS} | set(RENDERED)
    found = {str(path.relative_to(DOCS)) for path in KEPT.iterdir()}
    assert found <= expected


def test_another_figure_changes_the_page(tmp_path: Path) -> None:
    figures: dict[str, Any] = json.loads((KEPT / "warm.json").read_text())
    figures["figures"]["waypost"]["requests_per_second"] = 123_456_789.0
    (tmp_path / "warm.json").write_text(json.dumps(figures))
    files = report.render(tmp_path)
    assert "123,456,789" in files["performance.md"]
    assert "123,456,789" in files["performance/warm.svg"]
    assert "123,456,789" not in RENDERED["performance.md"]


def test_the_newest_result_of_each_scenario_is_taken(tmp_path: Path) -> None:
    results, docs = tmp_path / "results", tmp_path / "docs"
    results.mkdir()
    for name in ("warm-20260101-000000", "warm-20260102-000000", "abuse-20260102-000000"):
        (results / f"{name}.json").write_text(json.dumps({"name": name}))
    assert report.collect(results, docs) == [results / "warm-20260102-000000.json"]
    kept = docs / report.KEPT
    assert [path.name for path in kept.iterdir()] == ["warm.json"]
    assert json.loads((kept / "warm.json").read_text()) == {"name": "warm-20260102-000000"}


def test_a_chart_is_svg_whatever_the_names() -> None:
    svg = ElementTree.fromstring(bars("<a & b>", {"x<y": 2.0, "none": 0.0}, "x<y"))  # noqa: S314
    assert [bar.get("class") for bar in svg.iter("{http://www.w3.org/2000/svg}rect")] == ["o", "p"]


def test_samples_count_for_the_innermost_room() -> None:
    stacks = "\n".join(
        (
            "main (runpy);f (gateway/edge/connection.py:3);g (gateway/pool/lease.py:9);select 7",
            "main (runpy);f (gateway/edge/connection.py:5) 2",
            "main (runpy);run (asyncio/runners.py:1) 1",
        )
    )
    rooms = read_stacks(stacks)
    assert [count for _, count in rooms.most_common()] == [7, 2, 1]
    assert [name.partition(":")[0] for name, _ in rooms.most_common()] == ["pool", "edge", ELSE]
