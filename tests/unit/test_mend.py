"""The changed line: right, in the source's own words, or not there."""

from __future__ import annotations

import ast
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwatch.analysis.mend import TO_PROCESS, TO_THREAD, rewritten, sent_away
from loopwatch.analysis.origins import Origins
from loopwatch.analysis.syntax import Module

SLEEP = "await asyncio.sleep({args})"


def call_in(source: str, name: str) -> tuple[ast.Call, Module]:
    """The call of this function in a source."""
    module = Module(textwrap.dedent(source))
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]
    return calls[0], module


def inside(line: str, before: str = "") -> str:
    return f"{before}\nasync def handler(self, request):\n    {line}\n"


def moved(line: str, template: str = TO_THREAD, before: str = "", name: str = "f") -> str:
    call, module = call_in(inside(line, before), name)
    return sent_away(call, module, Origins(module), template)


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("f()", "await asyncio.to_thread(f)"),
        ("x = f(a, *b, k='v', **d)", "x = await asyncio.to_thread(f, a, *b, k='v', **d)"),
        ('x: int = f("a")', 'x: int = await asyncio.to_thread(f, "a")'),
        ("return {'x': f(a)}  # why", "return {'x': await asyncio.to_thread(f, a)}"),
        ("return f(a).rows[0]", "return (await asyncio.to_thread(f, a)).rows[0]"),
        ("x = -f(a) ** 2", "x = -await asyncio.to_thread(f, a) ** 2"),
        ("total += f(a)", "total += await asyncio.to_thread(f, a)"),
        ("x = f(g for g in a)", "x = await asyncio.to_thread(f, (g for g in a))"),
        ("if f(a): return 1", "if await asyncio.to_thread(f, a):"),
        ("while f(a):  # why\n        pass", "while await asyncio.to_thread(f, a):"),
        ("for x in g(f(a)):\n        pass", "for x in g(await asyncio.to_thread(f, a)):"),
        ("x = [f(a) for a in b]", "x = [await asyncio.to_thread(f, a) for a in b]"),
        ("x = f(\n        a,\n        b,\n    )", "x = await asyncio.to_thread(f, a, b)"),
        ('x = f("""a\n  b""")', "x = await asyncio.to_thread(f, 'a\\n  b')"),
        ('x = f("日本"), "  two  "', 'x = await asyncio.to_thread(f, "日本"), "  two  "'),
        ("x = f(await g())", "x = await asyncio.to_thread(f, await g())"),
        ("x = f(a) if b else 0", "x = await asyncio.to_thread(f, a) if b else 0"),
    ],
)
def test_a_call_goes_to_a_thread(line: str, changed: str) -> None:
    assert moved(line) == changed


@pytest.mark.parametrize(
    "line",
    [
        "await f(a)",  # is awaited already
        "x = lambda: f(a)",
        "for x in f(a):\n        pass",  # may be a generator, which runs bit by bit
        "x = [y for y in f(a)]",
        "with f(a) as x:\n        pass",  # may be what happens on entering
        "x = (f(a) for a in b)",
        "def g(): return f(a)",
        "class C:\n        x = f(a)",
        "if a: pass\n    elif f(a): pass",
        "match f(a):\n        case _: pass",
        "@f(a)\n    def g(): pass",
        "x = f(" + "a, " * 100 + ")",
    ],
)
def test_where_no_line_can_be_had_there_is_none(line: str) -> None:
    assert moved(line) == ""


def test_outside_an_async_function_nothing_is_awaited() -> None:
    for source in ("f(a)", "def g():\n    f(a)", "async def g(x=f(a)):\n    pass"):
        call, module = call_in(source, "f")
        assert sent_away(call, module, Origins(module), TO_THREAD) == ""


def test_what_has_to_stay_on_the_loop_stays() -> None:
    assert moved("asyncio.current_task()", before="import asyncio", name="asyncio.current_task") == ""
    assert moved("x = f(a)", before="async def f(a): pass") == ""


@pytest.mark.parametrize(
    ("before", "line", "changed"),
    [
        ("def f(a): pass", "x = f(a)", "x = await asyncio.get_running_loop().run_in_executor(pool, f, a)"),
        (
            "from work import f",
            "x = f(a, k=1)",
            "x = await asyncio.get_running_loop().run_in_executor(pool, functools.partial(f, a, k=1))",
        ),
        ("", "x = f(a)", ""),  # nobody knows what it is
        ("f = lambda a: a", "x = f(a)", ""),
        ("from work import f", "x = f(request)", ""),
        ("from work import f", "x = f(lambda: 1)", ""),
    ],
)
def test_another_process_has_to_know_the_function_and_be_sent_the_arguments(
    before: str, line: str, changed: str
) -> None:
    assert moved(line, TO_PROCESS, before) == changed


def test_methods_are_not_sent_to_another_process() -> None:
    assert moved("x = self.f(a)", TO_PROCESS, name="self.f") == ""
    assert moved("x = work.f(a)", TO_PROCESS, "import work", "work.f").endswith("run_in_executor(pool, work.f, a)")


def test_templates() -> None:
    call, module = call_in(inside("time.sleep(0.1)"), "time.sleep")
    assert rewritten(call, module, SLEEP) == "await asyncio.sleep(0.1)"
    call, module = call_in(inside("x = pool.submit(f, a).result()"), "pool.submit(f, a).result")
    wrap = "await asyncio.wrap_future({receiver})"
    assert rewritten(call, module, wrap) == "x = await asyncio.wrap_future(pool.submit(f, a))"
    call, module = call_in(inside("x = future.result(3)"), "future.result")
    assert rewritten(call, module, wrap) == ""  # the argument would be lost


NAMES = st.sampled_from(
    ["a", "b", "c.d", "'x y'", '"q"', "1", "[]", "{'k': 2}", "g(3)", "not a", "a if b else c", "*a"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(NAMES, max_size=4), st.sampled_from(["x = {}", "return {}[0]", "if {}: pass", "x = 2 ** {}", "y({}, {})"])
)
def test_a_changed_line_means_what_it_is_meant_to(arguments: list[str], around: str) -> None:
    call = f"f({', '.join(arguments)})"
    line = moved(around.replace("{}", call, 1).replace("{}", "0"))
    assert line
    tree = ast.parse(f"async def _():\n    {line}" + (" pass" if line.endswith(":") else ""))
    (thread,) = (node for node in ast.walk(tree) if isinstance(node, ast.Await))
    assert isinstance(thread.value, ast.Call)
    assert [ast.unparse(each) for each in thread.value.args] == [
        "f",
        *(ast.unparse(each) for each in ast.parse(call, mode="eval").body.args),  # type: ignore[attr-defined]
    ]
