#include "pipeline/etl_job.h"

#include <algorithm>
#include <bit>

#include "pipeline/hash_partition.h"
#include "pipeline/murmur3.h"

namespace segue {

namespace {

constexpr int64_t kChunkRows = 2048;  // a chunk's packed rows and keys stay in the cache
constexpr int kSplitBits = 24;
constexpr int kMaxThreads = 64;

bool IsInteger(TypeId id) {
  return id == TypeId::kInt8 || id == TypeId::kInt16 || id == TypeId::kInt32 || id == TypeId::kInt64 ||
         id == TypeId::kUInt8 || id == TypeId::kUInt16 || id == TypeId::kUInt32 || id == TypeId::kUInt64;
}

}  // namespace

Result<std::shared_ptr<EtlJob>> EtlJob::Make(EtlOptions options) {
  if (options.partitions < 0) {
    return Status::Invalid("partitions=" + std::to_string(options.partitions) + " must not be negative");
  }
  if (options.partitions > 0 && options.partition_columns.empty()) {
    return Status::Invalid("partitions=" + std::to_string(options.partitions) + " needs the columns to partition by");
  }
  if (options.partitions == 0 && !options.partition_columns.empty()) {
    return Status::Invalid("partition columns need a number of partitions above 0");
  }
  if (options.threads < 1 || options.threads > kMaxThreads) {
    return Status::Invalid("threads=" + std::to_string(options.threads) + " must be between 1 and " +
                           std::to_string(kMaxThreads));
  }
  if (options.split_column.has_value() != options.split_unit.has_value()) {
    return Status::Invalid("split_column and split_unit go together");
  }
  if (options.split_column && !options.split_columns.empty()) {
    return Status::Invalid("split by a unit of time or by columns, not both");
  }
  if (options.spill_dir.empty()) return Status::Invalid("spill_dir must name a directory");
  SEGUE_RETURN_IF_ERROR(SortMemory::Plan(options.memory, options.threads, 0).status());
  return std::shared_ptr<EtlJob>(new EtlJob(std::move(options)));
}

EtlJob::~EtlJob() { Close(); }

Status EtlJob::Check(bool want_finished) const {
  if (closed()) return Status::Closed("this job was closed");
  SEGUE_RETURN_IF_ERROR(error_);
  if (want_finished && !finished_) return Status::Invalid("call finish() before reading splits");
  if (!want_finished && finished_) return Status::Invalid("this job is finished; make another for more rows");
  return Status();
}

Interrupt EtlJob::WithCancel(const Interrupt& interrupt) const {
  return [this, &interrupt]() -> Status {
    if (cancelled_.load(std::memory_order_relaxed)) return Status::Cancelled("the job was cancelled");
    return interrupt ? interrupt() : Status();
  };
}

Status EtlJob::AddJoin(StreamReader* dimension, const std::string& on, const std::string& key,
                       const std::optional<std::vector<std::string>>& columns, JoinType how) {
  const std::lock_guard<std::mutex> lock(call_mutex_);
  SEGUE_RETURN_IF_ERROR(Check(false));
  if (begun_) return Status::Invalid("joins must be added before the first rows are consumed");
  SEGUE_ASSIGN_OR_RETURN(const std::shared_ptr<const BroadcastTable> table,
                         BroadcastTable::Make(dimension, key, columns, &budget_));
  for (const Field& field : table->attributes()) {
    for (const std::string& name : joined_names_) {
      if (name == field.name) {
        return Status::Schema(name, "two joins bring a column named '" + name + "'; rename one of them");
      }
    }
    joined_names_.push_back(field.name);
  }
  const std::lock_guard<std::mutex> shape_lock(shape_mutex_);
  Join& join = joins_.emplace_back();
  join.table = table;
  join.how = how;
  join.on = on;
  return Status();
}

Status EtlJob::NoSuchColumn(const std::string& name, const char* role) const {
  std::string names;
  for (const Field& field : source_.fields) names += (names.empty() ? "" : ", ") + field.name;
  for (const std::string& joined : joined_names_) names += ", " + joined;
  return Status::Schema(name, std::string(role) + " '" + name + "' is not a column of the source, nor one that " +
                                  "a join brings; there are " + names);
}

Result<size_t> EtlJob::ResolveColumn(const std::string& name, const char* role) {
  if (const int index = source_.IndexOf(name); index >= 0) return static_cast<size_t>(index);
  if (const int known = derived_schema_.IndexOf(name); known >= 0) {
    return source_.fields.size() + static_cast<size_t>(known);
  }
  for (size_t j = 0; j < joins_.size(); ++j) {
    const int attribute = joins_[j].table->IndexOf(name);
    if (attribute < 0) continue;
    Field field = joins_[j].table->attributes()[static_cast<size_t>(attribute)];
    field.nullable = true;  // a left join may find nothing
    derived_schema_.fields.push_back(std::move(field));
    derived_.push_back({j, static_cast<size_t>(attribute)});
    return source_.fields.size() + derived_.size() - 1;
  }
  return NoSuchColumn(name, role);
}

// Resolves what rows are partitioned, split and sorted by.
Status EtlJob::BeginOrder() {
  for (const std::string& name : options_.partition_columns) {
    SEGUE_ASSIGN_OR_RETURN(const size_t column, ResolveColumn(name, "partition column"));
    partition_columns_.push_back(column);
  }
  hash_by_batch_ = derived_.empty();
  const auto type_of = [&](size_t column) -> const ColumnType& {
    const size_t sources = source_.fields.size();
    return column < sources ? source_.fields[column].type : derived_schema_.fields[column - sources].type;
  };
  if (options_.split_column) {
    SEGUE_ASSIGN_OR_RETURN(const size_t column, ResolveColumn(*options_.split_column, "split column"));
    const ColumnType& type = type_of(column);
    if (type.id != TypeId::kTimestamp) {
      return Status::Schema(*options_.split_column, "column '" + *options_.split_column + "' is " + TypeName(type) +
                                                        "; only a timestamp can be split by hour, day or month");
    }
    split_columns_.push_back(column);
    split_types_.push_back(type);
  }
  for (const std::string& name : options_.split_columns) {
    SEGUE_ASSIGN_OR_RETURN(const size_t column, ResolveColumn(name, "split column"));
    split_columns_.push_back(column);
    split_types_.push_back(type_of(column));
  }
  for (const std::string& name : options_.sort_columns) {
    SEGUE_ASSIGN_OR_RETURN(const size_t column, ResolveColumn(name, "sort column"));
    sort_.push_back({static_cast<uint32_t>(column), false});
  }
  if (options_.sequence_column) {
    sequence_ = source_.IndexOf(*options_.sequence_column);
    if (sequence_ < 0) return NoSuchColumn(*options_.sequence_column, "sequence column");
    const ColumnType& type = source_.fields[static_cast<size_t>(sequence_)].type;
    if (!IsInteger(type.id)) {
      return Status::Schema(*options_.sequence_column, "sequence column '" + *options_.sequence_column + "' is " +
                                                           TypeName(type) + "; it must be an integer");
    }
    sort_.push_back({static_cast<uint32_t>(sequence_), false});
  }
  return Status();
}

// Plans the look-ups; adds columns that keep matches to the layout's fields.
Status EtlJob::BeginJoins(std::vector<Field>* fields) {
  for (size_t j = 0; j < joins_.size(); ++j) {
    Join& join = joins_[j];
    join.column = source_.IndexOf(join.on);
    if (join.column >= 0) {
      const Field& field = source_.fields[static_cast<size_t>(join.column)];
      SEGUE_RETURN_IF_ERROR(join.table->CheckKey(field));
      // A dense table or a dictionary is as cheap to look up again as to remember.
      if (!join.table->dense() && field.type.id != TypeId::kDictionary) {
        join.stored = static_cast<int>(fields->size());
        Field stored;
        stored.type.id = TypeId::kUInt32;
        stored.nullable = false;
        fields->push_back(std::move(stored));
      }
      join.prober.emplace(join.table.get());
    } else {
      for (size_t earlier = 0; earlier < j && join.through < 0; ++earlier) {
        const int attribute = joins_[earlier].table->IndexOf(join.on);
        if (attribute < 0) continue;
        join.through = static_cast<int>(earlier);
        SEGUE_ASSIGN_OR_RETURN(join.chain,
                               joins_[earlier].table->MatchAttribute(static_cast<size_t>(attribute), *join.table));
      }
      if (join.through < 0) return NoSuchColumn(join.on, "join column");
    }
    for (Field field : join.table->attributes()) {
      if (source_.IndexOf(field.name) >= 0) {
        return Status::Schema(field.name, "the join on '" + join.on + "' brings a column '" + field.name +
                                              "' that the source already has; leave it out of columns or rename it");
      }
      if (join.how == JoinType::kLeft) field.nullable = true;
      output_.fields.push_back(std::move(field));
    }
  }
  return Status();
}

Status EtlJob::Begin(const Schema& schema) {
  const std::lock_guard<std::mutex> shape_lock(shape_mutex_);
  source_ = schema;
  for (size_t i = 0; i < schema.fields.size(); ++i) {
    if (schema.IndexOf(schema.fields[i].name) != static_cast<int>(i)) {
      return Status::Schema(schema.fields[i].name,
                            "the source has two columns named '" + schema.fields[i].name + "'; rename one of them");
    }
  }
  SEGUE_RETURN_IF_ERROR(BeginOrder());
  for (size_t i = 0; i < schema.fields.size(); ++i) {
    if (static_cast<int>(i) == sequence_) continue;
    output_columns_.push_back(i);
    output_.fields.push_back(schema.fields[i]);
  }
  std::vector<Field> fields = schema.fields;
  fields.insert(fields.end(), derived_schema_.fields.begin(), derived_schema_.fields.end());
  SEGUE_RETURN_IF_ERROR(BeginJoins(&fields));
  matches_.resize(joins_.size());
  if (!derived_.empty()) SchemaToArrow(derived_schema_, &derived_arrow_.schema);
  layout_ = RowLayout::Make(fields);
  intake_ = std::make_unique<RowIntake>(&layout_, schema.fields.size(), derived_.size(), &budget_);
  const int bucket_bits = std::bit_width(static_cast<uint32_t>(buckets() - 1));
  const int split_bits = split_columns_.empty() ? 0 : kSplitBits;
  key_ = SortKey::Make(&layout_, split_bits, bucket_bits, sort_, intake_->dictionaries());
  split_assigner_ = std::make_unique<SplitAssigner>(split_types_, options_.split_unit);
  for (const RowColumn& column : layout_.columns()) {
    const size_t c = dictionary_exports_.size();
    dictionary_exports_.push_back(column.field.type.id == TypeId::kDictionary
                                      ? std::make_unique<DictionaryExport>(intake_->dictionary(c))
                                      : nullptr);
  }
  uint64_t dimension_bytes = 0;
  for (const Join& join : joins_) dimension_bytes += join.table->memory_bytes();
  SEGUE_ASSIGN_OR_RETURN(plan_, SortMemory::Plan(options_.memory, options_.threads, dimension_bytes));
  RunGeneratorOptions generator;
  generator.layout = &layout_;
  generator.key = &key_;
  generator.budget = &budget_;
  generator.env = options_.env;
  generator.spill_dir = options_.spill_dir;
  generator.threads = options_.threads;
  generator.memory = plan_;
  runs_ = std::make_unique<RunGenerator>(std::move(generator));
  begun_ = true;
  return Status();
}

Result<Schema> EtlJob::output_schema() const {
  if (!begun_) return Status::Invalid("the output's schema is known once rows were consumed");
  return output_;
}

Result<int64_t> EtlJob::Consume(StreamReader* stream, const Interrupt& interrupt) {
  const std::lock_guard<std::mutex> lock(call_mutex_);
  SEGUE_RETURN_IF_ERROR(Check(false));
  const Interrupt asked = WithCancel(interrupt);
  if (!begun_) {
    Status begun = Begin(stream->schema());
    if (!begun.ok()) {
      error_ = begun;
      return begun;
    }
  } else if (!(stream->schema() == source_)) {
    return Status::Schema("", "this stream's columns differ from those of the first one consumed");
  }
  int64_t rows = 0;
  Status status;
  while (status.ok()) {
    status = asked();
    if (!status.ok()) break;
    Result<std::unique_ptr<BatchReader>> batch = stream->Next();
    status = batch.status();
    if (!status.ok() || *batch == nullptr) break;
    rows += (*batch)->rows();
    status = ConsumeBatch(std::shared_ptr<const BatchReader>(batch.Take()), asked);
  }
  if (!status.ok()) {
    error_ = status;  // part of a batch may be in: the job cannot be finished from here
    return status;
  }
  return rows;
}

Status EtlJob::ConsumeBatch(std::shared_ptr<const BatchReader> batch, const Interrupt& interrupt) {
  const std::vector<ArrayView>& views = batch->columns();
  for (Join& join : joins_) {
    if (join.prober) join.prober->Begin(views[static_cast<size_t>(join.column)]);
  }
  std::optional<Murmur3Batch> hashes;
  if (options_.partitions > 0 && hash_by_batch_) {
    std::vector<const ArrayView*> hashed;
    for (const size_t column : partition_columns_) hashed.push_back(&views[column]);
    hashes.emplace(std::move(hashed), kSparkSeed);
  }
  const int64_t rows = batch->rows();
  intake_->Begin(std::move(batch));
  for (int64_t begin = 0; begin < rows; begin += kChunkRows) {
    SEGUE_RETURN_IF_ERROR(interrupt());
    SEGUE_RETURN_IF_ERROR(
        ConsumeChunk(begin, std::min(kChunkRows, rows - begin), hashes ? &*hashes : nullptr, interrupt));
  }
  return Status();
}

// Gathers the joined columns that rows are ordered, split or partitioned by.
Status EtlJob::DeriveColumns(int64_t begin, int64_t n) {
  std::vector<ExportColumn> columns;
  for (size_t d = 0; d < derived_.size(); ++d) {
    const BroadcastTable& table = *joins_[derived_[d].join].table;
    ColumnBuilder builder(derived_schema_.fields[d], &budget_);
    SEGUE_RETURN_IF_ERROR(table.Gather(derived_[d].attribute, matches_[derived_[d].join].data(), n, &builder));
    SEGUE_ASSIGN_OR_RETURN(ExportColumn column, builder.Finish(table.dictionary_export(derived_[d].attribute)));
    columns.push_back(std::move(column));
  }
  ArrowArray array;
  ExportBatch(derived_schema_, n, std::move(columns), &array);
  SEGUE_ASSIGN_OR_RETURN(BatchReader batch, BatchReader::Make(derived_schema_, derived_arrow_.schema, &array));
  intake_->BeginDerived(std::make_shared<const BatchReader>(std::move(batch)), begin);
  return Status();
}

Status EtlJob::ConsumeChunk(int64_t begin, int64_t n, const Murmur3Batch* hashes, const Interrupt& interrupt) {
  const std::vector<ArrayView>& views = intake_->batch().columns();
  const auto count = static_cast<size_t>(n);
  rows_in_ += n;

  // Which rows stay: inner joins drop, each row counted at the first join it fails.
  bool dropping = false;
  chosen_.resize(count);
  for (size_t i = 0; i < count; ++i) chosen_[i] = static_cast<int32_t>(i);
  for (size_t j = 0; j < joins_.size(); ++j) {
    Join& join = joins_[j];
    std::vector<uint32_t>& matches = matches_[j];
    matches.resize(count);
    if (join.through >= 0) {
      const std::vector<uint32_t>& through = matches_[static_cast<size_t>(join.through)];
      for (size_t i = 0; i < count; ++i) matches[i] = through[i] == kNoMatch ? kNoMatch : join.chain[through[i]];
    } else {
      join.prober->Lookup(views[static_cast<size_t>(join.column)], begin, n, matches.data());
    }
    if (join.how != JoinType::kInner) continue;
    size_t kept = 0;
    for (const int32_t row : chosen_) {
      chosen_[kept] = row;
      kept += static_cast<size_t>(matches[static_cast<size_t>(row)] != kNoMatch);
    }
    if (kept == chosen_.size()) continue;
    dropping = true;
    join.dropped += static_cast<int64_t>(chosen_.size() - kept);
    chosen_.resize(kept);
  }
  const size_t kept = chosen_.size();
  if (kept == 0) return Status();

  if (!derived_.empty()) SEGUE_RETURN_IF_ERROR(DeriveColumns(begin, n));

  buckets_.assign(count, hash_by_batch_ ? 0 : static_cast<int32_t>(kSparkSeed));
  if (hashes != nullptr) {
    HashPartition(*hashes, begin, n, options_.partitions, buckets_.data());
  } else if (options_.partitions > 0) {
    for (const size_t column : partition_columns_) {
      const ColumnSlice slice = intake_->Slice(column, begin);
      Murmur3Continue(*slice.view, slice.begin, n, reinterpret_cast<uint32_t*>(buckets_.data()));
    }
    PartitionsOfHashes(n, options_.partitions, buckets_.data());
  }
  split_ids_.assign(count, 0);
  if (dropping) {
    for (size_t i = 0; i < kept; ++i) {
      const auto row = static_cast<size_t>(chosen_[i]);
      buckets_[i] = buckets_[row];
      for (size_t j = 0; j < joins_.size(); ++j) {
        if (joins_[j].stored >= 0) matches_[j][i] = matches_[j][row];
      }
    }
  }
  if (!split_columns_.empty()) {
    std::vector<ColumnSlice> slices;
    for (const size_t column : split_columns_) slices.push_back(intake_->Slice(column, begin));
    SEGUE_RETURN_IF_ERROR(split_assigner_->Assign(slices, dropping ? chosen_.data() : nullptr,
                                                  static_cast<int64_t>(kept), split_ids_.data()));
  } else if (split_rows_.empty()) {
    split_rows_.push_back(0);
  }
  split_rows_.resize(std::max(split_rows_.size(), split_columns_.empty() ? 1 : split_assigner_->size()), 0);
  for (size_t i = 0; i < kept; ++i) ++split_rows_[split_ids_[i]];
  rows_out_ += static_cast<int64_t>(kept);

  size_t at = 0;
  while (at < kept) {
    Selection selection;
    selection.begin = dropping ? begin : begin + static_cast<int64_t>(at);
    selection.chosen = dropping ? chosen_.data() + at : nullptr;
    selection.n = static_cast<int64_t>(kept - at);
    uint64_t heap_bytes = 0;
    SEGUE_ASSIGN_OR_RETURN(selection.n, intake_->Fitting(selection, plan_.run / 2, &heap_bytes));
    SEGUE_ASSIGN_OR_RETURN(MemoryRun* const run, runs_->Room(selection.n, heap_bytes, interrupt));
    uint8_t* rows = run->next_row();
    SEGUE_RETURN_IF_ERROR(intake_->Pack(selection, rows, run->heap()));
    for (size_t j = 0; j < joins_.size(); ++j) {
      if (joins_[j].stored < 0) continue;
      layout_.PackUInt32(static_cast<size_t>(joins_[j].stored), matches_[j].data() + at, selection.n, rows);
    }
    key_.Build(rows, run->heap()->data(), selection.n, split_ids_.data() + at, buckets_.data() + at, run->next_key());
    run->Commit(selection.n);
    at += static_cast<size_t>(selection.n);
  }
  return Status();
}

Status EtlJob::Finish(const Interrupt& interrupt) {
  const std::lock_guard<std::mutex> lock(call_mutex_);
  SEGUE_RETURN_IF_ERROR(Check(false));
  if (!begun_) {
    finished_ = true;
    return Status();
  }
  const Interrupt asked = WithCancel(interrupt);
  Status status = asked();
  if (status.ok()) status = runs_->Finish(asked);
  if (!status.ok()) {
    error_ = status;
    return status;
  }
  for (Join& join : joins_) {
    if (join.column < 0 || join.stored >= 0) continue;
    const auto column = static_cast<size_t>(join.column);
    const StringDictionary* dictionary = intake_->dictionary(column);
    if (dictionary == nullptr) continue;
    join.by_code.resize(static_cast<size_t>(dictionary->size()));
    for (int32_t code = 0; code < dictionary->size(); ++code) {
      join.by_code[static_cast<size_t>(code)] = join.table->Find(dictionary->At(code));
    }
  }
  for (uint32_t id = 0; id < split_rows_.size(); ++id) {
    EtlSplit split;
    split.id = id;
    split.rows = split_rows_[id];
    if (!split_columns_.empty()) split.values = split_assigner_->Values(id);
    if (split.rows > 0) splits_.push_back(std::move(split));
  }
  // Null first, then by value; strings by their bytes. Raw bits order what a caller expects to
  // see in order (dates, integers); for other types any fixed order does.
  std::sort(splits_.begin(), splits_.end(), [](const EtlSplit& a, const EtlSplit& b) { return a.values < b.values; });
  finished_ = true;
  return Status();
}

Result<std::unique_ptr<EtlStream>> EtlJob::Read(size_t split, int64_t row_group_rows, uint32_t first_bucket,
                                                uint32_t last_bucket) {
  const std::lock_guard<std::mutex> lock(call_mutex_);
  SEGUE_RETURN_IF_ERROR(Check(true));
  if (split >= splits_.size()) {
    return Status::Invalid("split " + std::to_string(split) + " does not exist; there are " +
                           std::to_string(splits_.size()));
  }
  if (row_group_rows < 1) {
    return Status::Invalid("row_group_rows=" + std::to_string(row_group_rows) + " must be at least 1");
  }
  last_bucket = std::min(last_bucket, static_cast<uint32_t>(buckets() - 1));
  if (first_bucket > last_bucket) {
    return Status::Invalid("there is no bucket from " + std::to_string(first_bucket) + " to " +
                           std::to_string(last_bucket));
  }
  const uint32_t id = splits_[split].id;
  KeyRange range;
  range.begin = key_.First(id, first_bucket);
  const bool last_of_split = last_bucket == static_cast<uint32_t>(buckets() - 1);
  range.bounded = !last_of_split || !split_columns_.empty();
  if (range.bounded) range.end = last_of_split ? key_.First(id + 1, 0) : key_.First(id, last_bucket + 1);
  std::unique_ptr<EtlStream> stream(new EtlStream());
  SEGUE_ASSIGN_OR_RETURN(stream->merger_, RunMerger::Make(&layout_, &key_, runs_->runs(), range, &budget_));
  stream->job_ = shared_from_this();
  stream->row_group_rows_ = row_group_rows;
  stream->columns_ = output_columns_;
  for (const Join& join : joins_) {
    const int needed = join.stored >= 0 ? join.stored : join.column;
    if (needed >= 0 && std::count(stream->columns_.begin(), stream->columns_.end(), static_cast<size_t>(needed)) == 0) {
      stream->columns_.push_back(static_cast<size_t>(needed));
    }
    for (const Field& field : join.table->attributes()) {
      const uint64_t width = IsVariable(field.type.id)
                                 ? 4 + join.table->memory_bytes() / static_cast<uint64_t>(join.table->rows() + 1)
                                 : static_cast<uint64_t>(TypeWidth(field.type.id));
      stream->joined_row_bytes_ += width;
    }
    stream->joined_row_bytes_ += sizeof(uint32_t);
  }
  stream->builders_ = stream->MakeBuilders();
  stream->pending_.resize(512);
  return stream;
}

EtlMetrics EtlJob::metrics() const {
  const std::lock_guard<std::mutex> shape_lock(shape_mutex_);
  EtlMetrics metrics;
  metrics.rows_in = rows_in_;
  metrics.rows_out = rows_out_;
  for (const Join& join : joins_) {
    metrics.dropped.push_back(join.dropped);
    metrics.dimension_bytes += join.table->memory_bytes();
  }
  metrics.peak_memory = budget_.peak();
  metrics.row_bytes = layout_.stride();
  metrics.batch_bytes = plan_.batch;
  if (runs_ != nullptr) metrics.sort = runs_->metrics();
  return metrics;
}

void EtlJob::Close() {
  Cancel();
  const std::lock_guard<std::mutex> lock(call_mutex_);
  if (closed_.exchange(true)) return;
  if (runs_ != nullptr) runs_->Close();
}

}  // namespace segue
