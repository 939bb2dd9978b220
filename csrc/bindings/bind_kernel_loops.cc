// _engine.testing: loops over single kernels, for benchmarks/kernels. A call runs
// its kernel over all it was given without the GIL, and times nothing.
#include <pybind11/numpy.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/interrupt.h"
#include "events/bloom.h"
#include "events/skiplist.h"
#include "pipeline/broadcast_join.h"
#include "pipeline/row_intake.h"
#include "pipeline/run_merger.h"
#include "scan/group_count.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

template <typename T>
using NumpyArray = py::array_t<T, py::array::c_style>;

// Rows whose key is one unsigned integer, and their time the number of the row.
class IntegerSkipList {
 public:
  explicit IntegerSkipList(size_t row_bytes) : row_(row_bytes, 'r') {}

  void Insert(const NumpyArray<uint64_t>& keys) {
    const uint64_t* key = keys.data();
    const auto n = static_cast<size_t>(keys.size());
    const GilRelease release;
    for (size_t i = 0; i < n; ++i) {
      const Encoded encoded(key[i]);
      ++sequence_;
      list_.Insert(encoded.view(), static_cast<int64_t>(sequence_), sequence_, row_);
    }
  }

  // The sequence number of the first row of each key, 0 where there is none.
  NumpyArray<uint64_t> Find(const NumpyArray<uint64_t>& keys) const {
    NumpyArray<uint64_t> found(keys.size());
    const uint64_t* key = keys.data();
    uint64_t* out = found.mutable_data();
    const auto n = static_cast<size_t>(keys.size());
    const GilRelease release;
    for (size_t i = 0; i < n; ++i) {
      const Encoded encoded(key[i]);
      const SkipList::Node* node =
          list_.Seek({KeyPrefix(encoded.view()), encoded.view(), std::numeric_limits<int64_t>::min(), 0});
      out[i] = node != nullptr && node->order.key == encoded.view() ? node->order.seq : 0;
    }
    return found;
  }

  NumpyArray<uint64_t> Sequences() const {
    NumpyArray<uint64_t> in_order(static_cast<py::ssize_t>(list_.rows()));
    uint64_t* out = in_order.mutable_data();
    for (const SkipList::Node* node = list_.First(); node != nullptr; node = node->Next(0)) *out++ = node->order.seq;
    return in_order;
  }

  size_t memory() const { return list_.memory(); }

 private:
  struct Encoded {
    explicit Encoded(uint64_t key) { StoreAs(bytes, __builtin_bswap64(key)); }
    std::string_view view() const { return {bytes, sizeof(bytes)}; }
    char bytes[8];
  };

  const std::string row_;
  SkipList list_;
  uint64_t sequence_ = 0;
};

// The exclusive or of the CRCs of all pieces, and the instruction set that ran.
std::pair<std::string, uint32_t> CrcOfPieces(const std::string& isa, const py::bytes& data, size_t piece) {
  const bool scalar = isa == "scalar";
  if (!scalar && isa != Crc32cIsaName()) ThrowIfError(Status::Unsupported("no CRC32C for '" + isa + "' here"));
  if (piece == 0) ThrowIfError(Status::Invalid("a piece of 0 bytes"));
  const auto bytes = static_cast<std::string_view>(data);
  const GilRelease release;
  uint32_t all = 0;
  for (size_t begin = 0; begin < bytes.size(); begin += piece) {
    const size_t n = std::min(piece, bytes.size() - begin);
    all ^= scalar ? Crc32cScalar(bytes.data() + begin, n) : Crc32c(bytes.data() + begin, n);
  }
  return {scalar ? "scalar" : Crc32cIsaName(), all};
}

