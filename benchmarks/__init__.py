"""Benchmark suites, one pytest-benchmark group per row of the targets; peers beside ours, equal outputs.

``pytest benchmarks/`` runs everything at scale small, ``--scale medium|large`` the real tables, and
``python -m benchmarks.report RESULTS.json -o docs/benchmarks.md`` turns the JSON into a page.
"""
