// EtlJob: the nightly job. Takes batches in, hash-partitions, splits and sorts
// their rows within a memory budget, joins dimensions, and serves each split in
// order: (bucket, sort columns, sequence).
//
// Thread safety: AddJoin, Consume and Finish are serialised; after Finish many
// EtlStreams may be read at once, each by one thread. Cancel and metrics may be
// called from any thread at any time; Close waits for a running call, which it cancels.
// Invariants: every row consumed either appears in exactly one split or was
// dropped by an inner join, and counted; splits() row counts are exact.
// Ownership: runs, spill files, dimension tables, until Close or destruction;
// an EtlStream keeps its job alive.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/arrow_array.h"
#include "base/env.h"
#include "pipeline/broadcast_join.h"
#include "pipeline/memory_budget.h"
#include "pipeline/murmur3.h"
#include "pipeline/row_intake.h"
#include "pipeline/run_generator.h"
#include "pipeline/split_assigner.h"

namespace segue {

struct EtlOptions {
  // Columns are the source's, or such as joins bring; the latter take room in every sorted row.

  // Buckets of Spark's repartition(n, columns); 0: one bucket. Cost: none worth naming.
  int32_t partitions = 0;
  std::vector<std::string> partition_columns;
  // Order within a bucket, ascending, nulls first.
  std::vector<std::string> sort_columns;
  // Split by a unit of this timestamp column (UTC) ...
  std::optional<std::string> split_column;
  std::optional<SplitUnit> split_unit;
  // ... or by the values of these columns. Neither: one split.
  std::vector<std::string> split_columns;
  // Last tie-break of the order (an integer column), not part of the output. Without it: arrival.
  std::optional<std::string> sequence_column;
  // Bytes; at least 64 MiB. Less memory: more spilling.
  uint64_t memory = uint64_t{1} << 30;
  // The consuming thread and threads - 1 workers; also how many streams the budget expects at once.
  int threads = 1;
  // For spill files; made when the first is written.
  std::string spill_dir;
  Env* env = nullptr;
};

struct EtlSplit {
  uint32_t id = 0;
  int64_t rows = 0;
  std::vector<SplitValue> values;  // one for a unit of time, one a split column, none without splits
};

struct EtlMetrics {
  int64_t rows_in = 0;
  int64_t rows_out = 0;          // rows kept
  std::vector<int64_t> dropped;  // by join
  uint64_t peak_memory = 0;
  uint64_t dimension_bytes = 0;
  uint64_t row_bytes = 0;    // packed, strings aside
  uint64_t batch_bytes = 0;  // limit of an output batch
  SortMetrics sort;
};

class EtlStream;

class EtlJob : public std::enable_shared_from_this<EtlJob> {
 public:
  static Result<std::shared_ptr<EtlJob>> Make(EtlOptions options);
  ~EtlJob();

  // Before the first Consume. `on`: a source column, or an attribute of an earlier join.
  Status AddJoin(StreamReader* dimension, const std::string& on, const std::string& key,
                 const std::optional<std::vector<std::string>>& columns, JoinType how);
  // All rows of the stream; how many. Every stream has the same schema.
  Result<int64_t> Consume(StreamReader* stream, const Interrupt& interrupt);
  Status Finish(const Interrupt& interrupt);

  // After Finish, by value, null first. Splits without rows do not exist.
  const std::vector<EtlSplit>& splits() const { return splits_; }
  // Types of the split columns' values; after the first Consume.
  const std::vector<ColumnType>& split_types() const { return split_assigner_->columns(); }
  // After the first Consume: source columns, then joined ones.
  Result<Schema> output_schema() const;
  // Rows of a split in order, restricted to buckets [first_bucket, last_bucket].
  // Batches of whole neighbouring buckets, up to row_group_rows rows (fewer
  // where the budget asks for it); a larger bucket is cut.
  Result<std::unique_ptr<EtlStream>> Read(size_t split, int64_t row_group_rows, uint32_t first_bucket = 0,
                                          uint32_t last_bucket = UINT32_MAX);
  EtlMetrics metrics() const;
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  void Close();
  bool closed() const { return closed_.load(std::memory_order_relaxed); }
  int32_t buckets() const { return options_.partitions > 0 ? options_.partitions : 1; }

 private:
  friend class EtlStream;

  struct Join {
    std::shared_ptr<const BroadcastTable> table;
    JoinType how = JoinType::kInner;
    std::string on;
    int column = -1;                // source column it is looked up by ...
    int through = -1;               // ... or the earlier join whose attribute it is,
    std::vector<uint32_t> chain;    // then row of that table -> row of this one
    int stored = -1;                // layout column that keeps the match; -1: looked up again at output
    std::vector<uint32_t> by_code;  // matches by job-wide dictionary code, made at Finish
    std::optional<BroadcastTable::Prober> prober;
    std::atomic<int64_t> dropped{0};
  };

