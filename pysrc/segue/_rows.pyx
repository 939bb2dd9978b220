# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The row-at-a-time path: Python values to one packed row, straight into the store.

Cython and not pybind11, because this is called once per event and argument casting would
dominate. The row layout is csrc/events/row_format.h; the core is reached through the C table
that _engine exports (csrc/bindings/row_api.h). The copy into log and memtable takes less time
than letting go of the GIL would, so it is kept for that, and released for whatever waits.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.datetime cimport (
    PyDate_Check, PyDateTime_Check, PyDateTime_CheckExact, date_day, date_month, date_year, datetime_hour,
    datetime_microsecond, datetime_minute, datetime_second, datetime_tzinfo, import_datetime,
)
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport isinf
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from libcpp.vector cimport vector

import datetime as _datetime
import decimal as _decimal
import operator as _operator

from segue import _engine
from segue.errors import InvalidError, SchemaError
from segue.event_values import shown

cdef extern from "bindings/row_api.h":
    ctypedef struct SegueRowApi:
        uint64_t (*try_append)(void* store, const uint8_t* row, size_t size) noexcept
        int (*append)(
            void* store, const uint8_t* row, size_t size, int acknowledge, uint64_t* seq, void** error
        ) noexcept nogil
        int (*wait)(void* store, uint64_t seq, void** error) noexcept nogil
        object (*raise_ "raise")(void* error)

cdef extern from "bindings/row_api.h" namespace "segue::bindings":
    cdef cppclass RowBuffer:
        void Start(size_t fixed) except +
        void Append(const char* bytes, size_t n) except +
        uint8_t* data() noexcept nogil
        size_t size() noexcept nogil

cdef extern from "Python.h":
    # Null with an exception set: it is replaced by one that names the column.
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) noexcept
    bint PyLong_CheckExact(object value)
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) noexcept
    void PyErr_Clear()
    ctypedef struct PyTupleObject:
        PyObject** ob_item
    ctypedef PyObject* (*PyCFunction)(PyObject*, PyObject*)
    ctypedef struct PyMethodDef:
        const char* ml_name
        PyCFunction ml_meth
        int ml_flags
        const char* ml_doc
    int METH_FASTCALL
    int METH_KEYWORDS
    object PyCFunction_New(PyMethodDef* definition, object self)

import_datetime()

cdef Py_ssize_t _MOST_BYTES = 1 << 30  # of one event

# TypeId of csrc/base/schema.h: persistent values.
cdef enum:
    BOOL = 1
    INT8 = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    UINT8 = 6
    UINT16 = 7
    UINT32 = 8
    UINT64 = 9
    FLOAT32 = 10
    FLOAT64 = 11
    DECIMAL128 = 12
    DATE32 = 13
    TIMESTAMP = 14
    STRING = 15
    BINARY = 16
    DICTIONARY = 17

cdef struct Slot:
    int type
    uint32_t offset
    int width
    bint required
    int unit

cdef int64_t[4] UNITS = [1, 1000, 1000000, 1000000000]
# 0001-01-01 and 10000-01-01 in s, ms and us; in nanoseconds 64 bits end long before.
cdef int64_t[3] YEAR_1 = [-62135596800, -62135596800000, -62135596800000000]
cdef int64_t[3] YEAR_10000 = [253402300800, 253402300800000, 253402300800000000]
_UNIT_NAMES = ("s", "ms", "us", "ns")


cdef int64_t days_from_civil(int64_t y, int64_t m, int64_t d) noexcept:
    # Days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant, "chrono-compatible
    # low-level date algorithms"); years of datetime are 1 to 9999, so nothing is negative.
    y -= m <= 2
    cdef int64_t era = y // 400
    cdef int64_t yoe = y - era * 400
    cdef int64_t doy = (153 * (m + (-3 if m > 2 else 9)) + 2) // 5 + d - 1
    cdef int64_t doe = yoe * 365 + yoe // 4 - yoe // 100 + doy
    return era * 146097 + doe - 719468


