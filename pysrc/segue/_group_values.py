"""Between Arrow values and the native scan's keys and group ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import CorruptionError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["GroupValues", "Incompatible", "decode_bytes", "decode_numbers", "dense_codes", "join_keys"]


class Incompatible(Exception):  # noqa: N818 - the caller turns it into its own
    """These types or values cannot be grouped or joined natively."""


def plain_type(type_: pa.DataType) -> pa.DataType:
    """Return the type of the values behind dictionaries and string layouts."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(type_):
        return plain_type(type_.value_type)
    if types.is_large_string(type_) or types.is_string_view(type_):
        return pa.string()
    if types.is_large_binary(type_) or types.is_binary_view(type_):
        return pa.binary()
    return type_


def _wide_type(type_: pa.DataType) -> pa.DataType:
    """Return the layout to work in: 64-bit offsets, so that nothing overflows on the way."""
    import pyarrow as pa

    plain = plain_type(type_)
    if pa.types.is_string(plain):
        return pa.large_string()
    if pa.types.is_binary(plain):
        return pa.large_binary()
    return plain


_SLICE = 1 << 20
"""Groups made at a time: keeps each chunk of a string column within 32-bit offsets."""


@dataclass(frozen=True)
class GroupValues:
    """The values that group ids stand for, and the type they are to have."""

    values: pa.Array
    """Distinct values; at most one is NULL."""
    type: pa.DataType
    index: np.ndarray[Any, Any] | None = None
    """Which value each id stands for; None: id and value number are the same."""

    def take(self, ids: np.ndarray[Any, Any], *, encoded: bool) -> pa.ChunkedArray:
        """Return the values of `ids`, exactly of `type` (dictionary of it when `encoded`)."""
        import numpy as np
        import pyarrow as pa

        if self.index is not None:
            ids = self.index[ids]
        is_dictionary = pa.types.is_dictionary(self.type)
        if not encoded and not is_dictionary:
            chunks = [
                _cast(self.values.take(pa.array(ids[start : start + _SLICE])), self.type)
                for start in range(0, len(ids), _SLICE)
            ]
            return pa.chunked_array(chunks, type=self.type)
        values, mask = self.values, None
        if values.null_count:
            # NULL belongs in the codes: readers do not look for it among the entries.
            null_id = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
            values = pa.concat_arrays([values[:null_id], values[null_id + 1 :]])
            mask = ids == null_id
            ids = ids - (ids > null_id)
        codes = pa.array(ids.astype(np.int32), mask=mask)
        value_type = self.type.value_type if is_dictionary else self.type
        column = pa.DictionaryArray.from_arrays(codes, _cast(values, value_type))
        wanted = self.type if is_dictionary else column.type
        return pa.chunked_array([_cast(column, wanted)], type=wanted)


def _cast(array: pa.Array, type_: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if array.type == type_:
        return array
    try:
        return array.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Incompatible(f"group values of type {array.type} do not fit {type_}: {error}") from error


def decode_numbers(keys: np.ndarray[Any, Any], null_id: int | None, stored: pa.DataType) -> pa.Array:
    """Return the `stored` values of number keys; NULL at `null_id`."""
    import numpy as np
    import pyarrow as pa

    types = pa.types
    mask = None
    if null_id is not None:
        mask = np.zeros(len(keys), dtype=bool)
        mask[null_id] = True
    if types.is_boolean(stored):
        return pa.array(keys != 0, mask=mask)
    if types.is_float32(stored):
        return pa.array(keys.astype(np.uint32).view(np.float32), mask=mask, from_pandas=False)
    if types.is_float64(stored):
        return pa.array(keys.view(np.float64), mask=mask, from_pandas=False)
    if types.is_uint64(stored):
        return pa.array(keys, mask=mask)
    numbers = keys.view(np.int64)
    if types.is_decimal(stored):
        wide = np.empty((len(numbers), 2), dtype=np.int64)
        wide[:, 0] = numbers
        wide[:, 1] = numbers >> 63
        return _decimals(wide, mask, stored)
    if types.is_integer(stored):
        return pa.array(numbers, mask=mask)  # of any width: files may differ in it
    if stored.bit_width == 32:
        return pa.array(numbers.astype(np.int32), mask=mask).view(stored)
    return pa.array(numbers, mask=mask).view(stored)


def _decimals(wide: np.ndarray[Any, Any], mask: np.ndarray[Any, Any] | None, type_: pa.DataType) -> pa.Array:
    """Return decimals from their two's complement, two little-endian words each."""
    import numpy as np
    import pyarrow as pa

    validity = None if mask is None else pa.py_buffer(np.packbits(~mask, bitorder="little"))
    return pa.Array.from_buffers(type_, len(wide), [validity, pa.py_buffer(np.ascontiguousarray(wide))])


def decode_bytes(
    offsets: np.ndarray[Any, Any],
    data: np.ndarray[Any, Any],
    null_id: int | None,
    stored: pa.DataType,
    fixed_length: int,
    where: str,
) -> pa.Array:
    """Return the `stored` values of byte keys; NULL at `null_id`."""
    import numpy as np
    import pyarrow as pa

    count = len(offsets) - 1
    mask = None
    validity = None
    if null_id is not None:
        mask = np.zeros(count, dtype=bool)
        mask[null_id] = True
        validity = pa.py_buffer(np.packbits(~mask, bitorder="little"))
    if pa.types.is_decimal(stored) or pa.types.is_fixed_size_binary(stored):
        rows = np.zeros((count, fixed_length), dtype=np.uint8)
        present = np.ones(count, dtype=bool) if mask is None else ~mask
        rows[present] = data.reshape(-1, fixed_length)
        if pa.types.is_fixed_size_binary(stored):
            return pa.Array.from_buffers(stored, count, [validity, pa.py_buffer(rows)])
        wide = np.where(rows[:, :1] >= 0x80, np.uint8(0xFF), np.uint8(0)).repeat(16, axis=1)
        wide[:, :fixed_length] = rows[:, ::-1]  # the file has them big-endian
        return _decimals(wide, mask, stored)
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(data)]
    values = pa.Array.from_buffers(pa.large_binary(), count, buffers)
    if pa.types.is_binary(stored):
        return values
    try:
        return values.cast(pa.large_string())  # checks that it is UTF-8
    except pa.ArrowInvalid as error:
        raise CorruptionError(f"{where} holds strings that are not UTF-8: {error}", where, 0) from error


