// Act 1: the event store.
//
// EventStore, Snapshot and ScanStream are the coarse classes; each call that
// can take long releases the GIL once. The row-at-a-time path goes through the
// C table at the end of this file (row_api.h) instead of pybind11.
#include <cstring>

#include "base/env.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/interrupt.h"
#include "bindings/logging.h"
#include "bindings/row_api.h"
#include "events/batch_arrow.h"
#include "events/event_store.h"
#include "events/scanner.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

using StorePtr = std::shared_ptr<EventStore>;

std::shared_ptr<Env> EnvFrom(const py::object& env) {
  if (env.is_none()) return {Env::Posix(), [](Env*) {}};  // process-wide: not ours to delete
  return env.cast<std::shared_ptr<Env>>();
}

// The rows of one scan, batch by batch or as an Arrow stream. Errors reach the
// consumer of a stream as text only; the status is kept so that Python can raise
// the exact exception.
class ScanStream {
 public:
  ScanStream(StorePtr store, std::shared_ptr<const Snapshot> snapshot, ScanSpec spec, std::vector<int> projection,
             std::string sequence_name)
      : state_(std::make_shared<State>(std::move(store), std::move(snapshot), std::move(spec), std::move(projection),
                                       std::move(sequence_name))) {}

  // A stream can be handed out once: it is read, not stored.
  py::capsule ToCapsule() {
    if (state_->taken) {
      ThrowIfError(Status::Invalid("this scan was already consumed; call scan() again, or to_arrow() once"));
    }
    state_->taken = true;
    auto* stream = new ArrowArrayStream();
    ExportStream(
        state_->exporter.schema(), [state = state_](ArrowArray* out) -> Result<bool> { return state->Next(out); },
        stream);
    return StreamToCapsule(stream);
  }

  // Where the next batch is, for the caller to import before the next call, or 0: less to set up
  // than a stream, and Python sees to signals and raises the exact error between batches.
  uintptr_t NextArray() {
    state_->taken = true;
    state_->ReleaseArray();
    Result<bool> more = [&] {
      const GilRelease release;
      return state_->Next(&state_->array);
    }();
    return Unwrap(std::move(more)) ? reinterpret_cast<uintptr_t>(&state_->array) : 0;
  }

  py::capsule SchemaCapsule() const {
    auto* schema = new ArrowSchema();
    SchemaToArrow(state_->exporter.schema(), schema);
    return SchemaToCapsule(schema);
  }

  void RaiseError() const { ThrowIfError(state_->error); }

 private:
  struct State {
    State(StorePtr store_in, std::shared_ptr<const Snapshot> snapshot, ScanSpec spec, std::vector<int> projection,
          std::string sequence_name)
        : store(std::move(store_in)),
          exporter(snapshot->core().schema, snapshot->core().interners, std::move(projection),
                   std::move(sequence_name)),
          scanner(MakeScanner(std::move(snapshot), std::move(spec))) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { ReleaseArray(); }

    void ReleaseArray() {
      if (array.release != nullptr) array.release(&array);
    }

    Result<bool> Next(ArrowArray* out) {
      SEGUE_RETURN_IF_ERROR(store->CheckProcess());
      SEGUE_RETURN_IF_ERROR(error);  // rows were lost with it: what follows is not the scan's result
      ColumnBatch batch;
      Result<bool> more = scanner->Next(&batch);
      if (more.ok() && *more) {
        const Status exported = exporter.Export(std::move(batch), out);
        if (!exported.ok()) more = exported;
      }
      if (!more.ok()) error = more.status();
      return more;
    }

    StorePtr store;  // keeps the environment alive
    ArrowExporter exporter;
    std::unique_ptr<Scanner> scanner;  // and with it the snapshot, from which the exporter borrows
    Status error;
    bool taken = false;
    ArrowArray array{};  // of NextArray, until it is imported
  };

  std::shared_ptr<State> state_;
};

class PySnapshot {
 public:
  PySnapshot(StorePtr store, std::shared_ptr<const Snapshot> snapshot)
      : store_(std::move(store)), snapshot_(std::move(snapshot)) {}

  uint64_t sequence() const { return Get()->seq(); }
  void Close() { snapshot_.reset(); }

