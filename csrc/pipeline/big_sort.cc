#include "pipeline/big_sort.h"

#include <algorithm>

namespace segue {

namespace {
constexpr int64_t kChunkRows = 2048;
constexpr int kMaxThreads = 64;
constexpr uint64_t kTextStep = 4 << 20;
}  // namespace

Result<std::unique_ptr<BigSort>> BigSort::Make(BigSortOptions options, const Schema& schema) {
  if (options.by.empty()) return Status::Invalid("big_sort needs at least one column to sort by");
  if (options.threads < 1 || options.threads > kMaxThreads) {
    return Status::Invalid("threads=" + std::to_string(options.threads) + " must be between 1 and " +
                           std::to_string(kMaxThreads));
  }
  std::unique_ptr<BigSort> sort(new BigSort(std::move(options), schema));
  SEGUE_ASSIGN_OR_RETURN(sort->plan_, SortMemory::Plan(sort->options_.memory, sort->options_.threads, 0));
  std::vector<SortColumn> columns;
  for (const OrderBy& by : sort->options_.by) {
    const int index = schema.IndexOf(by.column);
    if (index < 0) {
      std::string names;
      for (const Field& field : schema.fields) names += (names.empty() ? "" : ", ") + field.name;
      return Status::Schema(by.column, "there is no column '" + by.column + "' to sort by; there are " + names);
    }
    columns.push_back({static_cast<uint32_t>(index), by.descending});
  }
  sort->layout_ = RowLayout::Make(schema.fields);
  sort->intake_ = std::make_unique<RowIntake>(&sort->layout_, schema.fields.size(), 0, &sort->budget_);
  sort->key_ = SortKey::Make(&sort->layout_, 0, 0, std::move(columns), sort->intake_->dictionaries());
  for (size_t c = 0; c < schema.fields.size(); ++c) {
    const StringDictionary* dictionary = sort->intake_->dictionary(c);
    sort->dictionary_exports_.push_back(dictionary == nullptr ? nullptr
                                                              : std::make_unique<DictionaryExport>(dictionary));
  }
  RunGeneratorOptions generator;
  generator.layout = &sort->layout_;
  generator.key = &sort->key_;
  generator.budget = &sort->budget_;
  generator.env = sort->options_.env;
  generator.spill_dir = sort->options_.spill_dir;
  generator.threads = sort->options_.threads;
  generator.memory = sort->plan_;
  sort->runs_ = std::make_unique<RunGenerator>(std::move(generator));
  sort->pending_.resize(512);
  return sort;
}

Result<int64_t> BigSort::Consume(StreamReader* stream, const Interrupt& interrupt) {
  int64_t total = 0;
  while (true) {
    SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<BatchReader> batch, stream->Next());
    if (batch == nullptr) return total;
    const int64_t rows = batch->rows();
    intake_->Begin(std::shared_ptr<const BatchReader>(std::move(batch)));
    for (int64_t begin = 0; begin < rows;) {
      if (interrupt) SEGUE_RETURN_IF_ERROR(interrupt());
      Selection selection;
      selection.begin = begin;
      selection.n = std::min(kChunkRows, rows - begin);
      uint64_t heap_bytes = 0;
      SEGUE_ASSIGN_OR_RETURN(selection.n, intake_->Fitting(selection, plan_.run / 2, &heap_bytes));
      SEGUE_ASSIGN_OR_RETURN(MemoryRun* const run, runs_->Room(selection.n, heap_bytes, interrupt));
      uint8_t* packed = run->next_row();
      SEGUE_RETURN_IF_ERROR(intake_->Pack(selection, packed, run->heap()));
      key_.Build(packed, run->heap()->data(), selection.n, nullptr, nullptr, run->next_key());
      run->Commit(selection.n);
      begin += selection.n;
    }
    total += rows;
  }
}

Status BigSort::Finish(const Interrupt& interrupt) {
  SEGUE_RETURN_IF_ERROR(runs_->Finish(interrupt));
  SEGUE_ASSIGN_OR_RETURN(merger_, RunMerger::Make(&layout_, &key_, runs_->runs(), KeyRange{}, &budget_));
  return Status();
}

Result<bool> BigSort::Next(ArrowArray* out) {
  if (merger_ == nullptr) return Status::Invalid("finish the sort before reading from it");
  std::vector<ColumnBuilder> builders;
  for (const Field& field : schema_.fields) builders.emplace_back(field, &budget_);
  int64_t rows = 0;
  uint64_t bytes = 0;
  while (rows < options_.batch_rows && bytes <= plan_.batch) {
    if (pending_at_ == pending_end_) {
      SEGUE_ASSIGN_OR_RETURN(pending_end_, merger_->Next(pending_.data(), pending_.size()));
      pending_at_ = 0;
      if (pending_end_ == 0) break;
    }
    const MergedRow* merged = pending_.data() + pending_at_;
    size_t n = std::min(pending_end_ - pending_at_, static_cast<size_t>(options_.batch_rows - rows));
    if (layout_.has_variable()) {
      uint64_t text = 0;
      for (size_t i = 0; i < n; ++i) {
        text += layout_.HeapBytes(merged[i].ref);
        if (text > kTextStep) n = i + 1;
      }
    }
    bytes = 0;
    for (size_t c = 0; c < builders.size(); ++c) {
      SEGUE_RETURN_IF_ERROR(builders[c].AppendRows(merged, static_cast<int64_t>(n), layout_.columns()[c],
                                                   layout_.nulls_offset(), intake_->nulls(c)));
      bytes += builders[c].bytes();
    }
    rows += static_cast<int64_t>(n);
    pending_at_ += n;
  }
  if (rows == 0) return false;
  std::vector<ExportColumn> columns;
  for (size_t c = 0; c < builders.size(); ++c) {
    builders[c].CountMemory();
    SEGUE_ASSIGN_OR_RETURN(ExportColumn column, builders[c].Finish(dictionary_exports_[c].get()));
    columns.push_back(std::move(column));
  }
  ExportBatch(schema_, rows, std::move(columns), out);
  return true;
}

}  // namespace segue
