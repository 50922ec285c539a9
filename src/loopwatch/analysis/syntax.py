"""A source file as a tree: which expression runs at a frame, in which function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeAlias

from loopwatch.analysis.source import Source
from loopwatch.stack import Frame

Scope: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef | ast.Module
_Span: TypeAlias = tuple[int, int, int, int]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Module:
    """A parsed file. Positions are those of frames: lines from 1, columns in bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self._parents: dict[ast.AST, ast.AST] = {}
        self._spans: dict[_Span, ast.expr] = {}
        self._functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []  # outer ones first
        for node in ast.walk(self.tree):  # outer nodes come first
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._functions.append(node)
            if isinstance(node, ast.expr):
                for span in _spans(node):
                    if not isinstance(self._spans.get(span), ast.Call):
                        self._spans[span] = node
            if isinstance(node, ast.With | ast.AsyncWith) and len(node.items) == 1:
                # Up to 3.12, entering and leaving stand at the whole statement.
                self._spans[node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0] = node.items[
                    0
                ].context_expr

    def expression(self, frame: Frame) -> ast.expr | None:
        """The expression with exactly the place of the frame; None if there is none."""
        if frame.column is None or frame.end_column is None:
            return None
        return self._spans.get((frame.line, frame.column, max(frame.line, frame.end_line), frame.end_column))

    def in_coroutine(self, line: int) -> bool:
        """Whether the innermost function at a line is an `async def`."""
        around = [node for node in self._functions if node.lineno <= line <= (node.end_lineno or 0)]
        return bool(around) and isinstance(around[-1], ast.AsyncFunctionDef)

    def parent(self, node: ast.AST) -> ast.AST | None:
        """What a node is part of."""
        return self._parents.get(node)

    def scopes(self, node: ast.AST) -> Iterator[Scope]:
        """The functions, classes and at last the module in which a node is evaluated, from the inside out."""
        child, parent = node, self.parent(node)
        while parent is not None:
            # Decorators, defaults and annotations are evaluated where the function is defined.
            if isinstance(parent, ast.Lambda | ast.Module) or (isinstance(parent, _FUNCTIONS) and child in parent.body):
                yield parent
            child, parent = parent, self.parent(parent)

    def statement(self, node: ast.AST) -> ast.stmt | None:
        """The innermost statement that a node is part of."""
        found: ast.AST | None = node
        while found is not None and not isinstance(found, ast.stmt):
            found = self.parent(found)
        return found


class Modules:
    """Parses the files that are asked for, each once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._modules: dict[str, Module | None] = {}

    def of(self, file: str, since: float = 0.0) -> Module | None:
        """The file's tree; None if it is not there, was changed since (Unix seconds), or is none that this Python
        understands."""
        if self._source.changed_since(file, since):
            return None
        if file not in self._modules:
            self._modules[file] = _parsed(self._source.text(file))
        return self._modules[file]


def _parsed(text: str) -> Module | None:
    try:
        return Module(text) if text else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _spans(node: ast.expr) -> Iterator[_Span]:
    end = node.end_lineno or node.lineno, node.end_col_offset or 0
    yield node.lineno, node.col_offset, *end
    # A method call over several lines begins, for the compiler, at the method's name.
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.end_lineno != node.lineno:
        name = node.func
        yield name.end_lineno or 0, (name.end_col_offset or 0) - len(name.attr), *end
