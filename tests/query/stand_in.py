"""Kernels' contract on pyarrow and Python, until the real ones are there."""

from __future__ import annotations

import sys
import types
from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq


class Unsupported(Exception):
    pass


@dataclass(frozen=True)
class DimensionJoin:
    fact_column: str
    table: pa.Table
    key: str


@dataclass(frozen=True)
class GroupColumn:
    column: str
    join: int | None = None


@dataclass(frozen=True)
class CountPlan:
    relation: object
    files: list
    joins: list
    group_by: list


@dataclass
class ScanMetrics:
    rows: int = 0
    bytes_read: int = 0
    files_read: int = 0
    row_groups_read: int = 0
    row_groups_pruned: int = 0
    columns: list = field(default_factory=list)
    seconds: float = 0.0
    isa: str = "fake"


def group_count(plan, *, threads=None):
    m = ScanMetrics()
    maps = []
    for j in plan.joins:
        keys = j.table[j.key].to_pylist()
        if len(set(keys)) != len(keys):
            raise Unsupported(f"{j.key} has duplicate values")
        maps.append(dict(zip(keys, j.table.to_pylist(), strict=False)))
    need = [j.fact_column for j in plan.joins] + [g.column for g in plan.group_by if g.join is None]
    m.columns = [c for c in dict.fromkeys(need) if c not in plan.relation.partition_columns]
    c = Counter()
    for f in plan.files:
        m.files_read += 1
        rows = (
            pq.read_table(f.path, columns=m.columns, partitioning=None).to_pylist()
            if m.columns
            else [{}] * f.rows
        )
        m.rows += len(rows)
        for r in rows:
            r = {**r, **f.partition}
            ds = []
            for j, mp in zip(plan.joins, maps, strict=False):
                d = mp.get(r[j.fact_column]) if r[j.fact_column] is not None else None
                if d is None:
                    break
                ds.append(d)
            else:
                c[tuple(r[g.column] if g.join is None else ds[g.join][g.column] for g in plan.group_by)] += 1
    cols = {}
    for i, g in enumerate(plan.group_by):
        t = (plan.relation.schema if g.join is None else plan.joins[g.join].table.schema).field(g.column).type
        cols[f"g{i}"] = pa.array([k[i] for k in c], t)
    cols["count"] = pa.array(list(c.values()), pa.int64())
    return pa.table(cols), m


def install():
    import segue

    mod = types.ModuleType("segue.scan")
    mod.__dict__.update(
        {
            k: globals()[k]
            for k in [
                "Unsupported",
                "DimensionJoin",
                "GroupColumn",
                "CountPlan",
                "ScanMetrics",
                "group_count",
            ]
        }
    )
    sys.modules["segue.scan"] = mod
    segue.scan = mod
