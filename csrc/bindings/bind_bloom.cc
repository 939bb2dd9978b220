// The bloom filter as a Python class.
#include <pybind11/numpy.h>

#include <cstring>
#include <functional>

#include "base/arrow_array.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "events/bloom.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

// Rows between two looks for Ctrl-C.
constexpr size_t kChunk = 1 << 20;

// Hashes of keys, and which of them are there (empty: all; 0 for null).
struct Hashes {
  std::vector<uint64_t> values;
  std::vector<uint8_t> valid;

  void Push(uint64_t hash, bool is_valid) {
    if (!is_valid && valid.empty()) valid.assign(values.size(), 1);
    values.push_back(hash);
    if (!valid.empty()) valid.push_back(is_valid ? 1 : 0);
  }
};

template <typename T>
void HashInts(const ArrayView& view, Hashes* out) {
  for (int64_t i = 0; i < view.length; ++i) {
    const bool null = view.IsNull(i);
    out->Push(null ? 0 : HashU64(static_cast<uint64_t>(static_cast<int64_t>(view.Values<T>()[i]))), !null);
  }
}

Status HashView(const ArrayView& view, Hashes* out) {
  switch (view.type.id) {
    case TypeId::kInt8:
      HashInts<int8_t>(view, out);
      return Status();
    case TypeId::kInt16:
      HashInts<int16_t>(view, out);
      return Status();
    case TypeId::kInt32:
    case TypeId::kDate32:
      HashInts<int32_t>(view, out);
      return Status();
    case TypeId::kInt64:
    case TypeId::kTimestamp:
      HashInts<int64_t>(view, out);
      return Status();
    case TypeId::kUInt8:
      HashInts<uint8_t>(view, out);
      return Status();
    case TypeId::kUInt16:
      HashInts<uint16_t>(view, out);
      return Status();
    case TypeId::kUInt32:
      HashInts<uint32_t>(view, out);
      return Status();
    case TypeId::kUInt64:
      HashInts<uint64_t>(view, out);
      return Status();
    case TypeId::kString:
    case TypeId::kBinary:
      for (int64_t i = 0; i < view.length; ++i) {
        const bool null = view.IsNull(i);
        out->Push(null ? 0 : HashBytes(view.StringAt(i)), !null);
      }
      return Status();
    case TypeId::kDictionary: {
      Hashes entries;
      SEGUE_RETURN_IF_ERROR(HashView(*view.dictionary, &entries));
      for (int64_t i = 0; i < view.length; ++i) {
        const auto index = view.IsNull(i) ? 0 : static_cast<size_t>(view.EntryAt(i));
        const bool null = view.IsNull(i) || (!entries.valid.empty() && entries.valid[index] == 0);
        out->Push(null ? 0 : entries.values[index], !null);
      }
      return Status();
    }
    default:
      return Status::Unsupported("bloom filter keys are integers, dates, timestamps, strings or binary, not " +
                                 TypeName(view.type));
  }
}

// One Arrow array of any type, seen as the only column of a table.
Status HashArrow(const ArrowSchema& type, const ArrowArray& array, Hashes* out) {
  ArrowSchema child = type;
  if (child.name == nullptr) child.name = "keys";
  ArrowSchema* children[1] = {&child};
  ArrowSchema table{};
  table.format = "+s";
  table.n_children = 1;
  table.children = children;
  SEGUE_ASSIGN_OR_RETURN(const Schema schema, SchemaFromArrow(table));
  SEGUE_ASSIGN_OR_RETURN(const ArrayView view, MakeView(schema.fields[0], child, array));
  return HashView(view, out);
}

