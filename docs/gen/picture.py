"""Draws what a terminal shows as an SVG: text in a dark window that stands well on a light and a
dark page.

Used by pages.py for docs/zonedctl.svg. Knows nothing of zoned; takes lines, gives back text.
"""

from __future__ import annotations

from html import escape

CELL_WIDTH = 8.4  # of a 14 px monospaced letter; each run is stretched to it, whatever the font
LINE_HEIGHT = 20
MARGIN = 18
BAR = 36  # the window's title bar
FONT = "ui-monospace, 'SF Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace"
COLOURS = {
    "prompt": "#7ee787",
    "command": "#f0f6fc",
    "output": "#b6c2cf",
    "error": "#ffa198",
}


def text_run(column: int, row: int, text: str, style: str) -> str:
    """One run of letters in one colour, set to the width of its cells."""
    x = MARGIN + column * CELL_WIDTH
    y = BAR + MARGIN + row * LINE_HEIGHT
    length = len(text) * CELL_WIDTH
    weight = ' font-weight="600"' if style == "command" else ""
    return (
        f'<text x="{x:.1f}" y="{y}" fill="{COLOURS[style]}"{weight} textLength="{length:.1f}" '
        f'lengthAdjust="spacingAndGlyphs" xml:space="preserve">{escape(text, quote=False)}</text>'
    )


def terminal(title: str, lines: list[tuple[str, str]], description: str) -> str:
    """An SVG of a terminal window. Each line is (style, text): "command", "output" or "error"."""
    columns = max(len(text) + (2 if style == "command" else 0) for style, text in lines)
    width = round(2 * MARGIN + columns * CELL_WIDTH)
    height = BAR + 2 * MARGIN + (len(lines) - 1) * LINE_HEIGHT
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" '
            f'aria-label="{escape(description)}" font-family="{FONT}" font-size="14">'
        ),
        (
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10" '
            'fill="#0d1117" stroke="#6e7681" stroke-opacity="0.5"/>'
        ),
    ]
    for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        parts.append(f'<circle cx="{22 + 20 * number}" cy="19" r="6" fill="{colour}"/>')
    parts.append(
        f'<text x="{width / 2:.1f}" y="24" fill="#8b949e" font-size="13" text-anchor="middle">'
        f"{escape(title)}</text>"
    )
    for row, (style, text) in enumerate(lines):
        if style == "command":
            parts.append(text_run(0, row, "$", "prompt"))
            parts.append(text_run(2, row, text, "command"))
        elif text:
            indent = len(text) - len(text.lstrip())
            parts.append(text_run(indent, row, text.lstrip(), style))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
