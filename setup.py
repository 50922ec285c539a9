"""The extension; everything else stands in pyproject.toml."""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import subprocess
import sys
import sysconfig

from Cython.Build import cythonize
from setuptools import Extension, setup

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit("loopwatch: free-threaded Python is not supported yet: install it with a Python that has the GIL")

_SYSTEM = {"linux": "linux", "darwin": "darwin", "win32": "windows"}.get(sys.platform)
if _SYSTEM is None:
    sys.exit(f"loopwatch: {sys.platform} is not supported: Linux, macOS and Windows are")

# csrc/os holds one file per job and system; "posix" serves Linux and macOS, "none" whoever lacks the thing.
_OS_FILES = {
    "linux": [
        "alarm_linux",
        "clock_linux",
        "descriptor_posix",
        "event_posix",
        "file_posix",
        "import_slot_linux",
        "import_symbol_posix",
        "memory_linux",
        "poll_slot_linux",
        "quota_linux",
        "task_linux",
        "thread_linux",
        "thread_posix",
    ],
    "darwin": [
        "alarm_darwin",
        "clock_darwin",
        "descriptor_posix",
        "event_posix",
        "file_posix",
        "import_slot_none",
        "import_symbol_posix",
        "memory_darwin",
        "memory_each",
        "poll_slot_none",
        "quota_none",
        "task_darwin",
        "task_untold",
        "thread_darwin",
        "thread_posix",
    ],
    "windows": [
        "alarm_windows",
        "clock_windows",
        "event_windows",
        "file_windows",
        "import_slot_none",
        "import_symbol_windows",
        "memory_each",
        "memory_windows",
        "poll_slot_none",
        "quota_none",
        "task_windows",
        "task_untold",
        "thread_windows",
        "wide_windows",
    ],
}

_SOURCES = [
    "src/loopwatch/_core.pyx",
    *sorted(glob.glob("csrc/*.c")),
    *sorted(glob.glob("csrc/cpython/*.c")),
    *(f"csrc/os/{name}.c" for name in _OS_FILES[_SYSTEM]),
]


def _known(*flags: str) -> list[str]:
    """Those of the flags that the compiler has something to do for."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    found = []
    for flag in flags:
        command = [*compiler, "-Werror", flag, "-fsyntax-only", "-x", "c", os.devnull]
        with contextlib.suppress(OSError):
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                found.append(flag)
    return found


def _thread_local_flags() -> list[str]:
    """How to reach what is each thread's own by a descriptor, as other processors do anyway: no call of the linker for
    each request and each poll."""
    return _known("-mtls-dialect=gnu2") if _SYSTEM == "linux" and platform.machine() == "x86_64" else []


if _SYSTEM == "windows":
    _COMPILE = ["/std:c11", "/experimental:c11atomics"]
    _LINK: list[str] = []
else:
    _COMPILE = [
        "-std=gnu11",
        "-O2",
        "-g",
        "-Wall",
        "-Wextra",
        "-fvisibility=hidden",
        "-fno-plt",
        # Most of it runs once in a request or an iteration, each line of it fetched anew: the fewer, the better.
        *_known("-fno-align-functions", "-fno-align-jumps", "-fno-align-loops", "-fno-align-labels"),
        "-Wno-unused-parameter",
        *_thread_local_flags(),
    ]
    # Timers, dlsym and threads have libraries of their own in glibc before 2.34.
    _LINK = ["-pthread", "-ldl", "-lrt"] if _SYSTEM == "linux" else []
    if os.environ.get("LOOPWATCH_SANITIZE"):  # for example address,undefined
        _flag = "-fsanitize=" + os.environ["LOOPWATCH_SANITIZE"]
        _COMPILE += [_flag, "-fno-omit-frame-pointer"]
        _LINK += [_flag]

setup(
    ext_modules=cythonize(
        [
            Extension(
                "loopwatch._core",
                _SOURCES,
                include_dirs=["csrc"],
                depends=glob.glob("csrc/**/*.h", recursive=True),
                extra_compile_args=_COMPILE,
                extra_link_args=_LINK,
            )
        ],
        language_level=3,
        build_dir="build/cython",
    )
)
