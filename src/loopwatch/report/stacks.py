"""The stacks that exports are made of, with their time in whole units that add up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from loopwatch.analysis.flame import visible
from loopwatch.analysis.run import Run
from loopwatch.analysis.sites import Site
from loopwatch.report.protocol import Options
from loopwatch.stack import Frame

_NO_PLACE: Mapping[str, str] = MappingProxyType(
    {
        "unsampled": "(no sample was taken)",
        "unknown": "(the stack is not in the recording)",
        "lost": "(the record is not in the recording)",
    }
)


def groups(run: Run) -> Iterator[tuple[str, list[Site]]]:
    """The sites by what the totals say of them: those that count first, even if there are none."""
    yield "stalls", [site for site in run.sites if site.counted]
    apart = (
        ("start-up, not in the totals", [site for site in run.sites if site.phase == "startup" and not site.allowed]),
        ("allowed, not in the totals", [site for site in run.sites if site.allowed]),
    )
    yield from (group for group in apart if group[1])


def stacks(sites: Iterable[Site], options: Options, per_second: int) -> Iterator[tuple[tuple[Frame, ...], int]]:
    """Frames, outermost first, with their time in whole units of which a second has `per_second`. Rounded so that
    all together are the total rounded. Equal stacks come once."""
    found: dict[tuple[Frame, ...], float] = {}
    for site in sites:
        for stack, seconds in site.weights:
            frames = visible(stack, all_frames=options.all_frames) if stack else (unknown(site),)
            found[frames] = found.get(frames, 0.0) + seconds
    exact, given = 0.0, 0
    for frames, seconds in found.items():
        exact += seconds * per_second
        units = round(exact) - given
        given += units
        if units > 0:
            yield frames, units


def unknown(site: Site) -> Frame:
    """What stands for the stack of stalls whose stack is not known."""
    return Frame("", _NO_PLACE.get(site.basis, "(unknown)"))
