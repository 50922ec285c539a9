"""A stall has exactly one site, and the sites add up."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwatch.analysis.causes import GilHolder
from loopwatch.analysis.shape import Shape, shape_of
from loopwatch.analysis.sites import Site, SiteTable, percentile
from loopwatch.model import Activity, Cause, Holder, Stall
from loopwatch.stack import Frame, Kind, Stack

THRESHOLD = 0.010


def frame(name: str, line: int = 1, kind: Kind = "app") -> Frame:
    folders = {"app": "/srv/app", "library": "/site", "stdlib": "/lib", "loop": "/lib/asyncio", "loopwatch": "/site/lw"}
    return Frame(f"{folders[kind]}/{name}.py", name, line, line, kind=kind)


def stack(*frames: Frame) -> Stack:
    built: Stack | None = None
    for each in frames:
        built = Stack(each, built)
    assert built is not None
    return built


RUN = frame("Handle._run", 88, "loop")
MAIN = Frame("/srv/app/main.py", "<module>", 3)


def stall(*stacks: tuple[Stack, int], duration: float = 0.05, callbacks: int = 1, allowed: bool = False) -> Stall:
    return Stall(0, duration, callbacks, sum(count for _, count in stacks), stacks, allowed=allowed)


def sites(*stalls: Stall) -> list[Site]:
    table = SiteTable()
    for each in stalls:
        table.add(each, threshold=THRESHOLD, since=0)
    return table.finish()[0]


def test_the_site_is_the_innermost_own_frame_and_the_call_below_it() -> None:
    call = frame("predict", 530, "library")
    (site,) = sites(stall((stack(MAIN, RUN, frame("app"), frame("handler", 42), frame("wrap", 1, "library"), call), 9)))
    assert (site.basis, site.frame, site.blocking) == ("own", frame("handler", 42), call)


def test_what_lies_outside_the_loop_is_nobodys_fault() -> None:
    library = frame("data_received", 7, "library")
    (site,) = sites(stall((stack(MAIN, frame("main"), RUN, library, frame("json", 1, "stdlib")), 9)))
    assert (site.basis, site.frame) == ("library", library)


def test_many_small_calls_outweigh_one_that_is_longer_than_each_of_them() -> None:
    """Thirty samples of one call from line 10, on three lines of two functions; twenty-five of a sort from line 11."""
    top, sort = (RUN, frame("handler", 10)), stack(RUN, frame("handler", 11), frame("sort", 1))
    walk, step, rest = (stack(*top, frame("walk", 5), frame("step", line)) for line in (1, 2, 3))
    short = stack(*top, frame("walk", 5))
    (site,) = sites(stall((sort, 25), (walk, 12), (step, 8), (rest, 6), (short, 4)))
    assert site.frame == frame("step", 1)


def test_half_of_the_samples_are_enough_wherever_they_were_called_from() -> None:
    lock = frame("lock", 3)
    one, two, other = (stack(RUN, frame("handler", line), lock) for line in (10, 11, 12))
    (site,) = sites(stall((stack(RUN, frame("handler", 10), frame("parse", 1)), 40), (one, 15), (two, 14), (other, 11)))
    assert site.frame == lock


def test_samples_that_end_on_the_way_are_followed_like_others() -> None:
    """What is told of the outer frames only has its place there."""
    outer, inner = stack(RUN, frame("handler", 10)), stack(RUN, frame("handler", 10), frame("walk", 5))
    other, third = stack(RUN, frame("handler", 12)), stack(RUN, frame("handler", 13), frame("last", 1))
    (site,) = sites(stall((outer, 5), (other, 4), (inner, 3), (third, 2)))
    assert site.frame == frame("handler", 10)


def test_without_own_code_the_outermost_library_frame_counts() -> None:
    outer, inner = frame("outer", 1, "library"), frame("inner", 2, "library")
    (site,) = sites(stall((stack(RUN, frame("contextlib", 1, "stdlib"), outer, inner), 9)))
    assert (site.basis, site.frame, site.blocking) == ("library", outer, inner)
    (site,) = sites(stall((stack(RUN, frame("threading", 1, "stdlib"), frame("queue", 1, "stdlib")), 9)))
    assert (site.basis, site.frame) == ("library", frame("threading", 1, "stdlib"))


def test_a_frame_of_loopwatch_is_no_place() -> None:
    """Its middleware stands outside of everything, its naming of routes inside."""
    outside, inside = frame("asgi", 66, "loopwatch"), frame("mounts", 9, "loopwatch")
    library, importer = frame("anyio", 1, "library"), frame("importlib", 2, "stdlib")
    (site,) = sites(stall((stack(RUN, outside, importer, library), 9)))
    assert (site.basis, site.frame) == ("library", library)
    (site,) = sites(stall((stack(RUN, outside, importer), 9)))
    assert (site.basis, site.frame) == ("library", importer)
    (site,) = sites(stall((stack(RUN, outside, library, inside), 9)))
    assert (site.basis, site.frame, site.blocking) == ("library", library, inside)
    (site,) = sites(stall((stack(MAIN, RUN, outside, inside), 9)))
    assert (site.basis, site.frame, site.blocking) == ("loop", RUN, inside)
    (site,) = sites(stall((stack(RUN, outside, frame("handler", 42), inside), 9)))
    assert (site.basis, site.frame) == ("own", frame("handler", 42))


def test_the_loop_itself_is_a_site_of_its_own() -> None:
    (site,) = sites(stall((stack(MAIN, RUN), 9)))
    assert (site.basis, site.frame) == ("loop", RUN)


def test_the_main_module_is_no_part_of_a_callback_of_a_loop_in_c() -> None:
    library = frame("run_app", 7, "library")
    (site,) = sites(stall((stack(MAIN, library), 9)))
    assert (site.basis, site.frame) == ("library", library)
    runpy = Frame("<frozen runpy>", "_run_code", 88, kind="stdlib")
    (site,) = sites(stall((stack(runpy, MAIN, library), 9)))
    assert (site.basis, site.frame) == ("library", library)
    importer = Frame("<frozen importlib._bootstrap>", "_load", 1, kind="stdlib")
    (site,) = sites(stall((stack(MAIN, RUN, frame("handler"), importer, Frame("/srv/app/late.py", "<module>", 9)), 9)))
    assert site.frame == Frame("/srv/app/late.py", "<module>", 9)


def test_a_stall_without_samples_has_a_site_too() -> None:
    unsampled, unknown = stall(), Stall(0, 0.02, 1, samples=7)
    assert {site.basis: site.count for site in sites(unsampled, unsampled, unknown)} == {"unsampled": 2, "unknown": 1}


def test_most_samples_decide_and_ties_are_always_decided_alike() -> None:
    a, b = stack(RUN, frame("a")), stack(RUN, frame("b"))
    a2 = stack(RUN, frame("a"), frame("x", 1, "library"))
    (site,) = sites(stall((b, 5), (a, 3), (a2, 3)))
    assert site.frame == frame("a")
    for order in [(a, b), (b, a)]:
        (site,) = sites(stall(*((each, 5) for each in order)))
        assert site.frame == frame("a")


def test_allowed_stalls_keep_to_themselves() -> None:
    here = stack(RUN, frame("handler"))
    found = sites(stall((here, 5)), stall((here, 5), allowed=True, duration=0.2))
    assert [(site.allowed, site.count) for site in found] == [(True, 1), (False, 1)]


def test_the_lines_of_one_python_loop_are_one_site() -> None:
    ten, eleven = stack(RUN, frame("crunch", 10)), stack(RUN, frame("crunch", 11))
    found = sites(
        stall((ten, 6), (eleven, 5)), stall((eleven, 6), (ten, 4), duration=0.03), stall((ten, 9), (eleven, 1))
    )
    assert [(site.frame, site.count) for site in found] == [(frame("crunch", 10), 3)]


def test_two_blocking_lines_of_one_function_stay_two_sites() -> None:
    ten, twenty = stack(RUN, frame("handler", 10)), stack(RUN, frame("handler", 20))
    found = sites(stall((ten, 6)), stall((twenty, 60), (ten, 1), duration=0.3))
    assert [(site.frame, site.count) for site in found] == [(frame("handler", 20), 1), (frame("handler", 10), 1)]


def test_numbers_lead_to_the_merged_site() -> None:
    table = SiteTable()
    ten, eleven = stack(RUN, frame("crunch", 10)), stack(RUN, frame("crunch", 11))
    other = stack(RUN, frame("other", 1))
    stalls = [stall((ten, 6), (eleven, 5)), stall((eleven, 6), (ten, 4), duration=0.03), stall((other, 1), duration=1)]
    numbers = [table.add(each, threshold=THRESHOLD, since=0) for each in stalls]
    found, places = table.finish()
    assert [found[places[number]].frame for number in numbers] == [frame("crunch", 10)] * 2 + [frame("other", 1)]


def test_phases_keep_to_themselves() -> None:
    here = stack(RUN, frame("handler"))
    found = sites(*(replace(stall((here, 5)), phase=phase) for phase in ("startup", "serving", "startup", "other")))
    assert {(site.phase, site.count, site.counted) for site in found} == {
        ("startup", 2, False),
        ("serving", 1, True),
        ("other", 1, True),
    }


def test_endpoints_and_those_who_waited_follow_a_merged_site() -> None:
    ten, eleven = stack(RUN, frame("crunch", 10)), stack(RUN, frame("crunch", 11))
    first = replace(stall((ten, 6), (eleven, 5)), endpoint="GET /b", requests_delayed=3)
    second = replace(stall((eleven, 6), (ten, 4), duration=0.03), endpoint="GET /a", requests_delayed=4)
    third = replace(first, duration=0.02, endpoint="GET /a", requests_delayed=0)
    (site,) = sites(first, second, third, stall((ten, 6)))
    assert site.count == 4
    assert [(each.name, each.count) for each in site.endpoints] == [("GET /a", 2), ("GET /b", 1)]
    assert sum(each.total for each in site.endpoints) == pytest.approx(0.10)
    assert site.requests_delayed == 7


def test_lost_stalls_have_a_site_with_what_is_known() -> None:
    table = SiteTable()
    table.add_lost(3, 0.9, 0.5)
    ((site,), _) = table.finish()
    assert (site.basis, site.count, site.total, site.longest) == ("lost", 3, 0.9, 0.5)


def test_stacks_are_equal_whoever_made_them_and_however_deep() -> None:
    frames = [frame(f"f{number % 7}", number) for number in range(5000)]
    assert stack(*frames) == stack(*frames)
    assert hash(stack(*frames)) == hash(stack(*frames))
    assert stack(*frames) != stack(*frames[1:])
    assert stack(*frames) != stack(frame("other"), *frames[1:])
    assert "f1" in repr(stack(*frames))


@pytest.mark.parametrize(
    ("callbacks", "duration", "here", "shape"),
    [
        (0, 0.05, 45, "single"),  # callbacks are not known on this kind of loop
        (1, 0.05, 45, "single"),
        (3, 0.05, 20, "single"),  # 50 ms of three callbacks: one had more than 10
        (200, 0.6, 500, "pile-up"),  # 200 equal callbacks of 3 ms
        (200, 0.6, 20, "pile-up"),
        (50, 0.012, 9, "single"),  # one long among 50 that take next to nothing
        (50, 0.012, 3, "pile-up"),
        (2, 0.012, 10, "single"),
        (7, 0.05, 45, "single"),  # one of 50 ms beside six others, as in most servers
        (20, 0.05, 45, "pile-up"),
    ],
)
def test_shape(callbacks: int, duration: float, here: int, shape: Shape) -> None:
    samples = {0.05: 45, 0.6: 590, 0.012: 10}[duration]
    assert shape_of(Stall(0, duration, callbacks, samples), here, THRESHOLD) == shape


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, 0),
        ([7], 0.5, 7),
        ([1, 2], 0.5, 1),
        ([1, 2, 3], 0.5, 2),
        ([1, 2, 3], 0.99, 3),
        (range(1, 101), 0.99, 99),
    ],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(array("d", values), share) == expected


NAMES = st.sampled_from(["a", "b", "c"])
FRAMES = st.builds(frame, NAMES, st.integers(1, 4), st.sampled_from(["app", "library", "stdlib", "loop"]))
STACKS = st.lists(FRAMES, min_size=1, max_size=5).map(lambda frames: stack(RUN, *frames))
STALLS = st.builds(
    lambda stacks, duration, callbacks, allowed: stall(
        *stacks, duration=duration, callbacks=callbacks, allowed=allowed
    ),
    st.lists(st.tuples(STACKS, st.integers(1, 50)), max_size=4),
    st.floats(0.01, 5),
    st.integers(0, 300),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(STALLS, max_size=30))
def test_sites_add_up(stalls: list[Stall]) -> None:
    table = SiteTable()
    numbers = [table.add(each, threshold=THRESHOLD, since=0) for each in stalls]
    found, places = table.finish()
    assert sum(site.count for site in found) == len(stalls)
    assert sum(site.samples for site in found) == sum(each.samples for each in stalls)
    assert [site.total for site in found] == sorted((site.total for site in found), reverse=True)
    for at, site in enumerate(found):
        members = [each for each, number in zip(stalls, numbers, strict=True) if places[number] == at]
        assert len(members) == site.count
        assert site.total == pytest.approx(sum(each.duration for each in members))
        assert {each.allowed for each in members} == {site.allowed}
        assert site.p50 <= site.p99 <= site.longest == max(each.duration for each in members)
    again = SiteTable()
    for each in stalls:
        again.add(each, threshold=THRESHOLD, since=0)
    assert again.finish()[0] == found


def doing(stall: Stall, activity: Activity) -> Stall:
    return replace(stall, activity=activity)


def test_the_causes_of_a_site_add_up() -> None:
    here = stall((stack(RUN, frame("handler")), 9))
    native = Activity((("native", 0.04), ("gc", 0.01)), gil_held=0.03, run_delay=0.002)
    python = Activity((("python", 0.03), ("native", 0.02)), gil_held=0.01, run_delay=0.003, throttled=0.001)
    (site,) = sites(doing(here, native), doing(here, python), here)
    assert site.cause == "native"
    assert [cause for cause, _ in site.why.causes] == ["native", "python", "gc"]
    assert [seconds for _, seconds in site.why.causes] == pytest.approx([0.06, 0.03, 0.01])
    assert site.why.gil_held == pytest.approx(0.04)
    assert site.why.held_share == pytest.approx(2 / 3)
    assert site.why.run_delay == pytest.approx(0.005)
    assert site.why.throttled == 0.001
    (site,) = sites(here)
    assert (site.cause, site.why.holder) == ("", None)


def test_lines_that_become_one_site_bring_their_causes() -> None:
    ten, eleven = stack(RUN, frame("crunch", 10)), stack(RUN, frame("crunch", 11))
    python = Activity((("python", 0.05),))
    (site,) = sites(doing(stall((ten, 6), (eleven, 5)), python), doing(stall((eleven, 6), (ten, 4)), python))
    assert site.why.causes == (("python", 0.1),)


def test_who_held_the_gil_is_the_function_most_sampled() -> None:
    here = stall((stack(RUN, frame("handler")), 9))
    thread = frame("Thread.run", 1, "stdlib")
    hogs = [stack(thread, frame("hog", line)) for line in (5, 6, 7)]
    other = stack(thread, frame("other", 3))
    gil: tuple[tuple[Cause, float]] = (("gil", 0.05),)
    holders = (
        Holder("pool_1", hogs[0], 4),
        Holder("pool_2", hogs[1], 3),
        Holder("pool_1", other, 5),
        Holder("x", None, 90),
    )
    more = (Holder("pool_2", hogs[2], 2),)
    (site,) = sites(doing(here, Activity(gil, holders=holders)), doing(here, Activity(gil, holders=more)))
    assert site.why.holder == GilHolder("pool_1", frame("hog", 5))
    (site,) = sites(doing(here, Activity(gil, holders=(Holder("x", None, 90),))))
    assert site.why.holder == GilHolder("x", None)


@pytest.mark.parametrize(
    ("longest", "expected"), [(0.03, "single"), (0.025, "single"), (0.02, "pile-up"), (0.0, "pile-up")]
)
def test_the_longest_callback_decides_where_it_is_recorded(longest: float, expected: Shape) -> None:
    there = doing(stall((stack(RUN, frame("a")), 9), callbacks=3), Activity(longest=longest))
    assert shape_of(there, 9, THRESHOLD) == expected
    assert shape_of(replace(there, callbacks=1), 9, THRESHOLD) == "single"