  ScanStream Scan(std::optional<py::bytes> key, std::optional<int64_t> since, std::optional<int64_t> until,
                  std::vector<int> columns, bool descending, std::optional<uint64_t> limit, uint64_t after,
                  std::optional<uint64_t> upto, std::string sequence_name) const {
    ScanSpec spec;
    if (key.has_value()) spec.key = std::string(*key);
    if (since.has_value()) spec.since = *since;
    if (until.has_value()) {
      spec.until = *until;
      spec.until_open = false;
    }
    spec.wanted.assign(Get()->core().schema.columns.size(), false);
    for (const int column : columns) spec.wanted[static_cast<size_t>(column)] = true;
    spec.descending = descending;
    if (limit.has_value()) spec.limit = *limit;
    spec.after_seq = after;
    if (upto.has_value()) spec.upto_seq = *upto;
    spec.sequences = !sequence_name.empty();
    return ScanStream(store_, Get(), std::move(spec), std::move(columns), std::move(sequence_name));
  }

 private:
  const std::shared_ptr<const Snapshot>& Get() const {
    ThrowIfError(store_->CheckProcess());
    if (!snapshot_) ThrowIfError(Status::Closed("the snapshot is closed"));
    return snapshot_;
  }

  StorePtr store_;
  std::shared_ptr<const Snapshot> snapshot_;
};

Result<ColumnBatch> ReadAll(const StoreSchema& schema, const Interners& interners, ArrowArrayStream* stream) {
  SEGUE_ASSIGN_OR_RETURN(StreamReader reader, StreamReader::Make(stream, /*take_null=*/true));
  // All of them first: columns that grow with each would be copied again as they do.
  std::vector<std::unique_ptr<BatchReader>> batches;
  size_t rows = 0;
  for (;;) {
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> batch, reader.Next());
    if (!batch) break;
    rows += static_cast<size_t>(batch->rows());
    batches.push_back(std::move(batch));
  }
  ColumnBatch all;
  all.columns.resize(schema.columns.size());
  if (batches.size() > 1) {
    for (size_t c = 0; c < all.columns.size(); ++c) {
      const auto width = static_cast<size_t>(schema.columns[c].width);
      if (width > 0) {
        all.columns[c].values.reserve(rows * width);
      } else {
        all.columns[c].offsets.reserve(rows + 1);
      }
    }
  }
  for (const auto& batch : batches)
    SEGUE_RETURN_IF_ERROR(AppendArrow(schema, interners, reader.schema(), *batch, &all));
  return all;
}

Result<ColumnBatch> ReadOne(const StoreSchema& schema, const Interners& interners, const ArrowSchema& arrow_schema,
                            ArrowArray* array) {
  SEGUE_ASSIGN_OR_RETURN(const Schema source, SchemaFromArrow(arrow_schema, /*take_null=*/true));
  SEGUE_ASSIGN_OR_RETURN(const BatchReader batch, BatchReader::Make(source, arrow_schema, array));
  ColumnBatch out;
  SEGUE_RETURN_IF_ERROR(AppendArrow(schema, interners, source, batch, &out));
  return out;
}

template <typename Read>
py::tuple Append(EventStore* store, const std::string& token, Read read) {
  Result<SequenceRange> range = [&]() -> Result<SequenceRange> {
    const GilRelease release;
    SEGUE_ASSIGN_OR_RETURN(ColumnBatch batch, read());
    return store->AppendBatch(std::move(batch), token);
  }();
  const SequenceRange value = Unwrap(std::move(range));
  return py::make_tuple(value.first, value.last);
}

