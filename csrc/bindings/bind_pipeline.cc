// Act 2: the nightly job.
#include <algorithm>
#include <bit>
#include <functional>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/interrupt.h"
#include "pipeline/etl_job.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

py::object PlusEpoch(const py::object& epoch, const py::object& timedelta, int64_t days, int64_t seconds,
                     int64_t microseconds) {
  try {
    return epoch + timedelta(days, seconds, microseconds);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_OverflowError)) throw;
  }
  ThrowIfError(Status::Invalid("a split value lies " + std::to_string(days) + " days and " + std::to_string(seconds) +
                               " seconds from 1970, beyond the years 1 to 9999 that Python's dates hold"));
  return py::none();
}

// A split value of a column as a Python value.
py::object SplitValueToPython(const ColumnType& type, const SplitValue& value) {
  if (std::holds_alternative<std::monostate>(value)) return py::none();
  if (const auto* bytes = std::get_if<std::string>(&value)) {
    if (type.id == TypeId::kBinary) return py::bytes(*bytes);
    if (type.id != TypeId::kDecimal128) return py::str(*bytes);
    const py::object unscaled = py::module_::import("builtins")
                                    .attr("int")
                                    .attr("from_bytes")(py::bytes(*bytes), "little", py::arg("signed") = true);
    // Exactly, whatever the context's precision.
    const py::object decimal = py::module_::import("decimal").attr("Decimal");
    const py::tuple parts = decimal(unscaled).attr("as_tuple")();
    return decimal(py::make_tuple(parts[0], parts[1], -type.scale));
  }
  const int64_t bits = std::get<int64_t>(value);
  switch (type.id) {
    case TypeId::kBool:
      return py::bool_(bits != 0);
    case TypeId::kUInt64:
      return py::int_(static_cast<uint64_t>(bits));
    case TypeId::kFloat32:
      return py::float_(static_cast<double>(std::bit_cast<float>(static_cast<int32_t>(bits))));
    case TypeId::kFloat64:
      return py::float_(std::bit_cast<double>(bits));
    case TypeId::kDate32: {
      const py::module_ datetime = py::module_::import("datetime");
      return PlusEpoch(datetime.attr("date")(1970, 1, 1), datetime.attr("timedelta"), bits, 0, 0);
    }
    case TypeId::kTimestamp: {
      if (type.unit == TimeUnit::kNano && bits % 1000 != 0) {
        return py::module_::import("numpy").attr("datetime64")(bits, "ns");  // finer than a datetime
      }
      const py::module_ datetime = py::module_::import("datetime");
      const int64_t units = UnitsPerSecond(type.unit);
      const int64_t seconds = FloorDiv(bits, units);
      const int64_t microseconds = (bits - seconds * units) * 1'000'000 / units;
      py::object zone = py::none();
      if (!type.zone.empty()) zone = datetime.attr("timezone").attr("utc");
      const py::object epoch = datetime.attr("datetime")(1970, 1, 1, py::arg("tzinfo") = zone);
      return PlusEpoch(epoch, datetime.attr("timedelta"), 0, seconds, microseconds);
    }
    default:
      return py::int_(bits);
  }
}

class PyEtlStream : public ArrowStream {
 public:
  PyEtlStream(Schema schema, std::shared_ptr<EtlStream> stream)
      : ArrowStream(std::move(schema), [stream](ArrowArray* out) { return stream->Next(out); }),
        stream_(std::move(stream)) {}

  std::vector<std::pair<uint32_t, uint32_t>> bucket_ranges() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stream_->bucket_ranges();
  }

 private:
  std::shared_ptr<EtlStream> stream_;
};

class PyEtlJob {
 public:
  explicit PyEtlJob(EtlOptions options)
      : split_columns_(options.split_columns),
        by_unit_(options.split_unit.has_value()),
        job_(Unwrap(EtlJob::Make(std::move(options)))) {}
  // Streams that are still open keep the job; else it closes here.
  ~PyEtlJob() {
    const GilRelease release;
    job_.reset();
  }