  // A joined column that rows are ordered, split or partitioned by: gathered before the sort.
  struct Derived {
    size_t join;
    size_t attribute;
  };

  // Owns an ArrowSchema.
  struct ArrowSchemaHolder {
    ArrowSchema schema{};
    ArrowSchemaHolder() = default;
    ArrowSchemaHolder(const ArrowSchemaHolder&) = delete;
    ArrowSchemaHolder& operator=(const ArrowSchemaHolder&) = delete;
    ~ArrowSchemaHolder() {
      if (schema.release != nullptr) schema.release(&schema);
    }
  };

  explicit EtlJob(EtlOptions options) : options_(std::move(options)), budget_(options_.memory) {}
  Status Check(bool want_finished) const;
  Status Begin(const Schema& schema);
  Status BeginOrder();
  Status BeginJoins(std::vector<Field>* fields);
  // The layout column of a source column, or of a joined one, which thereby becomes a derived column.
  Result<size_t> ResolveColumn(const std::string& name, const char* role);
  Status NoSuchColumn(const std::string& name, const char* role) const;
  Status DeriveColumns(int64_t begin, int64_t n);
  Status ConsumeBatch(std::shared_ptr<const BatchReader> batch, const Interrupt& interrupt);
  Status ConsumeChunk(int64_t begin, int64_t n, const Murmur3Batch* hashes, const Interrupt& interrupt);
  Interrupt WithCancel(const Interrupt& interrupt) const;

  EtlOptions options_;
  MemoryBudget budget_;
  std::mutex call_mutex_;
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> closed_{false};
  bool finished_ = false;
  Status error_;  // of an earlier call; the job cannot go on after it

  mutable std::mutex shape_mutex_;  // held while what metrics() reads is set up
  std::deque<Join> joins_;
  std::vector<std::string> joined_names_;
  bool begun_ = false;
  Schema source_;
  Schema output_;
  std::vector<Derived> derived_;
  Schema derived_schema_;
  ArrowSchemaHolder derived_arrow_;
  std::vector<SortColumn> sort_;
  std::vector<ColumnType> split_types_;
  int sequence_ = -1;                      // source column
  std::vector<size_t> output_columns_;     // layout columns of the source part of the output
  std::vector<size_t> partition_columns_;  // layout columns
  std::vector<size_t> split_columns_;      // layout columns
  bool hash_by_batch_ = false;             // all partition columns are the source's
  RowLayout layout_;
  SortKey key_;
  std::unique_ptr<RowIntake> intake_;
  std::unique_ptr<SplitAssigner> split_assigner_;
  std::unique_ptr<RunGenerator> runs_;
  SortMemory plan_;
  std::vector<std::unique_ptr<DictionaryExport>> dictionary_exports_;  // by layout column
  std::vector<int64_t> split_rows_;
  std::vector<EtlSplit> splits_;
  std::atomic<int64_t> rows_in_{0};
  std::atomic<int64_t> rows_out_{0};

  // Scratch of one chunk.
  std::vector<int32_t> chosen_;
  std::vector<uint32_t> split_ids_;
  std::vector<int32_t> buckets_;
  std::vector<std::vector<uint32_t>> matches_;  // by join
};

// The rows of one split, batch by batch.
class EtlStream {
 public:
  // False at the end. After an error: the same error again.
  Result<bool> Next(ArrowArray* out);
  const Schema& schema() const { return job_->output_; }
  // First and last bucket of each batch produced so far, both inclusive.
  const std::vector<std::pair<uint32_t, uint32_t>>& bucket_ranges() const { return bucket_ranges_; }
  const Status& status() const { return status_; }

 private:
  friend class EtlJob;

  EtlStream() = default;
  Status Fill();
  Result<int64_t> Cut() const;
  Status Emit(int64_t rows, ArrowArray* out);
  std::vector<ColumnBuilder> MakeBuilders() const;
  uint64_t BatchBytes() const;

  std::shared_ptr<EtlJob> job_;
  std::unique_ptr<RunMerger> merger_;
  int64_t row_group_rows_ = 0;
  uint64_t joined_row_bytes_ = 0;  // of the joined columns, estimated
  std::vector<size_t> columns_;    // layout columns that are decoded: output ones, then what only joins need
  std::vector<ColumnBuilder> builders_;
  int64_t rows_ = 0;
  std::vector<std::pair<int64_t, uint32_t>> bucket_starts_;  // (row, bucket) in the batch being built
  std::vector<MergedRow> pending_;
  size_t pending_at_ = 0;
  size_t pending_end_ = 0;
  bool ended_ = false;
  std::vector<std::pair<uint32_t, uint32_t>> bucket_ranges_;
  Status status_;
};

}  // namespace segue
