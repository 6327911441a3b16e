"""Bars, drawn as SVG that is small and readable on light and dark paper."""

from __future__ import annotations

from html import escape

WIDTH, NAME, VALUE, ROW, TOP = 680, 190, 90, 26, 34
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.h{font-weight:600}"
    ".o{fill:#1f6feb}.p{fill:#8c959f}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.o{fill:#58a6ff}.p{fill:#6e7681}}"
)


def bars(title: str, values: dict[str, float], ours: str) -> str:
    """One bar each, as long as its value; ``ours`` stands out."""
    longest = max(values.values(), default=0) or 1
    room = WIDTH - NAME - VALUE
    height = TOP + ROW * len(values) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="h" x="4" y="20">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(values.items()):
        y = TOP + ROW * number
        length = max(1, round(room * max(value, 0) / longest))
        kind = "o" if name == ours else "p"
        parts.append(
            f'<text x="{NAME - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{NAME}" y="{y + 2}" width="{length}" height="18" rx="2"/>'
            f'<text x="{NAME + length + 6}" y="{y + 15}">{number_text(value)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def number_text(value: float) -> str:
    """Three digits that matter, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"
