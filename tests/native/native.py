"""Compiles the C units with the harness and runs single cases of them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"

UNITS = [
    *("attention", "cause", "chain", "intern", "json", "lines", "loop", "loss", "outer", "parts", "queue"),
    *("recorder", "records", "request_clock", "requests", "stall", "table", "text"),
    *("os/alarm_linux", "os/clock_linux", "os/descriptor_posix", "os/file_posix", "os/import_slot_linux"),
    *("os/import_symbol_posix", "os/memory_linux", "os/quota_linux", "os/task_linux", "os/thread_linux"),
    "os/thread_posix",
]
FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-pthread", f"-I{CSRC}"]
BUILDS = {
    "plain": [],
    "sanitized": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
}
TARGETS = {  # how import_target.c is linked
    "now": ["-Wl,-z,relro,-z,now"],
    "lazy": ["-Wl,-z,relro,-z,lazy"],
    "noplt": ["-fno-plt", "-Wl,-z,relro,-z,now"],
    "norelro": ["-Wl,-z,norelro,-z,lazy"],
}
SKIPPED = 77


def cases(program: str) -> list[str]:
    """The names of a program's cases, in the order of its source."""
    return re.findall(r"^CASE\((\w+)\)", (HERE / f"{program}.c").read_text("utf-8"), re.MULTILINE)


@dataclass
class Toolchain:
    """What one build makes, each thing once: the units as a library, the test programs, the shared objects."""

    build: str
    folder: Path
    _made: dict[str, Path] = field(default_factory=dict)

    def program(self, name: str) -> Path:
        """The test program; the test is skipped when nothing can be compiled here."""
        if name not in self._made:
            library = self._library()
            output = self.folder / name
            self._compile([str(HERE / f"{name}.c"), "-o", str(output), str(library), "-ldl", "-lrt"])
            self._made[name] = output
        return self._made[name]

    def shared_object(self, name: str, sources: list[Path]) -> Path:
        """These sources as one library for ctypes."""
        self._check()
        output = self.folder / f"{name}.so"
        self._compile(["-shared", "-o", str(output), *map(str, sources), "-ldl"])
        return output

    def run(self, program: str, case: str, folder: Path) -> None:
        """Run one case in the folder. The test fails with its messages, or is skipped with its reason."""
        path = self.program(program)
        environment = dict(os.environ, LW_TARGETS=str(self._targets()), ASAN_OPTIONS="detect_leaks=1")
        done = subprocess.run(
            [path, case],
            cwd=folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=120,
        )
        if done.returncode == SKIPPED:
            pytest.skip(done.stdout.strip())
        assert done.returncode == 0, f"{program} {case} ended with {done.returncode}\n{done.stdout}{done.stderr}"

    def _library(self) -> Path:
        if "library" not in self._made:
            self._check()
            objects = []
            for unit in UNITS:
                objects.append(str(self.folder / f"{unit.replace('/', '_')}.o"))
                self._compile(["-c", str(CSRC / f"{unit}.c"), "-o", objects[-1]])
            library = self.folder / "libunits.a"
            subprocess.run(["ar", "rc", library, *objects], check=True)
            self._made["library"] = library
        return self._made["library"]

    def _targets(self) -> Path:
        if "targets" not in self._made:
            folder = self.folder / "targets"
            folder.mkdir()
            for name, flags in TARGETS.items():
                # Without sanitizers: the object is looked at, not tested. A linker that lacks a way leaves a gap,
                # and the case says so.
                output = str(folder / f"{name}.so")
                subprocess.run([*self._cc(), "-shared", "-fPIC", *flags, str(HERE / "import_target.c"), "-o", output])
            self._made["targets"] = folder
        return self._made["targets"]

    def _check(self) -> None:
        """Skip where there is no compiler, or none that can do this build."""
        if sys.platform != "linux":
            pytest.skip(f"the C tests know Linux only, this is {sys.platform}")
        if shutil.which(self._cc()[0]) is None:
            pytest.skip(f"no C compiler: {self._cc()[0]} is not installed")
        source, program = self.folder / "empty.c", self.folder / "empty"
        source.write_text("int main(void) { return 0; }\n")
        # Run, too: some compilers link sanitizers that their libc cannot start.
        for command in ([*self._cc(), *BUILDS[self.build], str(source), "-o", str(program)], [str(program)]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                pytest.skip(f"{self._cc()[0]} cannot make the {self.build} build: {done.stderr.strip()[:200]}")

    def _compile(self, arguments: list[str]) -> None:
        subprocess.run([*self._cc(), *FLAGS, *BUILDS[self.build], *arguments], check=True)

    @staticmethod
    def _cc() -> list[str]:
        return shlex.split(os.environ.get("CC", "cc"))
