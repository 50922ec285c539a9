"""The changed line: a statement of the source with one of its calls written anew.

Whatever is written here has been parsed again and means what it is meant to. Where that cannot be had, there is no
line: better none than one that is wrong.
"""

from __future__ import annotations

import ast
import copy

from loopwatch.analysis.origins import Origins
from loopwatch.analysis.source import join
from loopwatch.analysis.syntax import Module

TO_THREAD = "await asyncio.to_thread({callee})"
TO_PROCESS = "await asyncio.get_running_loop().run_in_executor(pool, {callee})"
_TO_PROCESS_NAMED = "await asyncio.get_running_loop().run_in_executor(pool, functools.partial({callee}))"

_LONGEST = 240  # characters; nobody reads a longer line
# Arguments of these names are hardly ever what another process can be sent.
_NOT_SENT = frozenset({"self", "cls", "request", "websocket", "session", "connection", "conn", "db", "app", "cursor"})


def sent_away(call: ast.Call, module: Module, origins: Origins, template: str) -> str:
    """The statement with the call in a thread or in another process; empty where that would not be sound."""
    if origins.is_coroutine(call.func) or origins.of(call.func).startswith(("asyncio.", "builtins.super")):
        return ""
    if template == TO_PROCESS:
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        if not origins.importable(call.func) or not all(map(_can_be_sent, values)):
            return ""
        if call.keywords:
            template = _TO_PROCESS_NAMED
    return rewritten(call, module, template)


def rewritten(call: ast.Call, module: Module, template: str) -> str:
    """The statement with the call replaced by a template of `{callee}` (function and arguments), `{args}` and
    `{receiver}` (what its method is called on). Empty where an `await` cannot stand, and where it does not fit."""
    statement = module.statement(call)
    if statement is None or not _may_await(call, module) or _is_elif(statement, module):
        return ""
    if ("{callee}" not in template and "{args}" not in template) and (call.args or call.keywords):
        return ""
    if "{receiver}" in template and not isinstance(call.func, ast.Attribute):
        return ""
    wanted = _transformed(statement, call, template)
    if wanted is None:
        return ""
    meant = ast.dump(wanted)
    for pattern in ("{}", "({})"):
        line = _in_place(statement, call, module.text, pattern, template)
        if line and _dumped(line) == meant:
            return line if len(line) <= _LONGEST else ""
    line = _one_line(_printed(wanted))
    return line if len(line) <= _LONGEST and _dumped(line) == meant else ""


def _may_await(call: ast.Call, module: Module) -> bool:
    """Whether the call is evaluated in an `async def`, and is all that happens at its place: neither is it awaited
    already, nor is what it returns looped over or entered there, which may be what takes the time."""
    child: ast.AST = call
    node = module.parent(call)
    match node:
        case ast.Await() | ast.YieldFrom() | ast.withitem():
            return False
        case ast.For(iter=it) | ast.AsyncFor(iter=it) | ast.comprehension(iter=it) if it is call:
            return False
    while node is not None:
        if isinstance(node, ast.Lambda | ast.GeneratorExp):
            return False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and child in node.body:
            return isinstance(node, ast.AsyncFunctionDef)
        child, node = node, module.parent(node)
    return False


def _is_elif(statement: ast.stmt, module: Module) -> bool:
    """Whether this is the rest of another `if`, which cannot stand as a line of its own."""
    parent = module.parent(statement)
    return (
        isinstance(statement, ast.If)
        and isinstance(parent, ast.If)
        and parent.orelse == [statement]
        and statement.col_offset == parent.col_offset
    )


def _can_be_sent(value: ast.expr) -> bool:
    return not any(
        isinstance(node, ast.Lambda | ast.GeneratorExp) or (isinstance(node, ast.Name) and node.id in _NOT_SENT)
        for node in ast.walk(value)
    )


def _transformed(statement: ast.stmt, call: ast.Call, template: str) -> ast.stmt | None:
    """The statement's head with the call replaced."""
    head = copy.copy(statement)
    for block in ("orelse", "finalbody", "handlers"):
        if hasattr(head, block):
            setattr(head, block, [])
    if hasattr(head, "body"):
        head.body = [ast.Pass()]
    if hasattr(head, "cases") or isinstance(head, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return None
    marker = ast.Name("\0", ast.Load())
    memo = {id(call): marker}  # where the copy would have the call, it has the marker
    head = copy.deepcopy(head, memo)
    fields = {
        "callee": ", ".join([ast.unparse(call.func), *_arguments(call)]),
        "args": ", ".join(_arguments(call)),
        "receiver": ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else "",
    }
    try:
        made = ast.parse(f"({template.format_map(fields)})", mode="eval").body
    except SyntaxError:
        return None
    for node in ast.walk(head):
        for name, value in ast.iter_fields(node):
            if value is marker:
                setattr(node, name, made)
                return head
            if isinstance(value, list) and marker in value:
                value[value.index(marker)] = made
                return head
    return None


def _arguments(call: ast.Call) -> list[str]:
    named = (f"{each.arg}=" if each.arg else "**" for each in call.keywords)
    values = (ast.unparse(each.value) for each in call.keywords)
    return [*map(ast.unparse, call.args), *map(str.__add__, named, values)]


def _in_place(statement: ast.stmt, call: ast.Call, text: str, pattern: str, template: str) -> str:
    """The same in the source's own words: its quotes, its brackets. It may not fit, and is checked."""
    lines = [line.encode("utf-8", "surrogatepass") for line in text.split("\n")]

    def cut(begin: tuple[int, int], end: tuple[int, int]) -> str:
        (first, column), (last, end_column) = begin, end
        piece = [lines[first - 1][column:]] if first < last else [lines[first - 1][column:end_column]]
        if first < last:
            piece += [*lines[first : last - 1], lines[last - 1][:end_column]]
        return b"\n".join(piece).decode("utf-8", "surrogatepass")

    body = getattr(statement, "body", None)
    stop = _begin(body[0]) if body else _end(statement)
    function = cut(_begin(call.func), _end(call.func))
    arguments = cut(_end(call.func), _end(call)).strip()[1:-1].strip().rstrip(",")
    receiver = cut(_begin(call.func.value), _end(call.func.value)) if isinstance(call.func, ast.Attribute) else ""
    fields = {"callee": f"{function}, {arguments}" if arguments else function, "args": arguments, "receiver": receiver}
    made = pattern.format(template.format_map(fields))
    return _one_line(cut(_begin(statement), _begin(call)) + made + cut(_end(call), stop))


def _begin(node: ast.stmt | ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.stmt | ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or 0


def _one_line(text: str) -> str:
    lines = text.strip().split("\n")
    return join(lines) if len(lines) > 1 else lines[0]


def _printed(statement: ast.stmt) -> str:
    text = ast.unparse(ast.fix_missing_locations(statement))
    return text.removesuffix("pass").rstrip() if hasattr(statement, "body") else text


def _dumped(line: str) -> str:
    """What a line means, inside an `async def`; empty if nothing."""
    rest = " pass" if line.endswith(":") else ""
    try:
        function = ast.parse(f"async def _():\n {line}{rest}\n").body[0]
    except (SyntaxError, ValueError):
        return ""
    body = function.body if isinstance(function, ast.AsyncFunctionDef) else []
    return ast.dump(body[0]) if len(body) == 1 else ""