StoreOptions OptionsFrom(const std::string& durability, bool read_only, const py::dict& values) {
  StoreOptions options;
  options.read_only = read_only;
  options.log_error = LogError;
  if (durability == "commit") {
    options.durability = Durability::kCommit;
  } else if (durability == "interval") {
    options.durability = Durability::kInterval;
  } else if (durability == "os") {
    options.durability = Durability::kOs;
  } else {
    ThrowIfError(Status::Invalid("durability='" + durability + "' is unknown; use 'commit', 'interval' or 'os'"));
  }
  for (const auto& [name_object, value] : values) {
    const auto name = name_object.cast<std::string>();
    if (name == "wal_bytes") {
      options.wal_bytes = value.cast<uint64_t>();
    } else if (name == "memtable_bytes") {
      options.memtable_bytes = std::max<uint64_t>(value.cast<uint64_t>(), 1);
    } else if (name == "sync_interval_ms") {
      options.sync_interval_ms = value.cast<uint32_t>();
    } else if (name == "window_rows") {
      options.window_rows = value.cast<uint64_t>();
    } else if (name == "table_keys") {
      options.table_keys = value.cast<uint64_t>();
    } else if (name == "background_compaction") {
      options.background_compaction = value.cast<bool>();
    } else if (name == "compaction_bytes_per_second") {
      options.compaction_bytes_per_second = value.cast<uint64_t>();
    } else if (name == "cache_bytes") {
      options.cache_bytes = value.cast<uint64_t>();
    } else if (name == "max_open_files") {
      options.max_open_files = value.cast<size_t>();
    } else if (name == "block_rows") {
      options.sst.block_rows = value.cast<size_t>();
      if (options.sst.block_rows == 0 || options.sst.block_rows > kMaxBlockRows) {
        ThrowIfError(Status::Invalid("block_rows is 1 to " + std::to_string(kMaxBlockRows)));
      }
    } else {
      ThrowIfError(Status::Invalid("store option '" + name + "' is unknown"));
    }
  }
  return options;
}

py::dict StatsDict(const StoreStats& s) {
  constexpr std::array<const char*, kStallCauses> kCauses = {"pace", "flush", "log"};
  py::dict stalls;
  for (size_t i = 0; i < kCauses.size(); ++i) stalls[kCauses[i]] = py::make_tuple(s.stalls[i].count, s.stalls[i].ns);
  py::dict out;
  out["seconds"] = static_cast<double>(s.ns_open) / 1e9;
  out["sequence"] = s.sequence;
  out["synced_sequence"] = s.synced_sequence;
  out["flushed_sequence"] = s.flushed_sequence;
  out["skiplist_rows"] = s.skiplist_rows;
  out["run_rows"] = s.run_rows;
  out["runs"] = s.runs;
  out["immutable_memtables"] = s.immutable_memtables;
  out["memtable_bytes"] = s.memtable_bytes;
  out["tables"] = s.tables;
  out["table_rows"] = s.table_rows;
  out["table_bytes"] = s.table_bytes;
  out["tokens"] = s.tokens;
  out["appended_rows"] = s.appended_rows;
  out["appended_bytes"] = s.appended_bytes;
  out["wal_bytes_written"] = s.wal_bytes_written;
  out["table_bytes_written"] = s.table_bytes_written;
  out["syncs"] = s.syncs;
  out["flushes"] = s.flushes;
  out["stalls"] = stalls;
  out["commits"] = py::make_tuple(s.commits, s.longest_commit_ns);
  out["compactions"] = s.compactions;
  out["compaction_bytes_read"] = s.compaction_bytes_read;
  out["compaction_bytes_written"] = s.compaction_bytes_written;
  out["compaction_pending_bytes"] = s.compaction_pending_bytes;
  out["retired_tables"] = s.retired_tables;
  out["write_amplification"] = s.write_amplification;
  py::list windows;
  for (const WindowStats& window : s.windows) {
    windows.append(
        py::make_tuple(window.min_time, window.max_time, window.shared, window.tables, window.rows, window.bytes));
  }
  out["windows"] = windows;
  out["bloom_probes"] = s.reads.bloom_probes;
  out["bloom_useful"] = s.reads.bloom_useful;
  out["bloom_false_positives"] = s.reads.bloom_false_positives;
  out["cache_hits"] = s.reads.cache_hits;
  out["cache_misses"] = s.reads.cache_misses;
  out["cache_bytes"] = s.cache_bytes;
  out["cache_capacity"] = s.cache_capacity;
  out["blocks_read"] = s.reads.blocks_read;
  out["block_bytes_read"] = s.reads.block_bytes_read;
  out["background_error"] = s.background_error;
  return out;
}

// The key columns as a schema of their own, for reading a key given as Arrow.
StoreSchema KeySchema(const StoreSchema& schema) {
  StoreSchema key;
  for (const int c : schema.key) {
    key.key.push_back(static_cast<int>(key.columns.size()));
    key.columns.push_back(schema.columns[static_cast<size_t>(c)]);
    key.schema.fields.push_back(schema.schema.fields[static_cast<size_t>(c)]);
  }
  return key;
}