void BloomProbe(const BloomFilter& filter, const NumpyArray<uint64_t>& hashes, NumpyArray<uint8_t>& found,
                bool one_by_one) {
  if (found.size() != hashes.size()) ThrowIfError(Status::Invalid("one answer a hash"));
  const uint64_t* hash = hashes.data();
  uint8_t* out = found.mutable_data();
  const auto n = static_cast<size_t>(hashes.size());
  const GilRelease release;
  if (one_by_one) {
    for (size_t i = 0; i < n; ++i) out[i] = filter.MayContain(hash[i]) ? 1 : 0;
  } else {
    filter.MayContainMany(hash, n, out);
  }
}

void BloomAdd(BloomFilter& filter, const NumpyArray<uint64_t>& hashes) {
  const uint64_t* hash = hashes.data();
  const auto n = static_cast<size_t>(hashes.size());
  const GilRelease release;
  filter.AddMany(hash, n);
}

// Sorted runs of `run_rows` rows each, in memory or spilled, merged anew by each call.
class RunMerge {
 public:
  RunMerge(const py::object& stream, const std::string& by, int64_t run_rows, std::string spill_dir)
      : run_rows_(run_rows), spill_dir_(std::move(spill_dir)) {
    if (run_rows < 1) ThrowIfError(Status::Invalid("a run of no rows"));
    StreamReader reader = TakeStream(stream);
    const Schema& schema = reader.schema();
    const int index = schema.IndexOf(by);
    if (index < 0) ThrowIfError(Status::Schema(by, "unknown column '" + by + "'"));
    layout_ = RowLayout::Make(schema.fields);
    intake_ = std::make_unique<RowIntake>(&layout_, schema.fields.size(), 0, &budget_);
    key_ = SortKey::Make(&layout_, 0, 0, {{static_cast<uint32_t>(index), false}}, intake_->dictionaries());
    Status status;
    {
      const GilRelease release;
      status = Fill(&reader);
      const StreamReader dropped = std::move(reader);
    }
    ThrowIfError(status);
  }

  // The values of an int64 column in the order of the merge.
  NumpyArray<int64_t> Merge(const std::string& column) {
    const RowColumn* taken = nullptr;
    for (const RowColumn& candidate : layout_.columns()) {
      if (candidate.field.name == column && candidate.width == 8) taken = &candidate;
    }
    if (taken == nullptr) ThrowIfError(Status::Schema(column, "'" + column + "' is no column of 8 bytes"));
    NumpyArray<int64_t> values(static_cast<py::ssize_t>(rows_));
    int64_t* out = values.mutable_data();
    Status status;
    {
      const GilRelease release;
      status = MergeInto(taken->offset, out);
    }
    ThrowIfError(status);
    return values;
  }

  size_t fan_in() const { return runs_.size(); }
  uint64_t row_bytes() const { return layout_.stride(); }

 private:
  static constexpr int64_t kChunkRows = 2048;
  static constexpr uint64_t kBlockBytes = uint64_t{256} << 10;