  void AddJoin(const py::object& dimension, const std::string& on, const std::string& key,
               const std::optional<std::vector<std::string>>& columns, const std::string& how) {
    const JoinType type = Unwrap(ParseJoinType(how));
    StreamReader reader = TakeStream(dimension);
    Status status;
    {
      const GilRelease release;
      status = job_->AddJoin(&reader, on, key, columns, type);
    }
    ThrowIfError(status);
  }

  int64_t Consume(const py::object& stream) {
    StreamReader reader = TakeStream(stream);
    SignalCheck signals;
    Result<int64_t> rows = [&] {
      const GilRelease release;
      Result<int64_t> consumed = job_->Consume(&reader, std::ref(signals));
      const StreamReader dropped = std::move(reader);  // its release may need the GIL of another thread
      return consumed;
    }();
    signals.Throw(rows.status());
    return *rows;
  }

  void Finish() {
    SignalCheck signals;
    Status status;
    {
      const GilRelease release;
      status = job_->Finish(std::ref(signals));
    }
    signals.Throw(status);
  }

  py::list Splits() const {
    py::list splits;
    for (const EtlSplit& split : job_->splits()) {
      py::object value = py::none();
      if (by_unit_) {
        if (const auto* unit = std::get_if<int64_t>(&split.values[0])) value = py::int_(*unit);
      } else if (!split_columns_.empty()) {
        py::tuple values(split.values.size());
        for (size_t i = 0; i < split.values.size(); ++i) {
          values[i] = SplitValueToPython(job_->split_types()[i], split.values[i]);
        }
        value = values;
      }
      splits.append(py::make_tuple(value, split.rows));
    }
    return splits;
  }

  std::shared_ptr<PyEtlStream> Read(int64_t split, int64_t row_group_rows, int64_t first_bucket,
                                    std::optional<int64_t> last_bucket) {
    if (split < 0) throw py::index_error("split " + std::to_string(split) + " is negative");
    if (first_bucket < 0 || (last_bucket && *last_bucket < 0)) throw py::index_error("a bucket number is negative");
    Result<std::unique_ptr<EtlStream>> stream = [&] {
      const GilRelease release;
      return job_->Read(static_cast<size_t>(split), row_group_rows,
                        static_cast<uint32_t>(std::min<int64_t>(first_bucket, UINT32_MAX)),
                        static_cast<uint32_t>(std::min<int64_t>(last_bucket.value_or(UINT32_MAX), UINT32_MAX)));
    }();
    std::shared_ptr<EtlStream> shared = Unwrap(std::move(stream));
    const Schema& schema = shared->schema();
    return std::make_shared<PyEtlStream>(schema, std::move(shared));
  }

  py::dict Metrics() const {
    const EtlMetrics m = [&] {
      const GilRelease release;
      return job_->metrics();
    }();
    py::dict out;
    out["rows_in"] = m.rows_in;
    out["rows_out"] = m.rows_out;
    out["dropped"] = m.dropped;
    out["runs"] = m.sort.runs;
    out["spilled_runs"] = m.sort.spilled_runs;
    out["spilled_bytes_written"] = m.sort.spilled_bytes_written;
    out["spilled_bytes_read"] = m.sort.spilled_bytes_read;
    out["merge_passes"] = m.sort.merge_passes;
    out["merge_fan_in"] = m.sort.fan_in;
    out["peak_memory"] = m.peak_memory;
    out["dimension_bytes"] = m.dimension_bytes;
    out["row_bytes"] = m.row_bytes;
    out["batch_bytes"] = m.batch_bytes;
    return out;
  }

  py::capsule OutputSchema() const {
    auto arrow = std::make_unique<ArrowSchema>();
    SchemaToArrow(Unwrap(job_->output_schema()), arrow.get());
    return SchemaToCapsule(arrow.release());
  }

