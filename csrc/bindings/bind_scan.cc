// Act 3: the columnar scan. pysrc/segue/scan.py drives it.
#include <pybind11/numpy.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/arrow_array.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "scan/arrow_keys.h"
#include "scan/parquet_footer.h"
#include "scan/scanner.h"

namespace segue::bindings {

void BindScanKernels(pybind11::module_& m);  // bind_scan_kernels.cc: seams for the test suite

namespace py = pybind11;
using namespace segue::scan;  // NOLINT: one act, one binding file

namespace {

// An array that owns `values`.
template <typename T>
py::array_t<T> ToArray(std::vector<T> values) {
  auto held = std::make_unique<std::vector<T>>(std::move(values));
  const py::ssize_t size = static_cast<py::ssize_t>(held->size());
  const T* data = held->data();
  py::capsule owner(held.get(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  held.release();
  return py::array_t<T>(size, data, owner);
}

template <typename T>
std::vector<T> ToVector(const py::array_t<T, py::array::c_style | py::array::forcecast>& values) {
  return std::vector<T>(values.data(), values.data() + values.size());
}

// Page bodies go to pyarrow's codecs, one object per thread and codec: they are
// not thread-safe, and release the GIL while they work.
class PyDecompressor : public Decompressor {
 public:
  explicit PyDecompressor(size_t slots) : codecs_(slots), held_(slots) {}

  void SetCodec(size_t slot, py::object codec) { codecs_[slot] = std::move(codec); }

  Result<std::string_view> Decompress(size_t slot, std::string_view input, size_t size) override {
    const GilAcquire gil;
    try {
      const auto view = py::memoryview::from_memory(input.data(), static_cast<py::ssize_t>(input.size()));
      py::object buffer = codecs_[slot].attr("decompress")(view, size);
      const auto address = buffer.attr("address").cast<uintptr_t>();
      const auto length = buffer.attr("size").cast<size_t>();
      held_[slot] = std::move(buffer);
      return std::string_view(reinterpret_cast<const char*>(address), length);
    } catch (const py::error_already_set& error) {
      // A codec says of damaged input OSError or ArrowInvalid; the caller adds path and offset.
      if (error.matches(PyExc_MemoryError)) return Status::Memory(error.what());
      return Status::Invalid(error.what());
    }
  }

 private:
  std::vector<py::object> codecs_;
  std::vector<py::object> held_;  // the inflated pages, by slot
};

struct ScanState {
  ScanState(const ScanKernels& kernels, const std::vector<KeyKind>& kinds, const ScanLimits& limits)
      : scan(kernels, kinds, limits) {}

  GroupScan scan;
  std::atomic<int> counting{0};
  std::atomic<bool> finished{false};
};

// Counts as a running call while it lives.
class Counting {
 public:
  explicit Counting(ScanState* state) : state_(state) {
    if (state_->finished) ThrowIfError(Status::Closed("this scan is finished; start another"));
    ++state_->counting;
  }
  ~Counting() { --state_->counting; }
  Counting(const Counting&) = delete;
  Counting& operator=(const Counting&) = delete;

 private:
  ScanState* state_;
};

class PyScanWorker {
 public:
  explicit PyScanWorker(std::shared_ptr<ScanState> state)
      : state_(std::move(state)), worker_(state_->scan.NewWorker()), decompressor_(state_->scan.columns()) {}

  // columns: per column an int (one id for all rows), or
  // (offset, size, num_values, uncompressed_size, type, fixed_length, nullable, codec or None).
  void Count(const std::string& path, int64_t rows, const py::object& data, const py::list& columns) {
    Counting counting(state_.get());
    py::buffer_info bytes;  // keeps the mapping from being closed
    std::string_view file;
    if (!data.is_none()) {
      bytes = py::buffer(data).request();
      file = {static_cast<const char*>(bytes.ptr), static_cast<size_t>(bytes.size * bytes.itemsize)};
    }
    std::vector<RowGroupColumn> group(columns.size());
    for (size_t c = 0; c < columns.size(); ++c) {
      const py::handle given = columns[c];
      if (py::isinstance<py::int_>(given)) {
        group[c].constant = true;
        group[c].constant_id = given.cast<uint32_t>();
        continue;
      }
      const auto fields = py::reinterpret_borrow<py::tuple>(given);
      ColumnChunk& chunk = group[c].chunk;
      chunk.offset = fields[0].cast<int64_t>();
      const auto size = fields[1].cast<int64_t>();
      if (chunk.offset < 0 || size < 0 || static_cast<uint64_t>(chunk.offset) > file.size() ||
          static_cast<uint64_t>(size) > file.size() - static_cast<uint64_t>(chunk.offset)) {
        ThrowIfError(Status::Corruption(
            path, chunk.offset, "damaged Parquet footer of " + path + ": a column chunk reaches past the file"));
      }
      chunk.bytes = file.substr(static_cast<size_t>(chunk.offset), static_cast<size_t>(size));
      chunk.num_values = fields[2].cast<int64_t>();
      chunk.uncompressed_size = fields[3].cast<int64_t>();
      const int type = fields[4].cast<int>();
      if (type < 0 || type >= kPhysicalTypes) ThrowIfError(Status::Invalid("unknown physical type"));
      chunk.type = static_cast<PhysicalType>(type);
      chunk.fixed_length = fields[5].cast<int32_t>();
      chunk.nullable = fields[6].cast<bool>();
      if (c < state_->scan.columns() && !fields[7].is_none()) {
        decompressor_.SetCodec(c, fields[7]);
        chunk.decompressor = &decompressor_;
      }
    }
    Status status;
    {
      const GilRelease nogil;
      status = worker_->CountRowGroup(path, rows, group);
    }
    ThrowIfError(status);
  }

  // Counts the columns `indices` of an Arrow stream; -> rows.
  int64_t CountStream(const py::object& capsule, const std::vector<size_t>& indices) {
    Counting counting(state_.get());
    if (indices.size() != state_->scan.columns()) {
      ThrowIfError(Status::Invalid("the stream's columns do not fit the scan"));
    }
    StreamReader stream = Unwrap(StreamReader::Make(StreamFromCapsule(capsule)));
    for (size_t c = 0; c < indices.size(); ++c) {
      const Schema& schema = stream.schema();
      if (indices[c] >= schema.fields.size() ||
          KeyKindOf(schema.fields[indices[c]].type) != state_->scan.dictionary(c)->kind()) {
        ThrowIfError(Status::Invalid("the stream's columns do not fit the scan"));
      }
    }
    std::vector<std::vector<uint32_t>> ids(indices.size());
    std::vector<const uint32_t*> pointers(indices.size());
    int64_t rows = 0;
    while (true) {
      bool more = true;
      Status status;
      {
        const GilRelease nogil;
        status = [&]() -> Status {
          SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> batch, stream.Next());
          more = batch != nullptr;
          if (!more) return {};
          for (size_t c = 0; c < indices.size(); ++c) {
            SEGUE_RETURN_IF_ERROR(MapArrowColumn(batch->columns()[indices[c]], state_->scan.dictionary(c), &ids[c]));
            pointers[c] = ids[c].data();
          }
          rows += batch->rows();
          return worker_->CountIds(pointers, static_cast<size_t>(batch->rows()));
        }();
      }
      ThrowIfError(status);
      if (!more) return rows;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
  }

 private:
  std::shared_ptr<ScanState> state_;
  ScanWorker* worker_;
  PyDecompressor decompressor_;
};

KeyKind KindOfName(const std::string& name) {
  if (name == "number") return KeyKind::kNumber;
  if (name == "bytes") return KeyKind::kBytes;
  if (name == "external") return KeyKind::kExternal;
  ThrowIfError(Status::Invalid("unknown key kind '" + name + "'; use number, bytes or external"));
  return KeyKind::kNumber;
}

class PyGroupScan {
 public:
  PyGroupScan(const std::vector<std::string>& kinds, uint64_t expected_rows, size_t workers, size_t dense_bytes,
              size_t memory_bytes) {
    std::vector<KeyKind> columns;
    for (const std::string& kind : kinds) columns.push_back(KindOfName(kind));
    ScanLimits limits;
    limits.expected_rows = expected_rows;
    limits.workers = workers;
    limits.dense_bytes = dense_bytes;
    limits.memory_bytes = memory_bytes;
    state_ = std::make_shared<ScanState>(*Unwrap(ActiveScanKernels()), columns, limits);
  }

  const char* isa() const { return IsaName(state_->scan.kernels().isa); }
  void Cancel() { state_->scan.Cancel(); }

  void SeedNumbers(size_t column, const py::array_t<uint64_t, py::array::c_style | py::array::forcecast>& keys,
                   const py::array_t<uint32_t, py::array::c_style | py::array::forcecast>& fold, uint32_t groups) {
    ValueDictionary* dictionary = Dictionary(column);
    std::vector<uint32_t> ids = ToVector<uint32_t>(fold);
    Status status;
    {
      const GilRelease nogil;
      status = dictionary->SeedNumbers(keys.data(), static_cast<size_t>(keys.size()), std::move(ids), groups);
    }
    ThrowIfError(status);
  }

  // `capsule`: an Arrow stream of one string or binary column without nulls.
  void SeedBytes(size_t column, const py::object& capsule,
                 const py::array_t<uint32_t, py::array::c_style | py::array::forcecast>& fold, uint32_t groups) {
    ValueDictionary* dictionary = Dictionary(column);
    StreamReader stream = Unwrap(StreamReader::Make(StreamFromCapsule(capsule)));
    std::vector<uint32_t> ids = ToVector<uint32_t>(fold);
    Status status;
    {
      const GilRelease nogil;
      status = [&]() -> Status {
        std::vector<std::unique_ptr<BatchReader>> batches;
        std::vector<std::string_view> keys;
        while (true) {
          SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> batch, stream.Next());
          if (batch == nullptr) break;
          if (batch->columns().size() != 1 || !IsVariable(batch->columns()[0].type.id)) {
            return Status::Invalid("join keys are to be one column of strings or binary");
          }
          const ArrayView& view = batch->columns()[0];
          for (int64_t i = 0; i < view.length; ++i) {
            if (view.IsNull(i)) return Status::Invalid("a join key is NULL");
            keys.push_back(view.StringAt(i));
          }
          batches.push_back(std::move(batch));  // the keys point into it
        }
        return dictionary->SeedBytes(keys, std::move(ids), groups);
      }();
    }
    ThrowIfError(status);
  }

  void SetExternal(size_t column, uint32_t groups) { Dictionary(column)->SetExternal(groups); }
  uint32_t NullId(size_t column) { return Unwrap(Dictionary(column)->NullId()); }

  std::unique_ptr<PyScanWorker> Worker() {
    if (state_->finished) ThrowIfError(Status::Closed("this scan is finished; start another"));
    return std::make_unique<PyScanWorker>(state_);
  }

  // -> (list of uint32 ids per column, int64 counts)
  py::tuple Finish() {
    if (state_->counting != 0) ThrowIfError(Status::Invalid("a worker is still counting"));
    if (state_->finished.exchange(true)) ThrowIfError(Status::Closed("this scan is finished; start another"));
    Result<GroupCounts> result = [&] {
      const GilRelease nogil;
      return state_->scan.Finish();
    }();
    GroupCounts counts = Unwrap(std::move(result));
    py::list ids;
    for (std::vector<uint32_t>& column : counts.ids) ids.append(ToArray(std::move(column)));
    return py::make_tuple(ids, ToArray(std::move(counts.counts)));
  }

  // The values by id; what stands at null_id means nothing.
  py::array_t<uint64_t> Numbers(size_t column) { return ToArray(Dictionary(column)->numbers()); }

  // -> (int64 offsets, bytes)
  py::tuple Strings(size_t column) {
    const std::vector<std::string_view> values = Dictionary(column)->strings();
    std::vector<int64_t> offsets;
    offsets.reserve(values.size() + 1);
    offsets.push_back(0);
    for (const std::string_view value : values) offsets.push_back(offsets.back() + static_cast<int64_t>(value.size()));
    std::vector<uint8_t> bytes;
    bytes.reserve(static_cast<size_t>(offsets.back()));
    for (const std::string_view value : values) bytes.insert(bytes.end(), value.begin(), value.end());
    return py::make_tuple(ToArray(std::move(offsets)), ToArray(std::move(bytes)));
  }

  py::object ValueNullId(size_t column) {
    const uint32_t id = Dictionary(column)->null_id();
    return id == kDropped ? py::object(py::none()) : py::object(py::int_(id));
  }

 private:
  ValueDictionary* Dictionary(size_t column) {
    if (column >= state_->scan.columns()) ThrowIfError(Status::Invalid("no such group column"));
    return state_->scan.dictionary(column);
  }

  std::shared_ptr<ScanState> state_;
};

class PyParquetFooter {
 public:
  PyParquetFooter(const py::bytes& data, const std::string& path, int64_t offset)
      : groups_(Unwrap(ParseFooter(std::string_view(data), path, offset))) {}

  std::vector<int64_t> Rows() const {
    std::vector<int64_t> rows;
    for (const RowGroupMetadata& group : groups_) rows.push_back(group.rows);
    return rows;
  }
  size_t leaves() const { return groups_.empty() ? 0 : groups_.front().chunks.size(); }

  py::list Chunks(size_t leaf) const {
    py::list chunks;
    for (const RowGroupMetadata& group : groups_) {
      if (leaf >= group.chunks.size()) ThrowIfError(Status::Invalid("no such column chunk"));
      const ChunkMetadata& chunk = group.chunks[leaf];
      py::dict fields;
      fields["path"] = py::bytes(chunk.path);
      fields["file"] = py::bytes(chunk.file);
      fields["encrypted"] = chunk.encrypted;
      fields["type"] = chunk.type;
      fields["codec"] = chunk.codec;
      fields["encodings"] = chunk.encodings;
      fields["num_values"] = chunk.num_values;
      fields["uncompressed_size"] = chunk.uncompressed_size;
      fields["compressed_size"] = chunk.compressed_size;
      fields["data_page_offset"] = chunk.data_page_offset;
      fields["dictionary_page_offset"] = chunk.dictionary_page_offset;
      chunks.append(fields);
    }
    return chunks;
  }

 private:
  std::vector<RowGroupMetadata> groups_;
};

}  // namespace

void BindScan(py::module_& m) {
  py::class_<PyParquetFooter>(m, "ParquetFooter", "Where the column chunks of a Parquet file lie.")
      .def(py::init<const py::bytes&, const std::string&, int64_t>(), py::arg("data"), py::arg("path"),
           py::arg("offset"))
      .def_property_readonly("rows", &PyParquetFooter::Rows, "Rows of each row group.")
      .def_property_readonly("leaves", &PyParquetFooter::leaves, "Column chunks of a row group.")
      .def("chunks", &PyParquetFooter::Chunks, py::arg("leaf"), "One column's chunk in each row group.");
  py::class_<PyScanWorker>(m, "ScanWorker", "One thread's share of a GroupScan.")
      .def("count", &PyScanWorker::Count, py::arg("path"), py::arg("rows"), py::arg("data").none(true),
           py::arg("columns"), "Count one row group.")
      .def("count_stream", &PyScanWorker::CountStream, py::arg("stream"), py::arg("indices"),
           "Count the rows of an Arrow stream by some of its columns; returns the rows.");
  py::class_<PyGroupScan>(m, "GroupScan", "A grouped count over Parquet row groups or Arrow batches.")
      .def(py::init<const std::vector<std::string>&, uint64_t, size_t, size_t, size_t>(), py::arg("kinds"),
           py::arg("expected_rows"), py::arg("workers"), py::arg("dense_bytes"), py::arg("memory_bytes"))
      .def_property_readonly("isa", &PyGroupScan::isa, "The instruction set its kernels run with.")
      .def("cancel", &PyGroupScan::Cancel, "Make running counts raise Cancelled; safe from any thread.")
      .def("seed_numbers", &PyGroupScan::SeedNumbers, py::arg("column"), py::arg("keys"), py::arg("fold"),
           py::arg("groups"))
      .def("seed_bytes", &PyGroupScan::SeedBytes, py::arg("column"), py::arg("stream"), py::arg("fold"),
           py::arg("groups"))
      .def("set_external", &PyGroupScan::SetExternal, py::arg("column"), py::arg("groups"))
      .def("null_id", &PyGroupScan::NullId, py::arg("column"), "The id of NULL, made when there is none yet.")
      .def("worker", &PyGroupScan::Worker)
      .def("finish", &PyGroupScan::Finish)
      .def("numbers", &PyGroupScan::Numbers, py::arg("column"))
      .def("strings", &PyGroupScan::Strings, py::arg("column"))
      .def("value_null_id", &PyGroupScan::ValueNullId, py::arg("column"), "The id of NULL, or None.");
  BindScanKernels(m);
}

}  // namespace segue::bindings
