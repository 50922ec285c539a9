"""Whose code a file is: the user's own, a library's, the standard library's, the event loop's, loopwatch's.

The folders that tell them apart stand in the header, as the watched process knew them; nothing is looked up on
the machine that reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from loopwatch.recording.fields import texts
from loopwatch.stack import Kind

# An event loop is made of these: packages among the libraries, modules in the standard library.
_LOOP_PACKAGES = re.compile(r"(?:uvloop|winloop|rloop)/|nest_asyncio2?\.py$")
_LOOP_MODULES = re.compile(r"asyncio/|selectors\.py$")
_SITE = re.compile(r"/(?:site|dist)-packages/")

# Code that has no file. Names of the standard library's importer, then those that code generators give.
_FROZEN = re.compile(r"<frozen ")
_GENERATED = re.compile(r"<(?:attrs generated|decorator-gen|makefun-gen|boltons|__array_function__)")
_DATACLASS = "__create_fn__."  # methods that dataclasses makes have the file name <string>


class Kinds:
    """Tells the kind of a code object's file, with the `paths` of a recording's header. `app`: installed packages
    that are the user's own code all the same."""

    def __init__(self, paths: object = None, cwd: str = "", platform: str = "", app: Iterable[str] = ()) -> None:
        record = paths if isinstance(paths, Mapping) else {}
        self._windows = platform.startswith("win")
        self._cwd = cwd
        self._site = self._folders(texts(record, "site"))
        self._loopwatch = self._folders(texts(record, "loopwatch"))
        self._stdlib = self._folders(texts(record, "stdlib"))
        names = "|".join(re.escape(self._plain(name).replace(".", "/")) for name in app)
        self._app = re.compile(rf"(?:{names})(?:/|\.)") if names else None

    def absolute(self, file: str) -> str:
        """The file's full name: a relative one is taken from the process's working directory."""
        if not file or not self._cwd or file.startswith(("<", "/", "\\")) or re.match(r"[A-Za-z]:", file):
            return file
        return f"{self._cwd.rstrip('/')}/{file}"

    def kind(self, file: str, function: str = "") -> Kind:
        """The kind of a function in this (absolute) file. Code without a file is the user's own, as far as no
        known generator made it."""
        if file.startswith("<"):
            if _FROZEN.match(file):
                return "stdlib"
            return "library" if _GENERATED.match(file) or function.startswith(_DATACLASS) else "app"
        path = self._plain(file)
        if path.startswith(self._loopwatch):
            return "loopwatch"
        # Site folders first: they mostly lie inside the standard library's, and a project's .venv inside the project.
        for folder in self._site:
            if path.startswith(folder):
                return self._installed(path, len(folder))
        if found := list(_SITE.finditer(path)):
            return self._installed(path, found[-1].end())
        for folder in self._stdlib:
            if path.startswith(folder):
                return "loop" if _LOOP_MODULES.match(path, len(folder)) else "stdlib"
        return "app"

    def _installed(self, path: str, at: int) -> Kind:
        """The kind of a file of which the part from `at` on lies in a site folder."""
        if self._app is not None and self._app.match(path, at):
            return "app"
        return "loop" if _LOOP_PACKAGES.match(path, at) else "library"

    def _folders(self, names: tuple[str, ...]) -> tuple[str, ...]:
        folders = {self._plain(name).rstrip("/") + "/" for name in names}
        return tuple(sorted(folders - {"/"}, key=len, reverse=True))

    def _plain(self, path: str) -> str:
        return path.replace("\\", "/").lower() if self._windows else path
