"""Turns the joins of a pipeline into what the native job takes: one small table per join.

The native job joins on columns of the *events*. A join on a column that an earlier dimension
brought (songs, then artists) is resolved here, by joining the two small tables once instead of
every event twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .dimension import Dimension
from .errors import InvalidError, SchemaError
from .warehouse_types import require_columns, unknown_column, warehouse_type

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["KEY", "JoinSpec", "PreparedJoin", "joined_fields", "prepare_joins"]

#: Name of the key in a prepared table; an event column of that name would be refused as reserved.
KEY = "__segue_key"


@dataclass(frozen=True)
class JoinSpec:
    """One ``.join(...)`` of a pipeline.

    Attributes
    ----------
    dimension
        Name of the dimension.
    on
        Column of the events, or of an earlier join, that holds the dimension's key.
    columns
        Pairs of (column of the dimension, its name in the fact table).
    how
        ``"inner"`` or ``"left"``.
    on_missing
        For inner joins: ``"drop"`` events without a dimension row and count them, or ``"error"``.
    """

    dimension: str
    on: str
    columns: tuple[tuple[str, str], ...]
    how: str = "inner"
    on_missing: str = "drop"

    def to_json(self) -> dict[str, Any]:
        """As the catalog keeps it."""
        return {
            "dimension": self.dimension,
            "on": self.on,
            "columns": [list(pair) for pair in self.columns],
            "how": self.how,
            "on_missing": self.on_missing,
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> JoinSpec:
        """Return the join that `to_json` described."""
        return JoinSpec(
            dimension=value["dimension"],
            on=value["on"],
            columns=tuple((name, alias) for name, alias in value["columns"]),
            how=value["how"],
            on_missing=value["on_missing"],
        )


@dataclass
class PreparedJoin:
    """A join for the native job.

    Attributes
    ----------
    on
        Column of the events.
    how
        ``"inner"`` or ``"left"``.
    table
        `KEY` (unique, not null, of the type of `on`) and the output columns by their final names.
    specs
        The joins of the pipeline that went into it: one, and those chained to it.
    """

    on: str
    how: str
    table: pa.Table
    specs: list[JoinSpec] = field(default_factory=list)

    @property
    def label(self) -> str:
        """For reports: the dimensions' names."""
        return "+".join(spec.dimension for spec in self.specs)


def joined_fields(
    source: pa.Schema, joins: Sequence[JoinSpec], lookup: Callable[[str], Dimension]
) -> list[pa.Field]:
    """Return the columns that the joins add, in order; `SchemaError` where one does not fit."""
    import pyarrow as pa

    known = {column.name: column.type for column in source}
    added: list[pa.Field] = []
    for spec in joins:
        dimension = lookup(spec.dimension)
        where = f"dimension {spec.dimension!r}"
        if spec.on not in known:
            raise unknown_column(spec.on, known, "the event table, with the joins so far,")
        key_type = dimension.table.schema.field(dimension.key).type
        _comparable(spec, known[spec.on], dimension.key, key_type)
        require_columns((name for name, _ in spec.columns), dimension.table.column_names, where)
        taken = {name.lower(): name for name in known}
        for name, alias in spec.columns:
            if alias.lower() in taken:
                raise SchemaError(
                    f"{where}: column {alias!r} is there already; choose columns=[...] or rename with "
                    f'columns={{"{name}": "{spec.dimension}_{name}"}}',
                    alias,
                )
            kind = dimension.table.schema.field(name).type
            warehouse_type(alias, kind)
            taken[alias.lower()] = alias
            known[alias] = kind
            added.append(pa.field(alias, kind))
    return added


