// segue.kernels: the kernels on Arrow data.
#include <pybind11/numpy.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "base/cpu.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/interrupt.h"
#include "pipeline/big_sort.h"
#include "pipeline/hash_partition.h"
#include "pipeline/join_stream.h"
#include "pipeline/murmur3.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

constexpr int64_t kChunkRows = 64 << 10;

py::array_t<int32_t> ToNumpy(std::vector<int32_t> values) {
  auto held = std::make_unique<std::vector<int32_t>>(std::move(values));
  const auto size = static_cast<py::ssize_t>(held->size());
  const int32_t* data = held->data();
  const py::capsule owner(held.get(), [](void* p) { delete static_cast<std::vector<int32_t>*>(p); });
  held.release();
  return py::array_t<int32_t>(size, data, owner);
}

// hash(batch, begin, n, out) for all rows of a stream; columns by name, all when none are given.
template <typename Hash>
py::array_t<int32_t> HashStream(const py::object& capsule, const std::optional<std::vector<std::string>>& columns,
                                uint32_t seed, Hash hash) {
  StreamReader reader = TakeStream(capsule);
  std::vector<size_t> chosen;
  if (columns) {
    for (const std::string& name : *columns) {
      const int index = reader.schema().IndexOf(name);
      if (index < 0) ThrowIfError(Status::Schema(name, "the data have no column '" + name + "' to hash"));
      chosen.push_back(static_cast<size_t>(index));
    }
  } else {
    for (size_t i = 0; i < reader.schema().fields.size(); ++i) chosen.push_back(i);
  }
  std::vector<int32_t> out;
  SignalCheck signals;
  const auto run = [&]() -> Status {
    while (true) {
      SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> batch, reader.Next());
      if (batch == nullptr) return Status();
      std::vector<const ArrayView*> views;
      for (const size_t index : chosen) views.push_back(&batch->columns()[index]);
      const Murmur3Batch hashes(std::move(views), seed);
      for (int64_t begin = 0; begin < batch->rows(); begin += kChunkRows) {
        SEGUE_RETURN_IF_ERROR(signals());
        const int64_t n = std::min(kChunkRows, batch->rows() - begin);
        const size_t before = out.size();
        out.resize(before + static_cast<size_t>(n));
        hash(hashes, begin, n, out.data() + before);
      }
    }
  };
  Status status;
  {
    const GilRelease release;
    status = run();
    const StreamReader dropped = std::move(reader);
  }
  signals.Throw(status);
  return ToNumpy(std::move(out));
}

class PySortedStream : public ArrowStream {
 public:
  PySortedStream(Schema schema, std::shared_ptr<BigSort> sort)
      : ArrowStream(std::move(schema), [sort](ArrowArray* out) { return sort->Next(out); }), sort_(std::move(sort)) {}

  py::dict Metrics() {
    SortMetrics m;
    uint64_t peak = 0;
    {
      const GilRelease release;
      const std::lock_guard<std::mutex> lock(mutex_);
      m = sort_->metrics();
      peak = sort_->peak_memory();
    }
    py::dict out;
    out["runs"] = m.runs;
    out["spilled_runs"] = m.spilled_runs;
    out["spilled_bytes_written"] = m.spilled_bytes_written;
    out["spilled_bytes_read"] = m.spilled_bytes_read;
    out["merge_passes"] = m.merge_passes;
    out["merge_fan_in"] = m.fan_in;
    out["peak_memory"] = peak;
    out["row_bytes"] = sort_->row_bytes();
    return out;
  }

 private:
  std::shared_ptr<BigSort> sort_;
};

std::shared_ptr<PySortedStream> RunBigSort(const py::object& capsule,
                                           const std::vector<std::pair<std::string, bool>>& by, int64_t memory,
                                           int threads, std::string spill_dir, int64_t batch_rows) {
  if (batch_rows < 1) ThrowIfError(Status::Invalid("batch_rows=" + std::to_string(batch_rows) + " must be at least 1"));
  StreamReader reader = TakeStream(capsule);
  BigSortOptions options;
  for (const auto& [column, descending] : by) options.by.push_back({column, descending});
  options.memory = static_cast<uint64_t>(std::max<int64_t>(memory, 0));
  options.threads = threads;
  options.spill_dir = std::move(spill_dir);
  options.batch_rows = batch_rows;
  options.env = Env::Posix();
  std::shared_ptr<BigSort> sort;
  SignalCheck signals;
  const auto run = [&]() -> Status {
    SEGUE_ASSIGN_OR_RETURN(sort, BigSort::Make(std::move(options), reader.schema()));
    SEGUE_RETURN_IF_ERROR(sort->Consume(&reader, std::ref(signals)).status());
    return sort->Finish(std::ref(signals));
  };
  Status status;
  {
    const GilRelease release;
    status = run();
    const StreamReader dropped = std::move(reader);
    if (!status.ok()) sort.reset();  // removes its spill files
  }
  signals.Throw(status);
  const Schema& schema = sort->schema();
  return std::make_shared<PySortedStream>(schema, std::move(sort));
}