cdef class RowAppender:
    """Appends single events to one open event store.

    Calls may come from any thread; each builds its row on its own.
    """

    cdef object _handle
    cdef object _api_capsule
    cdef void* _store
    cdef SegueRowApi* _api
    cdef vector[Slot] _slots
    cdef uint32_t _fixed
    cdef bint _commits
    cdef tuple _names
    cdef tuple _types
    cdef dict _index
    cdef list _decimals
    cdef Py_ssize_t _n

    def __init__(self, store):
        self._handle = store.row_handle()
        self._api_capsule = _engine._row_api
        self._store = PyCapsule_GetPointer(self._handle, "segue._engine.row_store")
        self._api = <SegueRowApi*>PyCapsule_GetPointer(self._api_capsule, "segue._engine.row_api")
        self._fixed = store.row_fixed_size()
        self._commits = store.commits
        cdef Slot slot
        names = []
        types = []
        self._decimals = []
        self._slots.clear()
        for name, type_id, offset, width, required, unit, precision, scale, type_name in store.row_layout():
            slot.type = type_id
            slot.offset = offset
            slot.width = width
            slot.required = required
            slot.unit = unit
            self._slots.push_back(slot)
            names.append(name)
            types.append(type_name)
            self._decimals.append((precision, scale))
        self._names = tuple(names)
        self._types = tuple(types)
        self._index = {name: i for i, name in enumerate(names)}
        self._n = len(names)

    @property
    def append(self):
        """A function that appends one event, positional in schema order or by keyword; gives its sequence number.

        Called by the vector calling convention: no tuple and no dictionary is made for a call.
        """
        return PyCFunction_New(&APPEND, self)

    def append_unacknowledged(self, *args, **kwargs):
        """As append, but leave the wait for durability to the caller: ``wait`` with the number returned."""
        return self._append_values(args, kwargs, False, True)

    def try_append(self, *args, **kwargs):
        """As append_unacknowledged, but None, and nothing is done, where that would have to wait for anything."""
        return self._append_values(args, kwargs, False, False)

    def wait(self, uint64_t seq):
        """Wait until event number ``seq`` is as durable as the store promises."""
        if self._commits:
            self._wait(seq)

    cdef int _wait(self, uint64_t seq) except -1:
        cdef void* error = NULL
        cdef int failed
        with nogil:
            failed = self._api.wait(self._store, seq, &error)
        if failed:
            self._api.raise_(error)
        return 0

    cdef object _append_values(self, tuple args, dict kwargs, bint acknowledge, bint may_wait):
        cdef tuple values = args
        if kwargs:
            values = self._by_name(args, kwargs)
        elif len(args) != self._n:
            values = self._fill(args)
        return self._append_row((<PyTupleObject*>values).ob_item, acknowledge, may_wait)

    cdef object _append_row(self, PyObject** values, bint acknowledge, bint may_wait):
        cdef RowBuffer row
        row.Start(self._fixed)
        cdef Py_ssize_t c
        for c in range(self._n):
            self._put(c, <object>values[c], &row)
        cdef uint64_t seq = self._api.try_append(self._store, row.data(), row.size())
        cdef void* error = NULL
        cdef int failed
        if seq == 0 and not may_wait:
            return None
        if seq == 0:
            with nogil:
                failed = self._api.append(self._store, row.data(), row.size(), acknowledge, &seq, &error)
            if failed:
                self._api.raise_(error)
        elif acknowledge and self._commits:
            self._wait(seq)
        return seq

    cdef tuple _fill(self, tuple args):
        if len(args) > self._n:
            raise SchemaError(
                f"append() got {len(args)} values, but the table has {self._n} columns: {', '.join(self._names)}"
            )
        # Trailing columns may be left out when they take nulls; _put refuses the others by name.
        return args + (None,) * (self._n - len(args))

    cdef tuple _by_name(self, tuple args, dict kwargs):
        cdef list values = list(self._fill(args))
        for name, value in kwargs.items():
            c = self._index.get(name)
            if c is None:
                raise SchemaError(
                    f"there is no column {name!r}; the table has: {', '.join(self._names)}", name
                )
            if c < len(args):
                raise SchemaError(f"column {name!r} was given by position and by name", name)
            values[c] = value
        return tuple(values)

    cdef object _wrong(self, Py_ssize_t c, object value, str why):
        return SchemaError(
            f"column {self._names[c]!r} is {self._types[c]}: {shown(value)} ({type(value).__name__}) {why}",
            self._names[c],
        )

    cdef int64_t _integer(self, Py_ssize_t c, object value, int64_t low, int64_t high) except? -1:
        cdef int64_t number
        cdef int overflow = 0
        if PyLong_CheckExact(value):
            number = PyLong_AsLongLongAndOverflow(value, &overflow)
            if overflow or number < low or number > high:
                raise self._wrong(c, value, f"is out of range ({low} to {high})")
            return number
        if isinstance(value, bool):
            raise self._wrong(c, value, "is not an integer")
        try:
            number = _operator.index(value)
        except TypeError:
            raise self._wrong(c, value, "is not an integer") from None
        except OverflowError:
            raise self._wrong(c, value, f"is out of range ({low} to {high})") from None
        if number < low or number > high:
            raise self._wrong(c, value, f"is out of range ({low} to {high})")
        return number

    cdef int64_t _timestamp(self, Py_ssize_t c, object value, int unit) except? -1:
        cdef int64_t seconds
        cdef int64_t micros
        cdef int64_t nanos = 0
        cdef int64_t per
        if PyLong_CheckExact(value):
            return self._in_years(c, value, self._integer(c, value, INT64_MIN, INT64_MAX), unit)
        if PyDateTime_Check(value):
            if not PyDateTime_CheckExact(value):  # pandas' has nanoseconds, and a null that is a datetime, too
                if value != value:
                    raise self._wrong(c, value, "is null (NaT)")
                nanos = getattr(value, "nanosecond", 0)
                if nanos and unit != 3:
                    raise self._wrong(c, value, f"has a finer part than {_UNIT_NAMES[unit]}; round it first")
            if datetime_tzinfo(value) is not None:
                value = value.astimezone(_datetime.timezone.utc)
            seconds = days_from_civil(date_year(value), date_month(value), date_day(value)) * 86400
            seconds += datetime_hour(value) * 3600 + datetime_minute(value) * 60 + datetime_second(value)
            micros = datetime_microsecond(value)
            if unit == 2:
                return seconds * 1000000 + micros
            if unit == 3:
                # Nanoseconds reach from 1677-09-21 to 2262-04-11 only.
                if seconds < -9223372036 or seconds > 9223372035:
                    raise self._wrong(c, value, "is out of range for nanoseconds")
                return seconds * 1000000000 + micros * 1000 + nanos
            per = 1000000 // UNITS[unit]
            if micros % per:
                raise self._wrong(c, value, f"has a finer part than {_UNIT_NAMES[unit]}; round it first")
            return seconds * UNITS[unit] + micros // per
        if type(value).__name__ == "datetime64":
            return self._datetime64(c, value, unit)
        if PyDate_Check(value):
            raise self._wrong(c, value, "is a date; give a datetime")
        if not hasattr(value, "__index__"):
            raise self._wrong(c, value, "is not a time; give a datetime, a numpy.datetime64 or an int")
        return self._in_years(c, value, self._integer(c, value, INT64_MIN, INT64_MAX), unit)

    cdef int64_t _in_years(self, Py_ssize_t c, object value, int64_t number, int unit) except? -1:
        # As AppendArrow does for batches, and for the same reason.
        if unit != 3 and (number < YEAR_1[unit] or number >= YEAR_10000[unit]):
            raise self._wrong(c, value, f"is outside the years 1 to 9999 as {self._types[c]}; check its unit")
        return number

    cdef int64_t _datetime64(self, Py_ssize_t c, object value, int unit) except? -1:
        target = f"datetime64[{_UNIT_NAMES[unit]}]"
        converted = value.astype(target)
        number = converted.astype("int64").item()
        if number == INT64_MIN:
            raise self._wrong(c, value, "is null (NaT)")
        # numpy truncates and wraps silently: convert back to see.
        if converted.astype(value.dtype) != value:
            raise self._wrong(c, value, f"does not convert exactly to {_UNIT_NAMES[unit]}")
        return self._in_years(c, value, number, unit)

    cdef int _decimal(self, Py_ssize_t c, object value, char* slot) except -1:
        precision, scale = self._decimals[c]
        if isinstance(value, bool) or not isinstance(value, (int, _decimal.Decimal)):
            raise self._wrong(c, value, "is not a Decimal or an int")
        exact = _decimal.Decimal(value)
        if not exact.is_finite():
            raise self._wrong(c, value, "is not finite")
        sign, digits, exponent = exact.as_tuple()
        # By the places of the digits: an exponent may stand for a number of a billion of them.
        shift = exponent + scale
        unscaled = 0
        if exact:
            if shift < 0:
                if -shift >= len(digits) or any(digits[shift:]):
                    raise self._wrong(c, value, f"has more than {scale} digits after the point")
                digits = digits[:shift]
                shift = 0
            if exact.adjusted() + scale >= precision:
                raise self._wrong(c, value, f"has more than {precision} digits")
            unscaled = int("".join(map(str, digits))) * 10 ** shift
        cdef bytes raw = int(-unscaled if sign else unscaled).to_bytes(16, "little", signed=True)
        memcpy(slot, PyBytes_AS_STRING(raw), 16)
        return 0

    cdef int _bytes(self, const char* data, Py_ssize_t size, uint32_t offset, RowBuffer* row) except -1:
        if size > _MOST_BYTES - <Py_ssize_t>row.size():
            raise InvalidError(f"an event of more than {_MOST_BYTES} bytes; split its strings over several events")
        cdef uint32_t start = <uint32_t>row.size()
        cdef uint32_t length = <uint32_t>size
        row.Append(data, <size_t>size)
        cdef uint8_t* slot = row.data() + offset
        memcpy(slot, &start, 4)
        memcpy(slot + 4, &length, 4)
        return 0

    cdef int _put(self, Py_ssize_t c, object value, RowBuffer* row) except -1:
        cdef Slot slot = self._slots[c]
        cdef uint8_t* bits = row.data()
        cdef char* at = <char*>bits + slot.offset
        cdef int64_t number
        cdef uint64_t unsigned
        cdef double real
        cdef float single
        cdef Py_ssize_t size = 0
        cdef const char* text
        if value is None:
            if slot.required:
                raise SchemaError(
                    f"column {self._names[c]!r} ({self._types[c]}) must not be null; give it a value", self._names[c]
                )
            bits[c >> 3] |= 1 << (c & 7)
            return 0
        if slot.type == INT64:
            number = self._integer(c, value, INT64_MIN, INT64_MAX)
            memcpy(at, &number, 8)
        elif slot.type == INT32:
            number = self._integer(c, value, -2147483648, 2147483647)
            memcpy(at, &number, 4)
        elif slot.type == TIMESTAMP:
            number = self._timestamp(c, value, slot.unit)
            memcpy(at, &number, 8)
        elif slot.type == STRING or slot.type == DICTIONARY:
            if not isinstance(value, str):
                raise self._wrong(c, value, "is not a str")
            text = PyUnicode_AsUTF8AndSize(value, &size)
            if text == NULL:
                PyErr_Clear()
                raise self._wrong(c, value, "is not valid Unicode (it has a lone surrogate)")
            self._bytes(text, size, slot.offset, row)
        elif slot.type == BINARY:
            if not isinstance(value, (bytes, bytearray, memoryview)):
                raise self._wrong(c, value, "is not bytes")
            value = bytes(value)
            self._bytes(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), slot.offset, row)
        elif slot.type == FLOAT64 or slot.type == FLOAT32:
            if isinstance(value, (str, bool)):
                raise self._wrong(c, value, "is not a number")
            try:
                real = value
            except TypeError:
                raise self._wrong(c, value, "is not a number") from None
            except OverflowError:
                raise self._wrong(c, value, "is out of range") from None
            if slot.type == FLOAT64:
                memcpy(at, &real, 8)
            else:
                single = <float>real
                if isinf(single) and not isinf(real):
                    raise self._wrong(c, value, "is out of range for 32 bits")
                memcpy(at, &single, 4)
                real = single
            if isinstance(value, int) and value != real:
                raise self._wrong(c, value, "has more digits than a float holds; give a float to have it rounded")
        elif slot.type == BOOL:
            if value is True:
                at[0] = 1
            elif value is False:
                at[0] = 0
            elif type(value).__name__ in ("bool", "bool_"):  # numpy's
                at[0] = 1 if value else 0
            else:
                raise self._wrong(c, value, "is not a bool")
        elif slot.type == INT16:
            number = self._integer(c, value, -32768, 32767)
            memcpy(at, &number, 2)
        elif slot.type == INT8:
            number = self._integer(c, value, -128, 127)
            memcpy(at, &number, 1)
        elif slot.type == UINT8:
            number = self._integer(c, value, 0, 255)
            memcpy(at, &number, 1)
        elif slot.type == UINT16:
            number = self._integer(c, value, 0, 65535)
            memcpy(at, &number, 2)
        elif slot.type == UINT32:
            number = self._integer(c, value, 0, 4294967295)
            memcpy(at, &number, 4)
        elif slot.type == UINT64:
            if isinstance(value, bool):
                raise self._wrong(c, value, "is not an integer")
            try:
                unsigned = _operator.index(value)
            except TypeError:
                raise self._wrong(c, value, "is not an integer") from None
            except OverflowError:
                raise self._wrong(c, value, "is out of range (0 to 18446744073709551615)") from None
            memcpy(at, &unsigned, 8)
        elif slot.type == DATE32:
            if PyDateTime_Check(value):
                raise self._wrong(c, value, "is a datetime; give a date")
            if PyDate_Check(value):
                number = days_from_civil(date_year(value), date_month(value), date_day(value))
            else:
                number = self._integer(c, value, -2147483648, 2147483647)
            memcpy(at, &number, 4)
        elif slot.type == DECIMAL128:
            self._decimal(c, value, at)
        else:
            raise self._wrong(c, value, "cannot be appended by row; use append_batch")
        return 0


cdef object append_vector(RowAppender self, PyObject** args, Py_ssize_t n, PyObject* names):
    # The signature of METH_FASTCALL | METH_KEYWORDS: values by position, then those of `names`, null when none.
    if names == NULL and n == self._n:
        return self._append_row(args, True, True)
    cdef Py_ssize_t i
    cdef tuple by_position = tuple([<object>args[i] for i in range(n)])
    cdef dict by_name = {}
    if names != NULL:
        by_name = {(<tuple>names)[i]: <object>args[n + i] for i in range(len(<tuple>names))}
    return self._append_values(by_position, by_name, True, True)


cdef PyMethodDef APPEND
APPEND.ml_name = "append"
APPEND.ml_meth = <PyCFunction><void*>append_vector
APPEND.ml_flags = METH_FASTCALL | METH_KEYWORDS
APPEND.ml_doc = (
    b"append(*values, **named)\n--\n\n"
    b"Append one event, positional in schema order or by keyword, and return its sequence number."
)
