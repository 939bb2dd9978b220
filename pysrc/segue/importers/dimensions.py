"""Numbers the things that events refer to, the same way in every import."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segue.errors import SchemaError

__all__ = ["Numbering"]

Identity = tuple[Hashable, ...]


class Numbering:
    """A dimension table that grows: rows keep their ids, new ones get the next.

    Parameters
    ----------
    name
        The dimension table.
    key
        Its id column, int32.
    attributes
        Its other columns.
    identity
        Makes, of a row's attributes, what tells it from the others. All of them by default.

    Examples
    --------
    >>> import pyarrow as pa
    >>> colours = Numbering("dim_colours", "colour_id", pa.schema([("colour", pa.string())]))
    >>> colours.number([("red",), ("blue",), ("red",)]).tolist()
    [0, 1, 0]
    >>> len(colours)
    2
    """

    def __init__(
        self, name: str, key: str, attributes: pa.Schema, identity: Callable[..., Identity] | None = None
    ) -> None:
        self.name = name
        self.key = key
        self.attributes = attributes
        self._identity = identity or (lambda *values: values)
        self._ids: dict[Identity, int] = {}
        self._rows: list[tuple[Any, ...]] = []
        self._next = 0
        self._base: pa.Table | None = None

    @classmethod
    def load(
        cls,
        db: Any,
        name: str,
        key: str,
        attributes: pa.Schema,
        identity: Callable[..., Identity] | None = None,
    ) -> Numbering:
        """Continues the dimension `name` of `db`, or starts it.

        Raises
        ------
        SchemaError
            When a dimension of that name exists with other columns.
        """
        numbering = cls(name, key, attributes, identity)
        stored = db.dimension(name).table if name in db.catalog.read().dimensions else None
        if stored is None:
            return numbering
        wanted = [key, *attributes.names]
        missing = [column for column in wanted if column not in stored.column_names]
        if missing:
            raise SchemaError(f"dimension {name!r} exists and has no column {missing[0]!r}", missing[0])
        # Columns that someone added are kept; rows of this import have null there.
        numbering._base = stored
        ids = stored[key].to_pylist()
        columns = [stored[column].to_pylist() for column in attributes.names]
        for number, *values in zip(ids, *columns, strict=True):
            numbering._ids.setdefault(numbering._identity(*values), number)
        numbering._next = max(ids, default=-1) + 1
        return numbering

    def __len__(self) -> int:
        return len(self._ids)

    def number(
        self, identities: Sequence[Identity], rows: Sequence[tuple[Any, ...]] | None = None
    ) -> npt.NDArray[np.int32]:
        """Return the ids of some things; what is new gets the next ones, in order of appearance."""
        ids = self._ids
        found = np.empty(len(identities), dtype=np.int32)
        for index, identity in enumerate(identities):
            number = ids.get(identity)
            if number is None:
                number = ids[identity] = self._next
                self._next += 1
                self._rows.append((number, *(rows[index] if rows is not None else identity)))
            found[index] = number
        return found

    def save(self, db: Any) -> None:
        """Publish the dimension, if it has grown."""
        if not self._rows and self._base is not None:
            return
        schema = pa.schema([pa.field(self.key, pa.int32()), *self.attributes])
        columns = zip(*self._rows, strict=True) if self._rows else [[] for _ in schema]
        added = pa.Table.from_arrays(
            [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)],
            schema=schema,
        )
        if self._base is None:
            table = added
        else:
            table = pa.concat_tables([self._base, added], promote_options="permissive")
        db.put_dimension(self.name, table, key=self.key)
        self._base = table
        self._rows.clear()
