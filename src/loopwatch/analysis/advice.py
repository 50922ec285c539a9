"""What to do about a site: the rules of `advice.toml`, matched on what its thread was doing and where.

At most one rule speaks for a site: the first that fits. A rule names what the thread may have been doing, so that no
advice contradicts the cause: a thread is never the mend for what holds the GIL.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from loopwatch.analysis.causes import Why
from loopwatch.analysis.frames import below, callback, short
from loopwatch.analysis.mend import TO_PROCESS, TO_THREAD, rewritten, sent_away
from loopwatch.analysis.origins import Origins
from loopwatch.analysis.sites import Site
from loopwatch.analysis.source import Source
from loopwatch.analysis.syntax import Module, Modules
from loopwatch.stack import Frame, Stack

# What the thread was doing, as far as that decides on the mend; `held` and `released` are `native`.
State = Literal["python", "held", "released", "blocked", "gil", "gc", "starved", "throttled"]
STATES: tuple[State, ...] = get_args(State)

_MOSTLY = 0.5
_NEARLY_ALL = 2 / 3
_THREAD = "in a thread, since it does not need the GIL"
_PROCESS = "in a process pool, since it holds the GIL: a thread would stall the loop all the same"
# By state, where work that is taken off the loop goes.
_OFFLOAD = {
    "released": (_THREAD, TO_THREAD),
    "blocked": (_THREAD, TO_THREAD),
    "held": (_PROCESS, TO_PROCESS),
    "python": (_PROCESS, TO_PROCESS),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `advice.toml` says what its members mean."""

    slug: str
    when: tuple[str, ...]
    text: str
    calls: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    place: tuple[str, ...] = ()
    shape: str = ""
    own: bool = True
    mend: str = ""
    mends: tuple[str, ...] = ()

    @property
    def is_general(self) -> bool:
        """Whether it speaks for whatever is in its state."""
        return not (self.calls or self.frames or self.place or self.shape)


