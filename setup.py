"""Builds the two extension modules; everything static stands in pyproject.toml.

SEGUE_BUILD=release (default) | debug | asan | tsan selects optimisation and sanitizers.
SEGUE_WERROR=1 turns warnings into errors (CI does).
SEGUE_BUILD_JOBS=N compiles N files at a time (default: the processors this process may use).
"""

import os
import sys
from glob import glob
from pathlib import Path

import pybind11
from Cython import __version__ as cython_version
from Cython.Build import cythonize
from pybind11.setup_helpers import ParallelCompile
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Builds for finding mistakes keep the asserts that Python's own flags turn off, and name lines and callers.
CHECKED = ["-UNDEBUG", "-g", "-fno-omit-frame-pointer"]
ASAN = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
TSAN = ["-fsanitize=thread"]
BUILDS = {  # name: compiler flags, linker flags
    "release": (["-O2", "-g0"], []),
    "debug": ([*CHECKED, "-O0"], []),
    "asan": ([*CHECKED, "-O1", *ASAN], ASAN),
    "tsan": ([*CHECKED, "-O1", *TSAN], TSAN),
}
build = os.environ.get("SEGUE_BUILD", "release")
if build not in BUILDS:
    sys.exit(f"SEGUE_BUILD={build} is unknown; use one of {', '.join(BUILDS)}")
if sys.platform == "win32":
    sys.exit("Segue runs on Linux and macOS; on Windows use the Linux subsystem (WSL)")
flags, link_flags = BUILDS[build]

warnings = ["-Wall", "-Wextra", "-Wshadow"]
compile_args = ["-std=c++20", "-fvisibility=hidden", "-fno-math-errno", *warnings, *flags]
if os.environ.get("SEGUE_WERROR") == "1":
    compile_args.append("-Werror")
if sys.platform == "linux":
    link_flags = [*link_flags, "-pthread"]

HEADERS = sorted(glob("csrc/**/*.h", recursive=True))

engine = Extension(
    "segue._engine",
    sources=sorted(glob("csrc/**/*.cc", recursive=True)),
    depends=HEADERS,
    include_dirs=["csrc"],
    # As a system directory, so that pybind11's own warnings are not ours.
    extra_compile_args=["-isystem", pybind11.get_include(), *compile_args],
    extra_link_args=link_flags,
    language="c++",
)
rows = [
    Extension(
        "segue._rows",
        sources=["pysrc/segue/_rows.pyx"],
        depends=HEADERS,
        include_dirs=["csrc"],
        # Generated code shadows and leaves unused; it is not ours to mend.
        extra_compile_args=[a for a in compile_args if a not in ("-Wextra", "-Wshadow", "-Werror")],
        extra_link_args=link_flags,
        language="c++",
    )
]
if not Path("pysrc/segue/_rows.pyx").exists():
    rows = []


class BuildExt(build_ext):
    """Builds anew when the switches or the build tools differ from the last time, not only the sources."""

    def build_extensions(self) -> None:
        inputs = [*compile_args, *link_flags, f"pybind11 {pybind11.__version__}", f"cython {cython_version}"]
        stamp = Path(self.build_temp) / "segue-build-inputs"
        text = "\n".join(inputs)
        if not stamp.exists() or stamp.read_text() != text:
            self.force = True
        super().build_extensions()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(text)


def processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


ParallelCompile("SEGUE_BUILD_JOBS", default=processors()).install()

setup(
    # Generated C++ stays out of the package's folder.
    ext_modules=[engine, *cythonize(rows, language_level=3, build_dir="build/cython")],
    cmdclass={"build_ext": BuildExt},
)
