"""Where the names of a file come from: ``_WORDS.match`` is ``re.compile.match`` after ``_WORDS = re.compile(…)``.

An origin is what one would type to get there from an import: calls and awaits on the way are left out. It is read
from the one file, and empty where that does not tell.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from typing import TypeAlias

from loopwatch.analysis.syntax import Module, Scope

_DEEPEST = 12  # steps from name to name: they may go round
_BUILTINS = frozenset(dir(builtins))

# What a name is bound to: an origin, an expression that has one, something defined here, or anything else.
_Bound: TypeAlias = str | ast.AST | None


class Origins:
    """The origins of a file's expressions."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._names: dict[tuple[Scope, str], list[_Bound]] = {}
        for node in ast.walk(module.tree):
            for target, value in _bindings(node):
                self._bind(node, target, value)

    def of(self, node: ast.AST, steps: int = 0) -> str:
        """Where the value of an expression comes from; empty if that is not known."""
        if steps > _DEEPEST:
            return ""
        steps += 1
        match node:
            case ast.Name():
                return self._agreed(self._bound(node, node.id), steps)
            case ast.Attribute(value=ast.Name(id="self"), attr=attr):
                if bound := self._attribute(node, attr):
                    return self._agreed(bound, steps)
            case (
                ast.Call(func=inner) | ast.Await(value=inner) | ast.Subscript(value=inner) | ast.NamedExpr(value=inner)
            ):
                return self.of(inner, steps)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):  # X | None
                return self._agreed([left, right], steps)
        if isinstance(node, ast.Attribute):
            owner = self.of(node.value, steps)
            return f"{owner}.{node.attr}" if owner else ""
        return ""

    def importable(self, node: ast.AST) -> bool:
        """Whether this names a plain function or class of a module, so that another process can import it."""
        match node:
            case ast.Name():
                bound = self._bound(node, node.id)
                top_level = (self._module.tree, node.id) in self._names
                return bool(bound) and top_level and all(isinstance(each, str | ast.FunctionDef) for each in bound)
            case ast.Attribute(value=ast.Name() as owner):
                bound = self._bound(owner, owner.id)
                return bool(bound) and all(isinstance(each, str) for each in bound)
        return False

    def is_coroutine(self, node: ast.AST) -> bool:
        """Whether this names an `async def` of the file."""
        match node:
            case ast.Name():
                bound = self._bound(node, node.id)
            case ast.Attribute(value=ast.Name(id="self"), attr=attr):
                bound = self._attribute(node, attr)
            case _:
                return False
        return any(isinstance(each, ast.AsyncFunctionDef) for each in bound)

    def _bind(self, node: ast.AST, target: str | ast.expr, value: _Bound) -> None:
        scopes = [scope for scope in self._module.scopes(node) if not isinstance(scope, ast.Lambda)]
        if isinstance(node, ast.arg):  # belongs to the function whose argument it is
            function = self._module.parent(self._module.parent(node) or node)
            scopes = [function] if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) else []
        match target:
            case str(name) | ast.Name(id=name) if scopes:
                self._names.setdefault((scopes[0], name), []).append(value)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                owner = next((scope for scope in scopes if isinstance(scope, ast.ClassDef)), None)
                if owner is not None:
                    self._names.setdefault((owner, name), []).append(value)
            case ast.Tuple(elts=inner) | ast.List(elts=inner):
                for each in inner:
                    self._bind(node, each, None)

    def _bound(self, node: ast.AST, name: str) -> list[_Bound]:
        scopes = list(self._module.scopes(node))
        for at, scope in enumerate(scopes):
            if isinstance(scope, ast.ClassDef) and at > 0:  # its names are not seen from within its methods
                continue
            if bound := self._names.get((scope, name)):
                return bound
        return [f"builtins.{name}"] if name in _BUILTINS else []

    def _attribute(self, node: ast.AST, name: str) -> list[_Bound]:
        for scope in self._module.scopes(node):
            if isinstance(scope, ast.ClassDef):
                return self._names.get((scope, name), [])
        return []

    def _agreed(self, bound: list[_Bound], steps: int) -> str:
        found = {each if isinstance(each, str) else self.of(each, steps) for each in bound if each is not None}
        found.discard("")
        return found.pop() if len(found) == 1 else ""


def _bindings(node: ast.AST) -> Iterator[tuple[str | ast.expr, _Bound]]:
    """What a node binds: targets with what they are bound to."""
    match node:
        case ast.Import(names=names):
            for each in names:
                yield (each.asname, each.name) if each.asname else ((top := each.name.partition(".")[0]), top)
        case ast.ImportFrom(module=module, names=names, level=level):
            for each in names:
                yield each.asname or each.name, f"{'.' * level}{module or ''}.{each.name}"
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield target, value
        case ast.AnnAssign(target=target, value=value, annotation=annotation):
            yield target, annotation if value is None or isinstance(value, ast.Constant) else value
        case ast.NamedExpr(target=target, value=value):
            yield target, value
        case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
            yield target, value
        case ast.For(target=target) | ast.AsyncFor(target=target) | ast.comprehension(target=target):
            yield target, None
        case ast.arg(arg=name, annotation=annotation):
            yield name, annotation
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, node
        case ast.ExceptHandler(name=str(name)):
            yield name, None