@dataclass(frozen=True, slots=True)
class Change:
    """A changed line, and the frame whose line it stands for."""

    frame: Frame
    code: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do: a sentence without its full stop and, where it could be derived, the changed line."""

    slug: str
    text: str
    change: Change | None = None


@cache
def rules() -> tuple[Rule, ...]:
    """All rules, in the order in which they are asked."""
    table = tomllib.loads(files("loopwatch.analysis").joinpath("advice.toml").read_text("utf-8"))
    return tuple(Rule(**{key: _frozen(value) for key, value in entry.items()}) for entry in table["rule"])


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def state_of(why: Why) -> State | Literal[""]:
    """What the thread was doing for most of the time; empty where that is not known.

    A busy machine starves whatever it runs. So being starved has to be nearly all: else the rest is what can be mended.
    """
    causes = [cause for cause, _ in why.causes]
    starved, whole = why.seconds("starved"), sum(seconds for _, seconds in why.causes)
    if causes[:1] == ["starved"]:
        if len(causes) == 1 or starved >= _NEARLY_ALL * whole:
            return "throttled" if (why.throttled or 0.0) >= _MOSTLY * starved else "starved"
        del causes[0]
    match causes:
        case ["native", *_]:
            return "held" if why.held_share >= _MOSTLY else "released"
        case ["python" | "blocked" | "gil" | "gc" as cause, *_]:
            return cause
    return ""


class Advisor:
    """Advises on the sites of one run, with the sources that are there."""

    def __init__(self, source: Source, cwd: str = "") -> None:
        self._modules = Modules(source)
        self._origins: dict[Module, Origins] = {}
        self._cwd = cwd

    def advice(self, site: Site) -> Advice | None:
        """What to do about a site. None where its cause is not known, and for what a server does before it serves:
        that is where slow things belong."""
        state = state_of(site.why)
        if not state or site.phase == "startup" or site.allowed:
            return None
        origin, frames = self._origin(site), tuple(self._frames(site))
        for rule in rules():
            if state in rule.when and _fits(rule, site, origin, frames):
                where = _OFFLOAD.get(state, ("", ""))[0]
                return Advice(rule.slug, rule.text.replace("{offload}", where), self._change(rule, state, site))
        return None

    def _origin(self, site: Site) -> str:
        """Where the call on the site's line comes from: ``time.sleep``."""
        place = site.frame
        if place is None or place.kind != "app":
            return ""
        module, node = self._node(place, site.since)
        if module is None or node is None:
            return ""
        return self._of(module).of(node.func if isinstance(node, ast.Call) else node)

    def _frames(self, site: Site) -> Iterator[str]:
        if site.stack is None:
            return
        place = site.stack.place
        for frame in (*_importing(site.stack), place, *below(site.stack)):
            if frame.kind != "app":
                yield f"{short(frame, self._cwd)}:{frame.function}"

    def _change(self, rule: Rule, state: State, site: Site) -> Change | None:
        if not rule.mend or site.stack is None or not site.stack.own or state not in _OFFLOAD:
            return None
        try:
            return self._changed(rule, _OFFLOAD[state][1], site)
        except RecursionError:  # an expression nested beyond all measure
            return None

    def _changed(self, rule: Rule, elsewhere: str, site: Site) -> Change | None:
        """The own line changed, or that of the innermost `async def` whose call led there. Further out than that
        stands an `await`."""
        for frame in _own_frames(site):
            module, node = self._node(frame, site.since)
            if module is not None and isinstance(node, ast.Call):
                known = frame is site.frame and self._has_template(rule, site)
                code = rewritten(node, module, rule.mend) if known else ""
                code = code or sent_away(node, module, self._of(module), elsewhere)
                if code:
                    return Change(frame, code)
            if module is not None and module.in_coroutine(frame.line):
                return None
        return None

    def _has_template(self, rule: Rule, site: Site) -> bool:
        """Whether the rule says what becomes of the call on the site's line."""
        return rule.mend != "offload" and (not rule.mends or _any(rule.mends, tuple(self._called(site))))

    def _called(self, site: Site) -> Iterator[str]:
        """What the site's line calls: by where its name comes from, and the function that this was."""
        yield self._origin(site)
        for frame in below(site.stack)[:1] if site.stack else ():
            yield f"{short(frame, self._cwd)}:{frame.function}"

    def _node(self, frame: Frame, since: float) -> tuple[Module | None, ast.expr | None]:
        module = self._modules.of(frame.file, since)
        return module, module.expression(frame) if module else None

    def _of(self, module: Module) -> Origins:
        if module not in self._origins:
            self._origins[module] = Origins(module)
        return self._origins[module]


def _importing(stack: Stack) -> Iterator[Frame]:
    """What the importer has on the stack outside of the place: whatever a module does when it is imported is an import,
    too."""
    return (frame for frame in callback(stack) if frame.file.startswith("<frozen importlib"))


def _own_frames(site: Site) -> Iterator[Frame]:
    """The frames of the user's own code in the callback, from the site's line outwards."""
    inside = False
    for frame in site.stack.walk() if site.stack else ():
        if frame.runs_callbacks:
            return
        inside = inside or frame is site.frame
        if inside and frame.kind == "app":
            yield frame


def _fits(rule: Rule, site: Site, origin: str, frames: tuple[str, ...]) -> bool:
    if rule.shape and rule.shape != site.shape:
        return False
    if rule.own and site.basis == "loop":
        return False
    place = site.frame.file if site.frame else ""
    if not (rule.calls or rule.frames or rule.place):
        return True
    return _any(rule.calls, (origin,) if origin else ()) or _any(rule.frames, frames) or _any(rule.place, (place,))


def _any(patterns: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether one of the patterns fits one of the names, and none that forbids any."""
    refused = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    if any(fnmatchcase(name, pattern) for pattern in refused for name in names):
        return False
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names if pattern[0] != "!")