class PyJoinStream : public ArrowStream {
 public:
  PyJoinStream(Schema schema, std::shared_ptr<JoinStream> join)
      : ArrowStream(std::move(schema), [join](ArrowArray* out) { return join->Next(out); }), join_(std::move(join)) {}

  int64_t dropped() {
    const GilRelease release;
    const std::lock_guard<std::mutex> lock(mutex_);
    return join_->dropped();
  }

 private:
  std::shared_ptr<JoinStream> join_;
};

struct PyBroadcastTable {
  std::shared_ptr<const BroadcastTable> table;
};

}  // namespace

void BindKernels(py::module_& m) {
  m.def(
      "murmur3",
      [](const py::object& stream, const std::optional<std::vector<std::string>>& columns, int64_t seed) {
        return HashStream(stream, columns, static_cast<uint32_t>(seed),
                          [](const Murmur3Batch& hashes, int64_t begin, int64_t n, int32_t* out) {
                            hashes.Hash(begin, n, reinterpret_cast<uint32_t*>(out));
                          });
      },
      py::arg("stream"), py::arg("columns"), py::arg("seed") = kSparkSeed,
      "Spark's Murmur3 hash of the named columns (None: all), left to right; int32.");
  m.def(
      "hash_partition",
      [](const py::object& stream, const std::vector<std::string>& columns, int32_t n) {
        if (n < 1) ThrowIfError(Status::Invalid("n=" + std::to_string(n) + " partitions: at least 1 is needed"));
        return HashStream(stream, columns, kSparkSeed,
                          [n](const Murmur3Batch& hashes, int64_t begin, int64_t count, int32_t* out) {
                            HashPartition(hashes, begin, count, n, out);
                          });
      },
      py::arg("stream"), py::arg("columns"), py::arg("n"), "pmod(murmur3(columns, 42), n); int32.");

  auto sorted =
      py::class_<PySortedStream, std::shared_ptr<PySortedStream>>(m, "SortedStream", "Sorted rows, read once.");
  BindStream(sorted);
  sorted.def_property_readonly("metrics", &PySortedStream::Metrics);
  m.def("big_sort", &RunBigSort, py::arg("stream"), py::arg("by"), py::arg("memory"), py::arg("threads"),
        py::arg("spill_dir"), py::arg("batch_rows") = 64 << 10,
        "External merge sort by (column, descending) pairs, within `memory` bytes.");

  auto joined = py::class_<PyJoinStream, std::shared_ptr<PyJoinStream>>(m, "JoinStream", "Joined rows, read once.");
  BindStream(joined);
  joined.def_property_readonly("dropped", &PyJoinStream::dropped,
                               "Rows without a match that an inner join left out so far.");
  py::class_<PyBroadcastTable>(m, "BroadcastTable", "A dimension held whole, found by its unique key.")
      .def(py::init([](const py::object& stream, const std::string& key) {
             StreamReader reader = TakeStream(stream);
             Result<std::shared_ptr<const BroadcastTable>> table = [&] {
               const GilRelease release;
               Result<std::shared_ptr<const BroadcastTable>> made =
                   BroadcastTable::Make(&reader, key, std::nullopt, nullptr);
               const StreamReader dropped = std::move(reader);
               return made;
             }();
             return PyBroadcastTable{Unwrap(std::move(table))};
           }),
           py::arg("stream"), py::arg("key"))
      .def(
          "join",
          [](const PyBroadcastTable& self, const py::object& stream, const std::string& on,
             const std::optional<std::vector<std::string>>& columns, const std::string& how) {
            const JoinType type = Unwrap(ParseJoinType(how));
            std::shared_ptr<JoinStream> join =
                Unwrap(JoinStream::Make(self.table, TakeStream(stream), on, columns, type));
            const Schema& schema = join->schema();
            return std::make_shared<PyJoinStream>(schema, std::move(join));
          },
          py::arg("stream"), py::arg("on"), py::arg("columns") = py::none(), py::arg("how") = "inner")
      .def("__len__", [](const PyBroadcastTable& self) { return self.table->rows(); })
      .def_property_readonly(
          "dense", [](const PyBroadcastTable& self) { return self.table->dense(); },
          "Whether keys index a table directly; else they are hashed.")
      .def_property_readonly("nbytes", [](const PyBroadcastTable& self) { return self.table->memory_bytes(); });

  m.def("cpu_features", &CpuFeatures, "Names of the CPU features that the kernels know of.");
  m.def(
      "active_isa", [] { return std::string(IsaName(Unwrap(ActiveIsa()))); },
      "The instruction set that the kernels run with.");
}

}  // namespace segue::bindings
