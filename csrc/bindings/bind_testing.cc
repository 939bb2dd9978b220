// _engine.testing: the seams of the core for the test suite. Not for users.
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/crc32c.h"
#include "base/env.h"
#include "base/env_mem.h"
#include "base/large_buffers.h"
#include "bindings/bindings.h"
#include "bindings/gated_env.h"
#include "bindings/gil.h"
#include "events/leases.h"
#include "events/wal_reader.h"
#include "events/wal_writer.h"

namespace segue::bindings {
namespace {

namespace py = pybind11;
using NoGil = py::call_guard<GilRelease>;
using SharedEnv = std::shared_ptr<Env>;

// ThrowIfError and Unwrap want the GIL; a call that ran without it takes it here.
void Check(const Status& status) {
  if (status.ok()) return;
  const GilAcquire gil;
  ThrowIfError(status);
}

template <typename T>
T Value(Result<T> result) {
  Check(result.status());
  return result.Take();
}

Env* Or(const SharedEnv& env) { return env == nullptr ? Env::Posix() : env.get(); }

CrashKeep ParseKeep(const std::string& keep) {
  if (keep == "none") return CrashKeep::kNone;
  if (keep == "all") return CrashKeep::kAll;
  if (keep == "random") return CrashKeep::kRandom;
  throw py::value_error("keep=\"" + keep + "\" is unknown; use none, all or random");
}

StoreId ParseStoreId(const std::string& bytes) {
  StoreId id{};
  if (bytes.size() != id.size()) {
    throw py::value_error("a store id has 16 bytes; " + std::to_string(bytes.size()) + " were given");
  }
  std::memcpy(id.data(), bytes.data(), id.size());
  return id;
}

struct HeldBuffer {
  explicit HeldBuffer(size_t n) : data(AllocateLarge(n)), bytes(n) {}
  ~HeldBuffer() { FreeLarge(data, bytes); }
  HeldBuffer(const HeldBuffer&) = delete;
  HeldBuffer& operator=(const HeldBuffer&) = delete;