def prepare_joins(
    source: pa.Schema, joins: Sequence[JoinSpec], lookup: Callable[[str], Dimension]
) -> list[PreparedJoin]:
    """Return the tables to hand to the native job, chained joins folded into the join they hang on.

    Folding keeps what the single joins do to an event: it is dropped if any inner join of the
    chain misses, and a missing row of a left join leaves nulls.
    """
    prepared: list[PreparedJoin] = []
    for spec in joins:
        dimension = lookup(spec.dimension)
        if spec.on in source.names:
            keys = dimension.table.column(dimension.key)
            columns = {KEY: keys} | {alias: dimension.table.column(name) for name, alias in spec.columns}
            table = _fit_key(_table(columns), source.field(spec.on).type)
            prepared.append(PreparedJoin(spec.on, spec.how, table, [spec]))
            continue
        host = next(join for join in prepared if spec.on in join.table.column_names)
        mixed = {s.on_missing for s in [*host.specs, spec] if s.how == "inner"}
        if len(mixed) > 1:
            raise InvalidError(
                f"the join with {spec.dimension!r} hangs on column {spec.on!r} of {host.label!r}: "
                "give both the same on_missing"
            )
        host.table = _chain(host.table, spec, dimension)
        host.specs.append(spec)
        if spec.how == "inner":
            host.how = "inner"
    return prepared


def _table(columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    import pyarrow as pa

    return pa.table(list(columns.values()), names=list(columns))


def _chain(table: pa.Table, spec: JoinSpec, dimension: Dimension) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    on = table.column(spec.on)
    if types.is_dictionary(on.type):
        on = on.cast(on.type.value_type)
    right = _fit_key(
        _table(
            {KEY: dimension.table.column(dimension.key)}
            | {alias: dimension.table.column(name) for name, alias in spec.columns}
        ),
        on.type,
    )
    keys = right.column(KEY)
    # index_in wants one array as its value set, and gives null for null and for what is not there.
    rows = pc.index_in(
        on, value_set=pa.concat_arrays(keys.chunks) if keys.num_chunks else pa.array([], keys.type)
    )
    if spec.how == "inner":
        found = pc.is_valid(rows)
        table, rows = table.filter(found), rows.filter(found)
    for _, alias in spec.columns:
        table = table.append_column(alias, right.column(alias).take(rows))
    return table


def _kind(of: pa.DataType) -> str:
    """Return the family of values that a type compares within."""
    from pyarrow import types

    if types.is_dictionary(of):
        return _kind(of.value_type)
    if types.is_string(of) or types.is_large_string(of) or types.is_string_view(of):
        return "string"
    if types.is_integer(of):
        return "integer"
    if types.is_binary(of) or types.is_large_binary(of) or types.is_fixed_size_binary(of):
        return "binary"
    if types.is_date(of):
        return "date"
    if types.is_timestamp(of):
        return "zoned timestamp" if of.tz else "timestamp"
    if types.is_decimal(of):
        return f"decimal of scale {of.scale}"
    return str(of)


def _comparable(spec: JoinSpec, on: pa.DataType, key: str, key_type: pa.DataType) -> None:
    if _kind(on) != _kind(key_type):
        raise SchemaError(
            f"cannot join {spec.dimension!r} on {spec.on!r}: it is {on}, "
            f"the dimension's key {key!r} is {key_type}; cast one of them",
            spec.on,
        )
    if _kind(on) in ("float", "double", "halffloat"):
        raise SchemaError(f"cannot join on {spec.on!r}: {on} values are not exact", spec.on)


def _fit_key(table: pa.Table, kind: pa.DataType) -> pa.Table:
    """Cast the key to the type of the column it is joined with; a key that cannot occur there is left out."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    keys = table.column(KEY)
    if keys.type == kind:
        return table
    try:
        fitted = keys.cast(kind)
    except pa.ArrowInvalid:
        if not types.is_integer(kind):
            raise SchemaError(
                f"a dimension's key of type {keys.type} does not fit {kind}; cast one of them"
            ) from None
        # Compared as decimals, since no integer type holds both the signed and the unsigned ones.
        wide = keys.cast(pa.decimal128(20, 0))
        bits = kind.bit_width
        low, high = (
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
            if types.is_signed_integer(kind)
            else (0, (1 << bits) - 1)
        )
        fits = pc.and_(
            pc.greater_equal(wide, pa.scalar(low, pa.decimal128(20, 0))),
            pc.less_equal(wide, pa.scalar(high, pa.decimal128(20, 0))),
        )
        table = table.filter(fits)
        fitted = table.column(KEY).cast(kind)
    return table.set_column(table.column_names.index(KEY), KEY, fitted)