void HashStream(const py::object& keys, Hashes* out) {
  const py::object capsule = keys.attr("__arrow_c_stream__")();
  ArrowArrayStream* stream = StreamFromCapsule(capsule);
  struct Release {
    ArrowSchema schema{};
    ArrowArray array{};
    ~Release() {
      if (array.release != nullptr) array.release(&array);
      if (schema.release != nullptr) schema.release(&schema);
    }
  } held;
  const auto check = [&](int code) {
    if (code == 0) return;
    const char* error = stream->get_last_error(stream);
    ThrowIfError(Status::Invalid(std::string("the Arrow stream failed: ") + (error == nullptr ? "" : error)));
  };
  check(stream->get_schema(stream, &held.schema));
  while (true) {
    check(stream->get_next(stream, &held.array));
    if (held.array.release == nullptr) return;
    ThrowIfError(HashArrow(held.schema, held.array, out));
    held.array.release(&held.array);
    held.array.release = nullptr;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

template <typename T>
void HashNumpy(const py::array& keys, Hashes* out) {
  const auto array = py::array_t<T, py::array::c_style | py::array::forcecast>(keys);
  const T* values = array.data();
  const auto n = static_cast<size_t>(array.size());
  out->values.resize(n);
  const GilRelease unlocked;
  for (size_t i = 0; i < n; ++i) {
    out->values[i] = HashU64(static_cast<uint64_t>(static_cast<int64_t>(values[i])));
  }
}

uint64_t HashScalar(const py::handle& key) {
  if (py::isinstance<py::str>(key)) {
    Py_ssize_t size = 0;
    const char* bytes = PyUnicode_AsUTF8AndSize(key.ptr(), &size);
    if (bytes == nullptr) throw py::error_already_set();
    return HashBytes(std::string_view(bytes, static_cast<size_t>(size)));
  }
  if (py::isinstance<py::bytes>(key)) return HashBytes(py::reinterpret_borrow<py::bytes>(key));
  if (PyIndex_Check(key.ptr()) != 0) {
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(key.ptr()));
    if (!number) throw py::error_already_set();
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow == 0) return HashU64(static_cast<uint64_t>(value));
    const unsigned long long large = overflow > 0 ? PyLong_AsUnsignedLongLong(number.ptr()) : 0;
    if (overflow < 0 || PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      ThrowIfError(Status::Invalid("key " + std::string(py::str(key)) + " does not fit 64 bits"));
    }
    return HashU64(large);
  }
  throw py::type_error("bloom filter keys are integers, strings or bytes, not " +
                       std::string(py::str(py::type::of(key).attr("__name__"))));
}

Hashes HashKeys(const py::object& keys) {
  Hashes out;
  if (py::hasattr(keys, "__arrow_c_array__")) {
    const auto pair = keys.attr("__arrow_c_array__")().cast<py::tuple>();
    const ArrowSchema* schema = SchemaFromCapsule(pair[0]);
    const ArrowArray* array = ArrayFromCapsule(pair[1]);
    Status status;
    {
      const GilRelease unlocked;
      status = HashArrow(*schema, *array, &out);
    }
    ThrowIfError(status);
  } else if (py::hasattr(keys, "__arrow_c_stream__")) {
    HashStream(keys, &out);
  } else if (py::isinstance<py::array>(keys) && (py::reinterpret_borrow<py::array>(keys).dtype().kind() == 'i')) {
    HashNumpy<int64_t>(py::reinterpret_borrow<py::array>(keys), &out);
  } else if (py::isinstance<py::array>(keys) && (py::reinterpret_borrow<py::array>(keys).dtype().kind() == 'u')) {
    HashNumpy<uint64_t>(py::reinterpret_borrow<py::array>(keys), &out);
  } else {
    if (py::isinstance<py::str>(keys) || py::isinstance<py::bytes>(keys)) {
      throw py::type_error("expected a sequence of keys; for one key use `key in filter` or [key]");
    }
    for (const py::handle key : py::iter(keys)) {
      if (key.is_none()) {
        out.Push(0, false);
      } else {
        out.Push(HashScalar(key), true);
      }
    }
  }
  return out;
}

using HashArray = py::array_t<uint64_t, py::array::c_style>;

Hashes GivenHashes(const HashArray& array) {
  Hashes out;
  out.values.assign(array.data(), array.data() + array.size());
  return out;
}