  void* data;
  size_t bytes;
};

std::string Bytes(const uint8_t* data, size_t size) { return std::string(reinterpret_cast<const char*>(data), size); }

// A lock that Python can let go at a chosen moment.
struct HeldLock {
  std::unique_ptr<FileLock> lock;
};

// A view of `bytes` for C++: they stay put while the caller's reference lives.
std::string_view View(const py::bytes& bytes) {
  char* data = nullptr;
  py::ssize_t size = 0;
  if (PyBytes_AsStringAndSize(bytes.ptr(), &data, &size) != 0) throw py::error_already_set();
  return {data, static_cast<size_t>(size)};
}

void CheckRange(const MappedFile& file, uint64_t begin, uint64_t n) {
  if (begin > file.size() || n > file.size() - begin) {
    throw py::index_error("the mapping has " + std::to_string(file.size()) + " bytes");
  }
}

void BindFiles(py::module_& m) {
  py::class_<HeldBuffer>(m, "LargeBuffer", py::buffer_protocol(), "Memory of AllocateLarge; see csrc/base.")
      .def(py::init<size_t>(), py::arg("bytes"))
      .def_buffer([](HeldBuffer& held) {
        return py::buffer_info(static_cast<uint8_t*>(held.data), static_cast<py::ssize_t>(held.bytes));
      });

  py::class_<WritableFile>(m, "WritableFile")
      .def("append", [](WritableFile& f, const py::bytes& data) { ThrowIfError(f.Append(View(data))); })
      .def("write_back", [](WritableFile& f) { ThrowIfError(f.WriteBack()); })
      .def(
          "sync", [](WritableFile& f) { Check(f.Sync()); }, NoGil())
      .def("close", [](WritableFile& f) { ThrowIfError(f.Close()); });
  py::class_<RandomAccessFile>(m, "RandomAccessFile")
      .def("read",
           [](const RandomAccessFile& f, uint64_t offset, size_t n) {
             std::string bytes(n, '\0');
             ThrowIfError(f.Read(offset, n, bytes.data()));
             return py::bytes(bytes);
           })
      .def_property_readonly("size", &RandomAccessFile::size);
  py::class_<MappedFile>(m, "MappedFile")
      .def("store",
           [](MappedFile& f, uint64_t offset, const py::bytes& data) {
             const std::string_view bytes = View(data);
             CheckRange(f, offset, bytes.size());
             std::memcpy(f.data() + offset, bytes.data(), bytes.size());
             ThrowIfError(f.Stored(offset, offset + bytes.size()));
           })
      .def("write", [](MappedFile& f, uint64_t offset, const py::bytes& first,
                       const py::bytes& second) { ThrowIfError(f.Write(offset, {View(first), View(second)})); })
      .def("load",
           [](MappedFile& f, uint64_t offset, size_t n) {
             CheckRange(f, offset, n);
             return py::bytes(Bytes(f.data() + offset, n));
           })
      .def(
          "sync", [](MappedFile& f, uint64_t begin, uint64_t end) { Check(f.Sync(begin, end)); }, NoGil())
      .def(
          "sync_written", [](MappedFile& f) { Check(f.SyncWritten()); }, NoGil())
      .def(
          "prepare", [](MappedFile& f, uint64_t begin, uint64_t end) { Check(f.Prepare(begin, end)); }, NoGil())
      .def_property_readonly("size", &MappedFile::size);
  py::class_<HeldLock>(m, "FileLock").def("release", [](HeldLock& held) { held.lock.reset(); });
}

void BindEnvs(py::module_& m) {
  py::class_<Env, SharedEnv>(m, "Env", "A file system; see csrc/base/env.h.")
      .def(
          "new_writable_file", [](Env& e, const std::string& path) { return Unwrap(e.NewWritableFile(path)); },
          py::keep_alive<0, 1>())
      .def(
          "new_random_access_file", [](Env& e, const std::string& path) { return Unwrap(e.NewRandomAccessFile(path)); },
          py::keep_alive<0, 1>())
      .def(
          "new_mapped_file",
          [](Env& e, const std::string& path, uint64_t size) { return Unwrap(e.NewMappedFile(path, size)); },
          py::keep_alive<0, 1>())
      .def(
          "lock_file", [](Env& e, const std::string& path) { return HeldLock{Unwrap(e.LockFile(path))}; },
          py::keep_alive<0, 1>())
      .def("remove_unlocked", [](Env& e, const std::string& path) { return Unwrap(e.RemoveUnlocked(path)); })
      .def("read_file", [](Env& e, const std::string& path) { return py::bytes(Unwrap(e.ReadFile(path))); })
      .def("write_file_atomic", [](Env& e, const std::string& path,
                                   const py::bytes& data) { ThrowIfError(e.WriteFileAtomic(path, View(data))); })
      .def("exists", [](Env& e, const std::string& path) { return Unwrap(e.Exists(path)); })
      .def("file_size", [](Env& e, const std::string& path) { return Unwrap(e.FileSize(path)); })
      .def("list", [](Env& e, const std::string& dir) { return Unwrap(e.List(dir)); })
      .def("create_dirs", [](Env& e, const std::string& dir) { ThrowIfError(e.CreateDirs(dir)); })
      .def("rename", [](Env& e, const std::string& from, const std::string& to) { ThrowIfError(e.Rename(from, to)); })
      .def("remove", [](Env& e, const std::string& path) { ThrowIfError(e.Remove(path)); })
      .def(
          "remove_gradually",
          [](Env& e, const std::string& path, bool hurry) {
            Check(e.RemoveGradually(path, [hurry] { return hurry; }));
          },
          py::arg("path"), py::arg("hurry") = false, NoGil())
      .def("release_tail", [](Env& e, const std::string& path, uint64_t offset) { e.ReleaseTail(path, offset); })
      .def("sync_dir", [](Env& e, const std::string& dir) { ThrowIfError(e.SyncDir(dir)); });

  py::class_<MemEnv, Env, std::shared_ptr<MemEnv>>(
      m, "MemEnv", "A file system in memory that knows what was synced, and fails where it is told to.")
      .def(py::init<>())
      .def("op_count", &MemEnv::op_count, "Operations so far; the next one has the number op_count() + 1.")
      .def("op", &MemEnv::op, py::arg("n"), "What operation n was, such as \"append db/wal\".")
      .def("set_crash_at", &MemEnv::SetCrashAt, py::arg("n"),
           "Operation n is cut off; it and all calls after it fail with EIO.")
      .def("set_fail_at", &MemEnv::SetFailAt, py::arg("n"), py::arg("errno"), py::arg("short_write") = false,
           "Operation n, and only that one, fails.")
      .def(
          "set_capacity", [](MemEnv& e, std::optional<uint64_t> bytes) { e.SetCapacity(bytes.value_or(UINT64_MAX)); },
          py::arg("bytes"), "All files together may have so many bytes; None for any number.")
      .def_property_readonly("used", &MemEnv::used, "Bytes of all files.")
      .def_property_readonly("crashed", &MemEnv::crashed)
      .def(
          "crash",
          [](const MemEnv& e, const std::string& keep, uint64_t seed) {
            const CrashKeep kept = ParseKeep(keep);
            const GilRelease release;
            return std::shared_ptr<MemEnv>(e.Crash(kept, seed));
          },
          py::arg("keep") = "none", py::arg("seed") = 0,
          "The file system after power loss: of what was not synced, keep none, all (as after a kill) or a random "
          "part.")
      .def("files", &MemEnv::ListAll, "Paths of all files.")
      .def("read_raw", [](const MemEnv& e, const std::string& path) { return py::bytes(Unwrap(e.ReadRaw(path))); })
      .def("write_raw", [](MemEnv& e, const std::string& path, const py::bytes& data) {
        ThrowIfError(e.WriteRaw(path, View(data)));
      });

  py::class_<GatedEnv, Env, std::shared_ptr<GatedEnv>>(
      m, "GatedEnv",
      "In front of another file system: syncs of mapped files, writes into them, and reads of one file wait while "
      "their gate is closed.")
      .def(py::init<SharedEnv>(), py::arg("behind"))
      .def("close_gate", [](GatedEnv& e) { e.syncs().Close(); })
      .def("open_gate", [](GatedEnv& e) { e.syncs().Open(); })
      .def_property_readonly(
          "waiting", [](GatedEnv& e) { return e.syncs().waiting(); }, "Syncs at the gate now.")
      .def(
          "close_reads", [](GatedEnv& e, const std::string& part) { e.reads().Close(part); }, py::arg("part"),
          "Reads of files with this in their path wait.")
      .def("open_reads", [](GatedEnv& e) { e.reads().Open(); })
      .def(
          "close_writes", [](GatedEnv& e) { e.writes().Close(); }, "Writes into mapped files wait.")
      .def("open_writes", [](GatedEnv& e) { e.writes().Open(); })
      .def_property_readonly(
          "writes_waiting", [](GatedEnv& e) { return e.writes().waiting(); }, "Writes at the gate now.")
      .def_property_readonly(
          "reads_waiting", [](GatedEnv& e) { return e.reads().waiting(); }, "Reads at the gate now.");

  // Never destroyed, so the holder owns nothing.
  m.def("posix_env", [] { return SharedEnv(Env::Posix(), [](Env*) {}); });
}

void BindWalWriter(py::module_& m) {
  py::class_<WalWriter>(m, "WalWriter")
      .def(py::init([](const std::string& path, const py::bytes& store_id, uint64_t generation, uint64_t first_sequence,
                       bool prior_synced, uint64_t capacity, const std::string& recycle, const SharedEnv& env,
                       bool staged, bool made_ahead) {
             const WalHeader header{ParseStoreId(store_id), generation, first_sequence, prior_synced, made_ahead};
             return Unwrap(WalWriter::Create(Or(env), path, header, staged ? WalMode::kStaged : WalMode::kThrough,
                                             capacity, recycle));
           }),
           py::arg("path"), py::arg("store_id"), py::arg("generation") = 1, py::arg("first_sequence") = 1,
           py::arg("prior_synced") = false, py::arg("capacity") = kWalDefaultCapacity, py::arg("recycle") = "",
           py::arg("env") = nullptr, py::arg("staged") = false, py::arg("made_ahead") = false, py::keep_alive<1, 9>())
      .def_static("file_size_for", &WalWriter::FileSizeFor)
      .def(
          "append",
          [](WalWriter& w, const py::bytes& payload, uint8_t type, uint64_t first_seq, uint32_t count) -> py::object {
            const std::string_view bytes = View(payload);
            if (!w.Fits(bytes.size())) {
              ThrowIfError(w.status());
              return py::none();
            }
            ThrowIfError(w.Append(static_cast<WalRecordType>(type), first_seq, count, bytes));
            return py::int_(w.end_offset());
          },
          py::arg("payload"), py::arg("type") = 1, py::arg("first_seq") = 1, py::arg("count") = 1,
          "End offset after the record, or None when it does not fit.")
      .def(
          "append_many",
          [](WalWriter& w, const py::bytes& payload, uint64_t records, uint32_t count) {
            const std::string_view bytes = View(payload);
            const GilRelease release;
            for (uint64_t i = 0; i < records; ++i) {
              Check(w.Append(WalRecordType::kBatch, 1 + i * count, count, bytes));
            }
          },
          py::arg("payload"), py::arg("records"), py::arg("count") = 1, "The same payload so many times.")
      .def(
          "sync", [](WalWriter& w, std::optional<uint64_t> upto) { Check(w.Sync(upto.value_or(w.end_offset()))); },
          py::arg("upto") = py::none(), NoGil())
      .def(
          "seal", [](WalWriter& w) { Check(w.Seal()); }, NoGil())
      .def_property_readonly("end_offset", &WalWriter::end_offset)
      .def_property_readonly("synced_offset", &WalWriter::synced_offset)
      .def_property_readonly("capacity", &WalWriter::capacity)
      .def_property_readonly("path", &WalWriter::path);
}

// type, first_seq, count, offset, payload
using RecordTuple = std::tuple<int, uint64_t, uint32_t, uint64_t, py::bytes>;

void BindWalReader(py::module_& m) {
  py::class_<WalReader>(m, "WalReader")
      .def(py::init([](const std::string& path, const py::bytes& store_id, const SharedEnv& env) {
             return Unwrap(WalReader::Open(Or(env), path, ParseStoreId(store_id)));
           }),
           py::arg("path"), py::arg("store_id"), py::arg("env") = nullptr, py::keep_alive<1, 4>())
      .def(
          "next",
          [](WalReader& r) -> std::optional<RecordTuple> {
            WalRecord record;
            if (!Unwrap(r.Next(&record))) return std::nullopt;
            return RecordTuple(static_cast<int>(record.type), record.first_seq, record.count, record.offset,
                               py::bytes(record.payload.data(), record.payload.size()));
          },
          "(type, first_seq, count, offset, payload), or None at the end.")
      .def(
          "drain",
          [](WalReader& r) {
            WalRecord record;
            uint64_t records = 0;
            uint64_t bytes = 0;
            while (Value(r.Next(&record))) {
              ++records;
              bytes += record.payload.size();
            }
            return std::pair(records, bytes);
          },
          NoGil(), "Reads to the end: (records, payload bytes).")
      .def("seek_to", [](WalReader& r, uint64_t offset) { ThrowIfError(r.SeekTo(offset)); })
      .def_property_readonly("last_offset", &WalReader::last_offset)
      .def_property_readonly("synced_to", &WalReader::synced_to)
      .def_property_readonly("capacity", &WalReader::capacity)
      .def_property_readonly("store_id",
                             [](const WalReader& r) { return py::bytes(Bytes(r.header().store_id.data(), 16)); })
      .def_property_readonly("generation", [](const WalReader& r) { return r.header().generation; })
      .def_property_readonly("first_sequence", [](const WalReader& r) { return r.header().first_sequence; })
      .def_property_readonly("prior_synced", [](const WalReader& r) { return r.header().prior_synced; })
      .def_property_readonly("made_ahead", [](const WalReader& r) { return r.header().made_ahead; });
}

struct HeldLease {
  std::shared_ptr<const Lease> lease;
};

void BindLeases(py::module_& m) {
  py::class_<HeldLease>(m, "Lease")
      .def("release", [](HeldLease& held) { held.lease.reset(); })
      .def_property_readonly("path", [](const HeldLease& held) { return held.lease->path(); });
  m.def(
      "take_lease",
      [](const std::string& dir, const std::set<uint64_t>& tables, const SharedEnv& env) {
        SharedEnv target = env != nullptr ? env : SharedEnv(Env::Posix(), [](Env*) {});
        return HeldLease{Unwrap(Lease::Take(std::move(target), dir, tables))};
      },
      py::arg("dir"), py::arg("tables"), py::arg("env") = nullptr);
  m.def(
      "leased_tables", [](const std::string& dir, const SharedEnv& env) { return Unwrap(LeasedTables(Or(env), dir)); },
      py::arg("dir"), py::arg("env") = nullptr);
}

}  // namespace

void BindTesting(py::module_& parent) {
  py::module_ m = parent.def_submodule("testing", "Seams of the core for the test suite. Not for users.");
  m.def(
      "crc32c",
      [](const py::bytes& data, uint32_t crc) {
        const std::string_view v = View(data);
        return Crc32c(v.data(), v.size(), crc);
      },
      py::arg("data"), py::arg("crc") = 0);
  m.def(
      "crc32c_scalar",
      [](const py::bytes& data, uint32_t crc) {
        const std::string_view v = View(data);
        return Crc32cScalar(v.data(), v.size(), crc);
      },
      py::arg("data"), py::arg("crc") = 0);
  BindFiles(m);
  BindEnvs(m);
  BindWalWriter(m);
  BindWalReader(m);
  BindLeases(m);
  BindCompaction(m);
  BindKernelLoops(m);
  BindPackedKernels(m);
  BindSkipList(m);
}

}  // namespace segue::bindings