// The encoded key of plain Python values, of the types that need no conversion;
// nothing where a value is of another type or does not fit.
std::optional<py::bytes> EncodePlainKey(const EventStore& store, const py::tuple& values) {
  const StoreSchema& schema = store.core().schema;
  if (values.size() != schema.key.size()) return std::nullopt;
  std::string key;
  for (size_t i = 0; i < schema.key.size(); ++i) {
    PyObject* value = values[i].ptr();
    const StoreColumn& column = schema.columns[static_cast<size_t>(schema.key[i])];
    const TypeId type = column.field.type.id;
    if (type == TypeId::kString || type == TypeId::kDictionary) {
      if (!PyUnicode_CheckExact(value)) return std::nullopt;
      Py_ssize_t size = 0;
      const char* bytes = PyUnicode_AsUTF8AndSize(value, &size);
      if (bytes == nullptr) {
        PyErr_Clear();  // a lone surrogate: the way through Arrow says what is wrong
        return std::nullopt;
      }
      EncodeKeyPart(type, nullptr, {bytes, static_cast<size_t>(size)}, &key);
      continue;
    }
    const bool is_signed = type >= TypeId::kInt8 && type <= TypeId::kInt64;
    const bool is_unsigned = type >= TypeId::kUInt8 && type <= TypeId::kUInt64;
    if ((!is_signed && !is_unsigned) || !PyLong_CheckExact(value)) return std::nullopt;
    int overflow = 0;
    const int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
    const int bits = column.width * 8 - (is_signed ? 1 : 0);
    const bool fits =
        (is_signed || number >= 0) && (bits >= 63 || (number >= -(int64_t{1} << bits) && number < int64_t{1} << bits));
    if (overflow != 0 || !fits) return std::nullopt;
    EncodeKeyPart(type, reinterpret_cast<const uint8_t*>(&number), {}, &key);  // little-endian: its low bytes
  }
  return py::bytes(key);
}

py::list RowLayout(const EventStore& store) {
  py::list out;
  const StoreSchema& schema = store.core().schema;
  for (size_t c = 0; c < schema.columns.size(); ++c) {
    const StoreColumn& column = schema.columns[c];
    const RowFormat::Slot& slot = store.core().format.slots()[c];
    const bool required = column.is_key || static_cast<int>(c) == schema.time || !column.field.nullable;
    out.append(py::make_tuple(column.field.name, static_cast<int>(column.field.type.id), slot.offset, slot.width,
                              required, static_cast<int>(column.field.type.unit), column.field.type.precision,
                              column.field.type.scale, TypeName(column.field.type)));
  }
  return out;
}

// ---- the row path --------------------------------------------------------

constexpr char kRowStoreCapsule[] = "segue._engine.row_store";
constexpr char kRowApiCapsule[] = "segue._engine.row_api";

uint64_t RowTryAppend(void* store, const uint8_t* row, size_t size) {
  return (*static_cast<StorePtr*>(store))->TryAppendRow({reinterpret_cast<const char*>(row), size});
}

int RowAppend(void* store, const uint8_t* row, size_t size, int acknowledge, uint64_t* seq, void** error) {
  EventStore* target = static_cast<StorePtr*>(store)->get();
  const Result<uint64_t> result = target->AppendRow({reinterpret_cast<const char*>(row), size}, acknowledge != 0);
  if (result.ok()) {
    *seq = *result;
    return 0;
  }
  *error = new Status(result.status());
  return 1;
}

int RowWait(void* store, uint64_t seq, void** error) {
  const Status status = (*static_cast<StorePtr*>(store))->WaitDurable(seq);
  if (status.ok()) return 0;
  *error = new Status(status);
  return 1;
}

PyObject* RowRaise(void* error) {
  const std::unique_ptr<Status> status(static_cast<Status*>(error));
  try {
    ThrowIfError(*status);
  } catch (py::error_already_set& e) {
    e.restore();
  }
  return nullptr;
}

constexpr SegueRowApi kRowApi = {&RowTryAppend, &RowAppend, &RowWait, &RowRaise};

py::capsule RowHandle(const StorePtr& store) {
  return py::capsule(new StorePtr(store), kRowStoreCapsule, [](PyObject* capsule) {
    delete static_cast<StorePtr*>(PyCapsule_GetPointer(capsule, kRowStoreCapsule));
  });
}

}  // namespace

