"""
A bar chart as SVG, legible on light and on dark ground.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

import attrs

# Of middle brightness, so that they stand out from white and from black.
_TEXT, _PLAIN, _MARKED = "#747d88", "#8c959f", "#2f81f7"
_FONT = "system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"
_WIDTH, _LABELS, _VALUES = 720, 200, 56
_TOP, _STEP, _BAR = 34, 26, 16


@attrs.frozen
class Bar:
    """
    @ivar marked: whether it is the one to look at.
    """

    label: str
    value: float
    marked: bool = False


def chart(title: str, bars: list[Bar]) -> str:
    """
    Horizontal bars from zero, each with its label and its value.
    """
    longest = max(bar.value for bar in bars)
    height = _TOP + _STEP * len(bars) + 6
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img" font-family="{_FONT}"'
        f' font-size="13" fill="{_TEXT}">',
        f"<title>{escape(title)}</title>",
        f'<text x="{_LABELS}" y="18" font-weight="600">{escape(title)}</text>',
        *(_drawn(bar, n, longest) for n, bar in enumerate(bars)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _drawn(bar: Bar, n: int, longest: float) -> str:
    """
    The C{n}th bar, in scale with the longest.
    """
    y = _TOP + _STEP * n
    width = bar.value / longest * (_WIDTH - _LABELS - _VALUES)
    baseline, colour = y + 13, _MARKED if bar.marked else _PLAIN
    weight = ' font-weight="600"' if bar.marked else ""
    return (
        f'<text x="{_LABELS - 8}" y="{baseline}" text-anchor="end"{weight}>'
        f"{escape(bar.label)}</text>"
        f'<rect x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"'
        f' fill="{colour}"/>'
        f'<text x="{_LABELS + width + 7:.1f}" y="{baseline}"{weight}>'
        f"{bar.value:,.0f}</text>"
    )
