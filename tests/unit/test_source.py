"""Source lines and expressions, whatever the file is like."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loopwatch.analysis.source import Source, join, shorten
from loopwatch.stack import Frame


def place(file: Path, text: str, expression: str, encoding: str = "utf-8") -> Frame:
    """A frame whose columns are those of an expression in a text, which is written to the file."""
    if not file.exists():
        file.write_bytes(text.encode(encoding))
    begin = text.index(expression)
    end = begin + len(expression)

    def position(at: int) -> tuple[int, int]:
        start = text.rfind("\n", 0, at) + 1
        return text.count("\n", 0, at) + 1, len(text[start:at].encode())

    (line, column), (end_line, end_column) = position(begin), position(end)
    return Frame(str(file), "f", line, end_line, column, end_column)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("def f():\n    x = time.sleep(1)\n", "time.sleep(1)"),
        ('def f():\n    x = g("日本語", "é"); time.sleep(1)\n', "time.sleep(1)"),
        ("def f():\n\t\tx = 'é';\ttime.sleep('日')\n", "time.sleep('日')"),
        ("x = time.sleep(1)", "time.sleep(1)"),
    ],
)
def test_expression_and_its_place_in_the_line(tmp_path: Path, text: str, expression: str) -> None:
    frame = place(tmp_path / "a.py", text, expression)
    source = Source()
    assert source.expression(frame) == expression
    excerpt = source.excerpt(frame)
    assert excerpt is not None
    assert excerpt.lines[excerpt.numbers.index(excerpt.at)][excerpt.begin : excerpt.end] == expression


def test_an_expression_of_several_lines_is_joined(tmp_path: Path) -> None:
    text = "x = client.get(\n    url,\n    timeout=(\n        1,\n        2,\n    ),\n)\n"
    frame = place(tmp_path / "a.py", text, text[4:].rstrip())
    assert Source().expression(frame) == "client.get(url, timeout=(1, 2))"
    excerpt = Source().excerpt(frame)
    assert excerpt is not None
    assert (excerpt.numbers, excerpt.begin, excerpt.end) == ((1, 2), 4, len("x = client.get("))


def test_the_whole_line_where_columns_are_not_known(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("    x = f(1)  \n")
    source = Source()
    assert source.expression(Frame(str(file), "f", 1)) == "x = f(1)"
    assert source.expression(Frame(str(file), "f", 1, 1, 90, 99)) == "x = f(1)"
    excerpt = source.excerpt(Frame(str(file), "f", 1, 1, None, None))
    assert excerpt is not None
    assert excerpt.begin == excerpt.end


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-8"])
def test_the_files_own_encoding(tmp_path: Path, encoding: str) -> None:
    text = f"# -*- coding: {encoding} -*-\nx = 'é'; sleep(1)\n"
    frame = place(tmp_path / "a.py", text, "sleep(1)", encoding)
    assert Source().expression(frame) == "sleep(1)"


def test_context_lines_but_no_empty_ones(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("a\nb\n\nc\n")
    excerpt = Source().excerpt(Frame(str(file), "f", 2))
    assert excerpt is not None
    assert (excerpt.numbers, excerpt.lines) == ((1, 2), ("a", "b"))


def test_other_line_ends_do_not_count_as_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(b"a\x0c\r\nb\xe2\x80\xa8still b\r\nc\r\n")
    assert [Source().line(Frame(str(file), "f", line)) for line in (1, 2, 3)] == ["a\x0c", "b\u2028still b", "c"]


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    binary = tmp_path / "b.py"
    binary.write_bytes(b"\xff\xfe\x00\x01" * 100)
    fifo = tmp_path / "fifo.py"
    os.mkfifo(fifo)
    huge = tmp_path / "huge.py"
    with huge.open("wb") as stream:
        stream.truncate(9 << 20)
    source = Source()
    for file in [str(binary), str(fifo), str(huge), str(tmp_path), str(tmp_path / "none.py"), "", "<string>", "a\0b"]:
        frame = Frame(file, "f", 1, 1, 0, 5)
        assert (source.line(frame), source.expression(frame), source.excerpt(frame)) == ("", "", None)
    short = tmp_path / "short.py"
    short.write_text("x\n")
    for line in (0, -1, 2, 10**9):
        assert Source().excerpt(Frame(str(short), "f", line, line, 0, 1)) is None


def test_nothing_is_read_when_source_is_not_wanted(tmp_path: Path) -> None:
    frame = place(tmp_path / "a.py", "time.sleep(1)\n", "time.sleep(1)")
    source = Source(enabled=False)
    assert (source.expression(frame), source.excerpt(frame)) == ("", None)
    assert not source.changed_since(frame.file, 1)


def test_a_file_that_was_changed_since(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x\n")
    os.utime(file, (1000, 1000))
    source = Source()
    assert source.changed_since(str(file), 999)
    assert not source.changed_since(str(file), 1001)
    assert not source.changed_since(str(file), 0)  # it is not known when the process started
    assert not source.changed_since(str(tmp_path / "none.py"), 999)


def test_sources_that_have_moved_since(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/main.py").write_text("here\n")
    source = Source(recorded="/no/such/project", here=tmp_path)
    assert source.line(Frame("/no/such/project/app/main.py", "f", 1)) == "here"
    assert source.line(Frame("/no/such/project/../app/main.py", "f", 1)) == ""
    assert source.line(Frame("/another/app/main.py", "f", 1)) == ""
    assert Source(recorded="/no/such/project").line(Frame("/no/such/project/app/main.py", "f", 1)) == ""


def test_join_and_shorten() -> None:
    assert join(["f(", "    a,", "    b,", ")"]) == "f(a, b)"
    assert join(["x", ".y()", ".z()"]) == "x .y() .z()"
    assert shorten("a\tb") == "a b"
    assert shorten("x" * 300) == "x" * 199 + "…"