void BindEvents(py::module_& m) {
  m.attr("_row_api") = py::capsule(&kRowApi, kRowApiCapsule);

  py::class_<ScanStream>(m, "ScanStream", "The rows of one scan, as an Arrow stream to be read once.")
      .def(
          "__arrow_c_stream__", [](ScanStream& self, const py::object&) { return self.ToCapsule(); },
          py::arg("requested_schema") = py::none())
      .def("__arrow_c_schema__", &ScanStream::SchemaCapsule)
      .def("next_array", &ScanStream::NextArray,
           "The address of the next batch, an ArrowArray to be imported before the next call; 0 at the end.")
      .def("raise_error", &ScanStream::RaiseError, "Raises the error that ended the stream, if one did.");

  py::class_<PySnapshot>(m, "Snapshot", "An event store as of one sequence number.")
      .def_property_readonly("sequence", &PySnapshot::sequence)
      .def("close", &PySnapshot::Close)
      .def("scan", &PySnapshot::Scan, py::arg("key"), py::arg("since"), py::arg("until"), py::arg("columns"),
           py::arg("descending"), py::arg("limit"), py::arg("after"), py::arg("upto"), py::arg("sequence_name"));

  py::class_<EventStore, StorePtr>(m, "EventStore", "The LSM store of one event table.")
      .def_static(
          "create",
          [](const std::string& path, const py::object& schema, const std::vector<std::string>& key,
             const std::string& time, int64_t window, const py::object& env) {
            const py::object capsule = schema.attr("__arrow_c_schema__")();
            const Schema columns = Unwrap(SchemaFromArrow(*SchemaFromCapsule(capsule)));
            const StoreSchema store_schema = Unwrap(StoreSchema::Make(columns, key, time));
            const std::shared_ptr<Env> target = EnvFrom(env);
            Status status;
            {
              const GilRelease release;
              status = EventStore::Create(target.get(), path, store_schema, window);
            }
            ThrowIfError(status);
          },
          py::arg("path"), py::arg("schema"), py::arg("key"), py::arg("time"), py::arg("window") = 0,
          py::arg("env") = py::none())
      .def_static(
          "open",
          [](const std::string& path, const std::string& durability, bool read_only, const py::dict& options,
             const py::object& env, const py::object& progress) {
            const StoreOptions parsed = OptionsFrom(durability, read_only, options);
            std::shared_ptr<Env> target = EnvFrom(env);
            ProgressCheck check(progress);
            Result<StorePtr> store = [&]() -> Result<StorePtr> {
              const GilRelease release;
              return EventStore::Open(std::move(target), path, parsed,
                                      [&](const OpenProgress& now) { return check(now.bytes_done, now.bytes_left); });
            }();
            check.Throw(store.status());
            return store.Take();
          },
          py::arg("path"), py::arg("durability") = "commit", py::arg("read_only") = false,
          py::arg("options") = py::dict(), py::arg("env") = py::none(), py::arg("progress") = py::none(),
          "progress(bytes done, bytes left) is called now and then while logs are replayed.")
      .def_property_readonly("store_id", &EventStore::store_id)
      .def_property_readonly("read_only", &EventStore::read_only)
      .def_property_readonly("commits", &EventStore::commits, "An append waits until the row survives power loss.")
      .def_property_readonly("key",
                             [](const EventStore& self) {
                               std::vector<std::string> names;
                               for (const int c : self.core().schema.key) {
                                 names.push_back(self.core().schema.schema.fields[static_cast<size_t>(c)].name);
                               }
                               return names;
                             })
      .def_property_readonly(
          "time",
          [](const EventStore& self) {
            return self.core().schema.schema.fields[static_cast<size_t>(self.core().schema.time)].name;
          })
      .def_property_readonly("window", &EventStore::window, "Width of a time window, in the time column's unit.")
      .def("__arrow_c_schema__",
           [](const EventStore& self) {
             auto* schema = new ArrowSchema();
             SchemaToArrow(self.core().schema.schema, schema);
             return SchemaToCapsule(schema);
           })
      .def(
          "append_stream",
          [](EventStore& self, const py::object& capsule, const std::string& token) {
            ArrowArrayStream* stream = StreamFromCapsule(capsule);
            return Append(&self, token, [&] { return ReadAll(self.core().schema, self.core().interners, stream); });
          },
          py::arg("stream"), py::arg("token") = "")
      .def(
          "append_array",
          [](EventStore& self, const py::object& schema, const py::object& array, const std::string& token) {
            const ArrowSchema* arrow_schema = SchemaFromCapsule(schema);
            ArrowArray* arrow_array = ArrayFromCapsule(array);
            return Append(&self, token, [&] {
              return ReadOne(self.core().schema, self.core().interners, *arrow_schema, arrow_array);
            });
          },
          py::arg("schema"), py::arg("array"), py::arg("token") = "")
      .def(
          "encode_key",
          [](const EventStore& self, const py::object& schema, const py::object& array) {
            const StoreSchema key_schema = KeySchema(self.core().schema);
            const Interners none(key_schema.columns.size());
            const ColumnBatch batch =
                Unwrap(ReadOne(key_schema, none, *SchemaFromCapsule(schema), ArrayFromCapsule(array)));
            std::string key;
            if (batch.rows > 0) EncodeKey(key_schema, batch, 0, &key);
            return py::bytes(key);
          },
          py::arg("schema"), py::arg("array"), "The encoded key of the first row of a batch of the key columns.")
      .def("encode_plain_key", &EncodePlainKey, py::arg("values"),
           "The encoded key of integers and strings; None when a value needs another way.")
      .def("snapshot",
           [](const StorePtr& self) {
             Result<std::shared_ptr<const Snapshot>> snapshot = [&] {
               const GilRelease release;
               return self->GetSnapshot();
             }();
             return PySnapshot(self, Unwrap(std::move(snapshot)));
           })
      .def("refresh",
           [](EventStore& self) {
             SignalCheck signals;
             const Result<uint64_t> sequence = [&] {
               const GilRelease release;
               return self.Refresh([&] { return signals(); });
             }();
             signals.Throw(sequence.status());
             return *sequence;
           })
      .def("sync",
           [](EventStore& self) {
             Result<uint64_t> synced = [&] {
               const GilRelease release;
               return self.Sync();
             }();
             return Unwrap(std::move(synced));
           })
      .def("flush",
           [](EventStore& self) {
             Status status;
             {
               const GilRelease release;
               status = self.Flush();
             }
             ThrowIfError(status);
           })
      .def(
          "compact",
          [](EventStore& self, const py::object& progress) {
            ProgressCheck check(progress);
            const Result<uint64_t> files = [&] {
              const GilRelease release;
              return self.Compact([&](const CompactionProgress& now) { return check(now.bytes_done, now.bytes_left); });
            }();
            check.Throw(files.status());
            return *files;
          },
          py::arg("progress") = py::none(), "progress(bytes done, bytes left) is called now and then.")
      .def(
          "expire",
          [](EventStore& self, int64_t before, uint64_t taken) {
            SignalCheck signals;
            const Result<ExpireResult> result = [&] {
              const GilRelease release;
              return self.Expire(before, taken, [&] { return signals(); });
            }();
            signals.Throw(result.status());
            return py::make_tuple(result->before, result->rows, result->tables, result->bytes, result->untaken);
          },
          py::arg("before"), py::arg("taken"),
          "Start of the first window kept, rows expired, files and bytes dropped, rows above `taken`: then nothing was "
          "done.")
      .def("verify",
           [](EventStore& self) {
             Status status;
             {
               const GilRelease release;
               status = self.Verify();
             }
             ThrowIfError(status);
           })
      .def(
          "record_handoff",
          [](EventStore& self, uint64_t sequence) {
            Status status;
            {
              const GilRelease release;
              status = self.RecordHandoff(sequence);
            }
            ThrowIfError(status);
          },
          py::arg("sequence"))
      .def("stats",
           [](EventStore& self) {
             Result<StoreStats> stats = [&] {
               const GilRelease release;
               return self.Stats();
             }();
             return StatsDict(Unwrap(std::move(stats)));
           })
      .def("close",
           [](EventStore& self) {
             Status status;
             {
               const GilRelease release;
               status = self.Close();
             }
             ThrowIfError(status);
           })
      .def("row_layout", &RowLayout,
           "Per column: name, type id, slot offset, slot width, required, time unit, "
           "precision, scale, type name. For the row path.")
      .def("row_fixed_size", [](const EventStore& self) { return self.core().format.fixed_size(); })
      .def("row_handle", &RowHandle, "A capsule that the row path passes to _row_api.");
}

}  // namespace segue::bindings
