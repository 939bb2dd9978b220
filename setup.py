"""Builds the two extension modules; everything static stands in pyproject.toml.

SEGUE_BUILD=release (default) | debug | asan | tsan selects optimisation and sanitizers.
SEGUE_WERROR=1 turns warnings into errors (CI does).
"""

import os
import sys
from glob import glob

import pybind11
from Cython.Build import cythonize
from pybind11.setup_helpers import ParallelCompile
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

BUILDS = {
    "release": (["-O2", "-g0"], []),
    "debug": (["-O0", "-g"], []),
    "asan": (["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"], ["-fsanitize=address,undefined"]),
    "tsan": (["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=thread"], ["-fsanitize=thread"]),
}
build = os.environ.get("SEGUE_BUILD", "release")
if build not in BUILDS:
    sys.exit(f"SEGUE_BUILD={build} is unknown; use one of {', '.join(BUILDS)}")
flags, link_flags = BUILDS[build]

compile_args = ["-std=c++20", "-fvisibility=hidden", "-fno-math-errno", "-Wall", "-Wextra", "-Wshadow", *flags]
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
if not os.path.exists("pysrc/segue/_rows.pyx"):
    rows = []

ParallelCompile("SEGUE_BUILD_JOBS", default=os.cpu_count() or 1).install()

setup(
    ext_modules=[engine, *cythonize(rows, language_level=3)],
    cmdclass={"build_ext": build_ext},
)