  Status Fill(StreamReader* reader) {
    std::shared_ptr<MemoryRun> run;
    while (true) {
      SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> batch, reader->Next());
      if (batch == nullptr) return run == nullptr ? Status() : Seal(std::move(run));
      const int64_t rows = batch->rows();
      intake_->Begin(std::shared_ptr<const BatchReader>(std::move(batch)));
      for (int64_t begin = 0; begin < rows;) {
        if (run == nullptr) run = std::make_shared<MemoryRun>(&layout_, &key_, &budget_);
        Selection selection;
        selection.begin = begin;
        selection.n = std::min({kChunkRows, rows - begin, run_rows_ - run->size()});
        uint64_t heap_bytes = 0;
        SEGUE_ASSIGN_OR_RETURN(selection.n, intake_->Fitting(selection, UINT32_MAX, &heap_bytes));
        SEGUE_RETURN_IF_ERROR(run->Extend(selection.n, heap_bytes));
        SEGUE_RETURN_IF_ERROR(intake_->Pack(selection, run->next_row(), run->heap()));
        key_.Build(run->next_row(), run->heap()->data(), selection.n, nullptr, nullptr, run->next_key());
        run->Commit(selection.n);
        begin += selection.n;
        if (run->size() == run_rows_) SEGUE_RETURN_IF_ERROR(Seal(std::exchange(run, nullptr)));
      }
    }
  }

  Status Seal(std::shared_ptr<MemoryRun> run) {
    SEGUE_RETURN_IF_ERROR(run->Sort());
    rows_ += run->size();
    if (spill_dir_.empty()) {
      runs_.push_back({std::move(run), nullptr});
      return Status();
    }
    const std::string path = JoinPath(spill_dir_, std::to_string(runs_.size()) + ".run");
    SEGUE_ASSIGN_OR_RETURN(
        std::unique_ptr<SpillWriter> writer,
        SpillWriter::Create(Env::Posix(), path, &layout_, run->codec(), kBlockBytes, &budget_, &counters_));
    for (int64_t i = 0; i < run->size(); ++i) SEGUE_RETURN_IF_ERROR(writer->Append(run->KeyAt(i), run->RowAt(i)));
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<SpilledRun> spilled, writer->Finish());
    runs_.push_back({nullptr, std::move(spilled)});
    return Status();
  }

  Status MergeInto(uint32_t offset, int64_t* out) {
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<RunMerger> merger,
                           RunMerger::Make(&layout_, &key_, runs_, KeyRange{}, &budget_));
    std::vector<MergedRow> rows(512);
    while (true) {
      SEGUE_ASSIGN_OR_RETURN(const size_t n, merger->Next(rows.data(), rows.size()));
      if (n == 0) return Status();
      for (size_t i = 0; i < n; ++i) *out++ = LoadAs<int64_t>(rows[i].ref.row + offset);
    }
  }

  const int64_t run_rows_;
  const std::string spill_dir_;
  MemoryBudget budget_{UINT64_MAX};
  SpillCounters counters_;
  RowLayout layout_;
  SortKey key_;
  std::unique_ptr<RowIntake> intake_;
  std::vector<SortedRun> runs_;
  int64_t rows_ = 0;
};

// Fact rows looked up in a dimension, again by each call.
class JoinProbe {
 public:
  JoinProbe(const py::object& dimension, const std::string& key, const py::object& facts, const std::string& on) {
    StreamReader rows = TakeStream(dimension);
    table_ = Unwrap(BroadcastTable::Make(&rows, key, std::nullopt, nullptr));
    StreamReader reader = TakeStream(facts);
    const int index = reader.schema().IndexOf(on);
    if (index < 0) ThrowIfError(Status::Schema(on, "unknown column '" + on + "'"));
    on_ = static_cast<size_t>(index);
    ThrowIfError(table_->CheckKey(reader.schema().fields[on_]));
    while (std::unique_ptr<BatchReader> batch = Unwrap(reader.Next())) {
      rows_ += batch->rows();
      batches_.push_back(std::move(batch));
    }
  }

  // The dimension's row of each fact row; 2^32 - 1 where there is none.
  NumpyArray<uint32_t> Lookup() const {
    NumpyArray<uint32_t> matches(static_cast<py::ssize_t>(rows_));
    uint32_t* out = matches.mutable_data();
    const GilRelease release;
    BroadcastTable::Prober prober(table_.get());
    for (const std::unique_ptr<BatchReader>& batch : batches_) {
      const ArrayView& view = batch->columns()[on_];
      prober.Begin(view);
      prober.Lookup(view, 0, batch->rows(), out);
      out += batch->rows();
    }
    return matches;
  }

  bool dense() const { return table_->dense(); }
  uint64_t memory() const { return table_->memory_bytes(); }

 private:
  std::shared_ptr<const BroadcastTable> table_;
  std::vector<std::unique_ptr<BatchReader>> batches_;
  size_t on_ = 0;
  int64_t rows_ = 0;
};

