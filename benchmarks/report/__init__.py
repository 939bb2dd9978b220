"""Turns pytest-benchmark's JSON into ``docs/benchmarks.md``: every figure on the page comes from the results.

``python -m benchmarks.report RESULTS.json... -o docs/benchmarks.md``
"""
