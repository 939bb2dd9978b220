"""Turns the joins of a pipeline into what the native job takes: one small table per join.

A join is on a column of the events, or on one that an earlier dimension brought (songs, then
artists); the native job follows both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .dimension import Dimension
from .errors import SchemaError
from .warehouse_types import require_columns, unknown_column, warehouse_type

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["KEY", "JoinSpec", "PreparedJoin", "joined_fields", "narrow_joins", "prepare_joins"]

#: Name of the key in a prepared table, which no output column can have.
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


@dataclass(frozen=True)
class PreparedJoin:
    """A join for the native job.

    Attributes
    ----------
    spec
        The join it is.
    table
        `KEY` (unique, not null, of the type of the column that is joined on), and the output
        columns by their final names.
    """

    spec: JoinSpec
    table: pa.Table


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
    """Make the tables to hand to the native job; `joined_fields` has accepted the joins."""
    import pyarrow as pa

    kinds = {column.name: column.type for column in source}
    prepared: list[PreparedJoin] = []
    for spec in joins:
        dimension = lookup(spec.dimension)
        columns = {KEY: dimension.table.column(dimension.key)}
        columns |= {alias: dimension.table.column(name) for name, alias in spec.columns}
        table = pa.table(list(columns.values()), names=list(columns))
        prepared.append(PreparedJoin(spec, _fit_key(table, kinds[spec.on])))
        kinds |= {alias: dimension.table.schema.field(name).type for name, alias in spec.columns}
    return prepared


def narrow_joins(joins: Sequence[PreparedJoin], events: pa.Table) -> list[PreparedJoin]:
    """Leave out of each table the rows that these events do not refer to; joining them gives the same.

    Worth it for few events, where building the hash tables would cost most of the time.
    """
    import pyarrow.compute as pc
    from pyarrow import types

    values = {name: events.column(name) for name in events.column_names}
    narrowed: list[PreparedJoin] = []
    for join in joins:
        keys = join.table.column(KEY)
        wanted = values[join.spec.on]
        if types.is_dictionary(wanted.type):
            wanted = wanted.cast(wanted.type.value_type)
        table = join.table.filter(pc.is_in(keys, value_set=pc.unique(wanted).cast(keys.type)))
        narrowed.append(PreparedJoin(join.spec, table))
        values |= {alias: table.column(alias) for _, alias in join.spec.columns}
    return narrowed


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