  void Cancel() { job_->Cancel(); }
  void Close() {
    const GilRelease release;
    job_->Close();
  }

 private:
  const std::vector<std::string> split_columns_;
  const bool by_unit_;
  std::shared_ptr<EtlJob> job_;
};

}  // namespace

void BindPipeline(py::module_& m) {
  auto stream = py::class_<PyEtlStream, std::shared_ptr<PyEtlStream>>(
      m, "EtlStream", "The rows of one split in order; each batch is meant to become one row group.");
  BindStream(stream);
  stream.def_property_readonly(
      "bucket_ranges",
      [](PyEtlStream& self) {
        const GilRelease release;
        return self.bucket_ranges();
      },
      "(first, last) bucket of each batch produced so far, both inclusive.");

  py::class_<PyEtlJob>(m, "EtlJob",
                       "Hash-partitions, splits, sorts and joins batches within a memory budget; "
                       "then serves each split in order (bucket, sort columns, sequence).")
      .def(py::init([](int32_t partitions, std::vector<std::string> partition_columns,
                       std::vector<std::string> sort_columns, std::optional<std::string> split_column,
                       std::optional<std::string> split_unit, std::vector<std::string> split_columns,
                       std::optional<std::string> sequence_column, int64_t memory, int threads, std::string spill_dir) {
             EtlOptions options;
             options.partitions = partitions;
             options.partition_columns = std::move(partition_columns);
             options.sort_columns = std::move(sort_columns);
             options.split_column = std::move(split_column);
             if (split_unit) options.split_unit = Unwrap(ParseSplitUnit(*split_unit));
             options.split_columns = std::move(split_columns);
             options.sequence_column = std::move(sequence_column);
             options.memory = static_cast<uint64_t>(std::max<int64_t>(memory, 0));
             options.threads = threads;
             options.spill_dir = std::move(spill_dir);
             options.env = Env::Posix();
             return std::make_unique<PyEtlJob>(std::move(options));
           }),
           py::arg("partitions"), py::arg("partition_columns"), py::arg("sort_columns"), py::arg("split_column"),
           py::arg("split_unit"), py::arg("split_columns"), py::arg("sequence_column"), py::arg("memory"),
           py::arg("threads"), py::arg("spill_dir"))
      .def("add_join", &PyEtlJob::AddJoin, py::arg("dimension"), py::arg("on"), py::arg("key"),
           py::arg("columns") = py::none(), py::arg("how") = "inner",
           "Join a dimension (an arrow_array_stream capsule); before the first consume().")
      .def("consume", &PyEtlJob::Consume, py::arg("stream"),
           "Take all rows of an arrow_array_stream capsule; how many.")
      .def("finish", &PyEtlJob::Finish, "Sort what is left; read() and splits follow.")
      .def_property_readonly("splits", &PyEtlJob::Splits,
                             "(value, rows) of each split: an int for a unit of time (None: null), a tuple of "
                             "column values, or None without splits.")
      .def("read", &PyEtlJob::Read, py::arg("split"), py::arg("row_group_rows"), py::arg("first_bucket") = 0,
           py::arg("last_bucket") = py::none(),
           "An EtlStream over a split, or over its buckets first_bucket to last_bucket, both inclusive.")
      .def("__arrow_c_schema__", &PyEtlJob::OutputSchema)
      .def_property_readonly(
          "schema", [](const py::object& self) { return py::module_::import("pyarrow").attr("schema")(self); },
          "The output's pyarrow.Schema, once rows were consumed.")
      .def_property_readonly("metrics", &PyEtlJob::Metrics)
      .def("cancel", &PyEtlJob::Cancel, "Make a running consume, finish or stream stop with Cancelled. Any thread.")
      .def("close", &PyEtlJob::Close, "Stop, and remove the spill files. Idempotent.")
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", [](PyEtlJob& self, const py::args&) { self.Close(); });
}

}  // namespace segue::bindings