def dense_codes(column: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray[Any, Any], pa.Array]:
    """Return a code for each row, and the distinct values that the codes stand for.

    As grouping sees them: NULL is a value, every NaN is one value, -0.0 is 0.0.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    plain = plain_type(column.type)
    if types.is_nested(plain) or types.is_null(plain) or isinstance(plain, pa.BaseExtensionType):
        raise Incompatible(f"cannot group by values of type {column.type}")
    try:
        wide = column.cast(_wide_type(column.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Incompatible(f"cannot group by values of type {column.type}: {error}") from error
    if types.is_floating(plain):
        nan = pa.scalar(float("nan"), plain)
        wide = pc.if_else(pc.is_nan(wide), nan, pc.add(wide, pa.scalar(0.0, plain)))
    try:
        encoded = pc.dictionary_encode(wide, null_encoding="encode")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Incompatible(f"cannot group by values of type {column.type}: {error}") from error
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):  # no chunk at all
            encoded = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], wide.type))
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64), encoded.dictionary


@dataclass(frozen=True)
class JoinKeys:
    """The keys of a dimension as the fact column stores them."""

    rows: np.ndarray[Any, Any]
    """Row of the dimension for each key; rows whose key can match nothing are left out."""
    values: pa.Array
    """The keys, as values of the fact column."""
    numbers: np.ndarray[Any, Any] | None
    """Number keys, or None: `values` are strings or binary."""


def join_keys(column: pa.ChunkedArray, stored: pa.DataType) -> JoinKeys:
    """Turn a dimension's key column into keys of a fact column stored as `stored`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    plain = plain_type(column.type)
    wide = column.cast(_wide_type(column.type))
    if isinstance(wide, pa.ChunkedArray):
        wide = pa.concat_arrays(wide.chunks) if wide.num_chunks else pa.array([], wide.type)
    keep = wide.is_valid()
    mismatch = Incompatible(f"cannot join keys of type {column.type} to a column of type {stored}")
    if types.is_integer(plain) and types.is_integer(stored):
        if types.is_uint64(stored) and not types.is_uint64(plain):
            keep = pc.and_(keep, pc.greater_equal(wide, 0))
        elif types.is_uint64(plain) and not types.is_uint64(stored):
            keep = pc.and_(keep, pc.less_equal(wide, pa.scalar(2**63 - 1, pa.uint64())))
        values = wide.filter(keep).cast(pa.uint64() if types.is_uint64(stored) else pa.int64())
        numbers = values.to_numpy(zero_copy_only=False)
    elif types.is_boolean(plain) and types.is_boolean(stored):
        values = wide.filter(keep)
        numbers = values.to_numpy(zero_copy_only=False).astype(np.int64)
    elif types.is_date32(stored) and (types.is_date32(plain) or types.is_date64(plain)):
        values = wide.filter(keep).cast(pa.date32())
        numbers = values.view(pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64)
    elif types.is_timestamp(stored) and types.is_timestamp(plain):
        if stored.unit != plain.unit or bool(stored.tz) != bool(plain.tz):
            raise mismatch
        values = wide.filter(keep).view(stored)
        numbers = values.view(pa.int64()).to_numpy(zero_copy_only=False)
    elif (types.is_string(plain) and types.is_string(stored)) or (
        types.is_binary(plain) and types.is_binary(stored)
    ):
        values = wide.filter(keep)
        numbers = None
    else:
        raise mismatch
    rows = np.flatnonzero(keep.to_numpy(zero_copy_only=False))
    return JoinKeys(rows, values, None if numbers is None else np.ascontiguousarray(numbers).view(np.uint64))
