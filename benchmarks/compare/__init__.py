"""Two commits on the headline rows, alternating in one job: what ``ci/bench_compare`` runs.

``python -m benchmarks.compare [BASE] [HEAD]``. The command itself needs the standard library alone: it makes
an environment with what the commits need, builds each commit in a directory of its own, and measures both
with the same rows (:mod:`benchmarks.compare.rows`, of the tree that the command lies in) on the same input.
"""