// Calls f(begin, n) for pieces of all rows without the GIL, looking for Ctrl-C in between.
void InChunks(size_t total, const std::function<void(size_t, size_t)>& f) {
  for (size_t begin = 0; begin < total; begin += kChunk) {
    {
      const GilRelease unlocked;
      f(begin, std::min(kChunk, total - begin));
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

void AddHashes(BloomFilter* filter, Hashes hashes) {
  if (!hashes.valid.empty()) {
    size_t kept = 0;
    for (size_t i = 0; i < hashes.values.size(); ++i) {
      if (hashes.valid[i] != 0) hashes.values[kept++] = hashes.values[i];
    }
    hashes.values.resize(kept);
  }
  InChunks(hashes.values.size(), [&](size_t begin, size_t n) { filter->AddMany(hashes.values.data() + begin, n); });
}

py::array_t<bool> Probe(const BloomFilter& filter, const Hashes& hashes) {
  py::array_t<bool> found(static_cast<py::ssize_t>(hashes.values.size()));
  static_assert(sizeof(bool) == 1);
  auto* out = reinterpret_cast<uint8_t*>(found.mutable_data());
  InChunks(hashes.values.size(), [&](size_t begin, size_t n) {
    filter.MayContainMany(hashes.values.data() + begin, n, out + begin);
    for (size_t i = begin; !hashes.valid.empty() && i < begin + n; ++i) out[i] = out[i] & hashes.valid[i];
  });
  return found;
}

BloomFilter FromBytes(const py::bytes& data) {
  const auto bytes = static_cast<std::string_view>(data);
  if (bytes.size() < 4 || Crc32c(bytes.data(), bytes.size() - 4) != LoadAs<uint32_t>(bytes.data() + bytes.size() - 4)) {
    ThrowIfError(Status::Corruption("", 0, "these are not the bytes of a bloom filter: the checksum differs"));
  }
  return Unwrap(BloomFilter::Parse(bytes.substr(0, bytes.size() - 4)));
}

}  // namespace

void BindBloom(py::module_& m) {
  py::class_<BloomFilter>(m, "BloomFilter", R"(A set of keys that answers "certainly not" or "probably".

Cache-line blocked: a probe touches 64 bytes. At 10 bits a key about 1 % of the
keys that were never added are taken for present; none that was added is missed.

Keys are integers, dates and timestamps (by their integer), strings or binary,
given as a numpy array of integers, an Arrow array or an iterable. The same
number is the same key whatever its width. Nulls are never contained.

Parameters
----------
capacity
    Distinct keys expected. More raise the rate of false positives.
bits_per_key
    Memory a key.

Examples
--------
>>> from segue.kernels import BloomFilter
>>> users = BloomFilter(1000)
>>> users.add(["ann", "bob"])
>>> users.contains(["bob", "eve"]).tolist()
[True, False]
>>> "ann" in users
True
)")
      .def(py::init([](uint64_t capacity, double bits_per_key) {
             if (!(bits_per_key > 0) || bits_per_key > 1024) {
               ThrowIfError(Status::Invalid("bits_per_key is " + std::to_string(bits_per_key) + "; use 1 to 1024"));
             }
             if (static_cast<double>(capacity) * bits_per_key / 8 > 2e11) {
               ThrowIfError(Status::Memory("a bloom filter for " + std::to_string(capacity) + " keys is too large"));
             }
             return BloomFilter(capacity, bits_per_key);
           }),
           py::arg("capacity"), py::arg("bits_per_key") = 10.0)
      .def(
          "add", [](BloomFilter& self, const py::object& keys) { AddHashes(&self, HashKeys(keys)); }, py::arg("keys"),
          "Add keys.")
      .def(
          "contains", [](const BloomFilter& self, const py::object& keys) { return Probe(self, HashKeys(keys)); },
          py::arg("keys"), "Whether each key is probably contained, as a numpy array of bool.")
      .def(
          "add_hashes", [](BloomFilter& self, const HashArray& hashes) { AddHashes(&self, GivenHashes(hashes)); },
          py::arg("hashes"), "Add keys by 64-bit hashes of your own, whose bits must all be well mixed.")
      .def(
          "contains_hashes",
          [](const BloomFilter& self, const HashArray& hashes) { return Probe(self, GivenHashes(hashes)); },
          py::arg("hashes"), "As `contains`, by 64-bit hashes of your own.")
      .def("__contains__", [](const BloomFilter& self,
                              const py::object& key) { return !key.is_none() && self.MayContain(HashScalar(key)); })
      .def_property_readonly("size", &BloomFilter::added, "How many keys were added, repeated ones included.")
      .def("__len__", [](const BloomFilter& self) { return self.added(); })
      .def_property_readonly("nbytes", &BloomFilter::bytes, "Memory of the filter in bytes.")
      .def_property_readonly("false_positive_rate", &BloomFilter::FalsePositiveRate,
                             "The chance that a key never added is taken for present, from the bits now set.")
      .def(
          "to_bytes",
          [](const BloomFilter& self) {
            std::string out;
            {
              const GilRelease unlocked;
              self.Serialize(&out);
              PutFixed<uint32_t>(&out, Crc32c(out.data(), out.size()));
            }
            return py::bytes(out);
          },
          "The filter as bytes with a checksum, the same on every machine.")
      .def_static("from_bytes", &FromBytes, py::arg("data"), "The filter that `to_bytes` saved.")
      .def("__repr__", [](const BloomFilter& self) {
        return "BloomFilter(" + std::to_string(self.added()) + " keys added, " + std::to_string(self.bytes()) +
               " bytes, false positives " + std::to_string(self.FalsePositiveRate() * 100) + " %)";
      });
}

}  // namespace segue::bindings