// Adds up all words, in chains that do not wait for each other: what a core can read in order.
uint64_t SequentialReads(const NumpyArray<uint64_t>& words) {
  constexpr size_t kLine = 8;
  const uint64_t* word = words.data();
  const auto n = static_cast<size_t>(words.size()) / kLine * kLine;
  const GilRelease release;
  uint64_t sums[kLine] = {};
  for (size_t i = 0; i < n; i += kLine) {
    for (size_t c = 0; c < kLine; ++c) sums[c] += word[i + c];
  }
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  return sum;
}

// Adds up words at pseudo-random places. No address depends on a load, so that this is what a core
// can fetch from so much memory. `words` are a power of two.
uint64_t RandomReads(const NumpyArray<uint64_t>& words, size_t n) {
  const auto size = static_cast<uint64_t>(words.size());
  if (!std::has_single_bit(size) || size == 1) ThrowIfError(Status::Invalid("the words are no power of two"));
  const int shift = 64 - std::countr_zero(size);
  const uint64_t* word = words.data();
  const GilRelease release;
  uint64_t sum = 0;
  uint64_t state = 0;
  for (size_t i = 0; i < n; ++i) {
    state += 0x9E3779B97F4A7C15ULL;
    sum += word[(state ^ state >> 29) * 0xBF58476D1CE4E5B9ULL >> shift];
  }
  return sum;
}

}  // namespace

void BindKernelLoops(py::module_& m) {
  py::class_<IntegerSkipList>(m, "SkipList", "A skiplist of rows keyed by an unsigned integer.")
      .def(py::init<size_t>(), py::arg("row_bytes"))
      .def("insert", &IntegerSkipList::Insert, py::arg("keys"))
      .def("find", &IntegerSkipList::Find, py::arg("keys"), "Sequence of the first row of each key; 0: none.")
      .def("sequences", &IntegerSkipList::Sequences, "Of all rows, in their order.")
      .def_property_readonly("memory", &IntegerSkipList::memory);
  m.def("crc32c_isas", [] {
    std::vector<std::string> names{"scalar"};
    if (names[0] != Crc32cIsaName()) names.emplace_back(Crc32cIsaName());
    return names;
  });
  m.def("crc32c_pieces", &CrcOfPieces, py::arg("isa"), py::arg("data"), py::arg("piece"),
        "(instruction set that ran, exclusive or of the CRCs of all pieces).");
  m.def("bloom_probe", &BloomProbe, py::arg("filter"), py::arg("hashes"), py::arg("found").noconvert(),
        py::arg("one_by_one"));
  m.def("bloom_add", &BloomAdd, py::arg("filter"), py::arg("hashes"));
  py::class_<RunMerge>(m, "RunMerge", "Sorted runs, merged anew by each call.")
      .def(py::init<const py::object&, const std::string&, int64_t, std::string>(), py::arg("stream"), py::arg("by"),
           py::arg("run_rows"), py::arg("spill_dir") = "")
      .def("merge", &RunMerge::Merge, py::arg("column"), "Values of an int64 column in the order of the merge.")
      .def_property_readonly("fan_in", &RunMerge::fan_in)
      .def_property_readonly("row_bytes", &RunMerge::row_bytes);
  py::class_<JoinProbe>(m, "JoinProbe", "Fact rows to be looked up in a dimension.")
      .def(py::init<const py::object&, const std::string&, const py::object&, const std::string&>(),
           py::arg("dimension"), py::arg("key"), py::arg("facts"), py::arg("on"))
      .def("lookup", &JoinProbe::Lookup, "The dimension's row of each fact row; 2^32 - 1: none.")
      .def_property_readonly("dense", &JoinProbe::dense)
      .def_property_readonly("memory", &JoinProbe::memory);
  m.def("sequential_reads", &SequentialReads, py::arg("words"));
  m.def("random_reads", &RandomReads, py::arg("words"), py::arg("n"));
}

}  // namespace segue::bindings
