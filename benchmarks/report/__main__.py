"""The command line: results in, a page and its plots out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.report import kernel_plots, page, plots, results


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="files written by --benchmark-json")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--no-plots", action="store_true", help="tables only; needs no matplotlib")
    asked = parser.parse_args(arguments)
    found = results.load(asked.results)
    directory = asked.output.with_suffix("")
    drawn = [] if asked.no_plots else [*plots.draw(found, directory), *kernel_plots.draw(found, directory)]
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(page.render(found, drawn, directory.name), encoding="utf-8")
    print(f"{asked.output}: {len(found.entries)} results, {len(drawn)} plots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
