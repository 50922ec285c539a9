"""A few source lines with the blocking call underlined, in the width of a terminal.

A character may be none, one or two columns wide, a tab up to four: so columns are counted in cells.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from loopwatch.analysis.source import Excerpt
from loopwatch.report.words import plain

_TAB = 4
_KEPT_INDENT = 4  # deeper code is moved to the left
_LEAST_WIDTH = 24
_CONTEXT_LEFT = 8  # cells kept before an expression that lies far to the right


def snippet(excerpt: Excerpt, width: int, indent: str = "    ") -> Iterator[Text]:
    """The lines of an excerpt, each at most `width` cells: a marked one, its underline, and those around it."""
    digits = len(str(excerpt.numbers[-1]))
    room = max(_LEAST_WIDTH, width - len(indent) - digits - 5)
    shift = _common_indent(excerpt.lines)
    for number, line in zip(excerpt.numbers, excerpt.lines, strict=True):
        here = number == excerpt.at
        head = f"{indent}{'▶' if here else ' '} {number:>{digits}} │ "
        if not here:
            yield Text(head + fit(_expand(line)[shift:], room), style="dim")
            continue
        text = _expand(line)
        begin, end = (max(shift, len(_expand(line[:at]))) - shift for at in (excerpt.begin, excerpt.end))
        text, begin, end = _window(text[shift:], begin, end, room)
        shown = Text(fit(text, room))
        shown.stylize("bold", begin, end)
        yield Text.assemble((head, "bold red"), shown)
        carets = cell_len(text[begin:end])
        before = cell_len(text[:begin])
        if carets and before < room:
            gap = " " * (len(indent) + digits + 3)
            yield Text.assemble((f"{gap}│ ", "dim"), " " * before, ("^" * min(carets, room - before), "bold red"))


def fit(text: str, width: int) -> str:
    """The text in at most so many cells, with an ellipsis if it had more."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


def _window(text: str, begin: int, end: int, room: int) -> tuple[str, int, int]:
    """If the expression begins in the right half and would end beyond the room, leave out what stands before it, as
    little as possible."""
    if cell_len(text[:end]) <= room or cell_len(text[:begin]) <= room // 2:
        return text, begin, end
    cut = 0
    while cut < begin and cell_len(text[cut:end]) >= room - 1 and cell_len(text[cut:begin]) > _CONTEXT_LEFT:
        cut += 1
    return "…" + text[cut:], begin - cut + 1, end - cut + 1


def _expand(line: str) -> str:
    """Tabs as spaces up to the next stop, and nothing that steers a terminal."""
    out: list[str] = []
    column = 0
    for char in line:
        piece = " " * (_TAB - column % _TAB) if char == "\t" else plain(char)
        column += cell_len(piece)
        out.append(piece)
    return "".join(out)


def _common_indent(lines: tuple[str, ...]) -> int:
    expanded = [_expand(line) for line in lines if line.strip()]
    least = min((len(line) - len(line.lstrip()) for line in expanded), default=0)
    return max(0, least - _KEPT_INDENT)
