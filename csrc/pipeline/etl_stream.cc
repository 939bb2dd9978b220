#include <algorithm>

#include "pipeline/etl_job.h"

namespace segue {

namespace {
constexpr uint64_t kTextStep = 4 << 20;  // text decoded between two looks at the batch's size
}

std::vector<ColumnBuilder> EtlStream::MakeBuilders() const {
  std::vector<ColumnBuilder> builders;
  for (const size_t column : columns_) {
    builders.emplace_back(job_->layout_.columns()[column].field, &job_->budget_);
  }
  return builders;
}

uint64_t EtlStream::BatchBytes() const {
  uint64_t bytes = static_cast<uint64_t>(rows_) * joined_row_bytes_;
  for (const ColumnBuilder& builder : builders_) bytes += builder.bytes();
  return bytes;
}

// Decodes rows until the batch is over-full by at least one row, or none are left.
Status EtlStream::Fill() {
  const RowLayout& layout = job_->layout_;
  while (!ended_ && rows_ <= row_group_rows_ && (rows_ == 0 || BatchBytes() <= job_->plan_.batch)) {
    if (pending_at_ == pending_end_) {
      if (job_->cancelled_.load(std::memory_order_relaxed)) return Status::Cancelled("the job was cancelled");
      SEGUE_ASSIGN_OR_RETURN(pending_end_, merger_->Next(pending_.data(), pending_.size()));
      pending_at_ = 0;
      if (pending_end_ == 0) {
        ended_ = true;
        break;
      }
    }
    const MergedRow* rows = pending_.data() + pending_at_;
    size_t n = pending_end_ - pending_at_;
    if (layout.has_variable()) {
      uint64_t text = 0;
      for (size_t i = 0; i < n; ++i) {
        text += layout.HeapBytes(rows[i].ref);
        if (text > kTextStep) n = i + 1;
      }
    }
    for (size_t c = 0; c < columns_.size(); ++c) {
      SEGUE_RETURN_IF_ERROR(builders_[c].AppendRows(rows, static_cast<int64_t>(n), layout.columns()[columns_[c]],
                                                    layout.nulls_offset(), job_->intake_->nulls(columns_[c])));
    }
    for (size_t i = 0; i < n; ++i) {
      const uint32_t bucket = job_->key_.BucketOf(rows[i].key.hi);
      if (bucket_starts_.empty() || bucket_starts_.back().second != bucket) {
        bucket_starts_.emplace_back(rows_ + static_cast<int64_t>(i), bucket);
      }
    }
    rows_ += static_cast<int64_t>(n);
    pending_at_ += n;
  }
  return Status();
}

// How many of the rows decoded go out: whole buckets where one ends in time.
Result<int64_t> EtlStream::Cut() const {
  const int64_t limit = std::min(rows_, row_group_rows_);
  if (ended_ && rows_ <= row_group_rows_) return rows_;
  int64_t cut = 0;
  for (const auto& [start, bucket] : bucket_starts_) {
    if (start <= limit) cut = start;
  }
  return cut > 0 ? cut : limit;
}

Result<bool> EtlStream::Next(ArrowArray* out) {
  SEGUE_RETURN_IF_ERROR(status_);
  if (job_->closed()) return Status::Closed("the job of this stream was closed");
  status_ = Fill();
  SEGUE_RETURN_IF_ERROR(status_);
  if (rows_ == 0) return false;
  SEGUE_ASSIGN_OR_RETURN(const int64_t cut, Cut());
  status_ = Emit(cut, out);
  SEGUE_RETURN_IF_ERROR(status_);
  return true;
}

Status EtlStream::Emit(int64_t rows, ArrowArray* out) {
  std::vector<ColumnBuilder> next = MakeBuilders();
  for (size_t c = 0; c < builders_.size(); ++c) SEGUE_RETURN_IF_ERROR(builders_[c].MoveTail(rows, &next[c]));
  builders_.swap(next);

  // The bucket range, and the buckets of the rows that stay.
  uint32_t last = bucket_starts_.front().second;
  size_t staying = bucket_starts_.size();
  for (size_t i = 0; i < bucket_starts_.size(); ++i) {
    if (bucket_starts_[i].first < rows) {
      last = bucket_starts_[i].second;
    } else {
      staying = std::min(staying, i);
    }
  }
  const std::pair<uint32_t, uint32_t> range(bucket_starts_.front().second, last);
  std::vector<std::pair<int64_t, uint32_t>> starts;
  if (rows_ > rows && (staying == bucket_starts_.size() || bucket_starts_[staying].first > rows)) {
    starts.emplace_back(0, last);  // the bucket that was cut goes on
  }
  for (size_t i = staying; i < bucket_starts_.size(); ++i) {
    starts.emplace_back(bucket_starts_[i].first - rows, bucket_starts_[i].second);
  }
  bucket_starts_ = std::move(starts);
  rows_ -= rows;

  std::vector<std::vector<uint32_t>> matches(job_->joins_.size());
  const auto decoded = [&](int layout_column) {
    return static_cast<size_t>(std::find(columns_.begin(), columns_.end(), static_cast<size_t>(layout_column)) -
                               columns_.begin());
  };
  // By dictionary code first: Finish may renumber the codes of a batch.
  for (size_t j = 0; j < job_->joins_.size(); ++j) {
    const EtlJob::Join& join = job_->joins_[j];
    matches[j].resize(static_cast<size_t>(rows));
    if (join.stored >= 0) {
      const auto* stored = next[decoded(join.stored)].values<uint32_t>();
      std::copy(stored, stored + rows, matches[j].begin());
    } else if (!join.by_code.empty()) {
      const ColumnBuilder& column = next[decoded(join.column)];
      const auto* codes = column.values<int32_t>();
      for (int64_t i = 0; i < rows; ++i) {
        matches[j][static_cast<size_t>(i)] = column.IsNull(i) ? kNoMatch : join.by_code[static_cast<size_t>(codes[i])];
      }
    }
  }
  std::vector<ExportColumn> columns;
  for (size_t c = 0; c < next.size(); ++c) {
    next[c].CountMemory();
    SEGUE_ASSIGN_OR_RETURN(ExportColumn column, next[c].Finish(job_->dictionary_exports_[columns_[c]].get()));
    columns.push_back(std::move(column));
  }
  std::vector<ExportColumn> joined;
  for (size_t j = 0; j < job_->joins_.size(); ++j) {
    const EtlJob::Join& join = job_->joins_[j];
    std::vector<uint32_t>& rows_of = matches[j];
    const auto count = static_cast<size_t>(rows);
    if (join.through >= 0) {
      const std::vector<uint32_t>& through = matches[static_cast<size_t>(join.through)];
      for (size_t i = 0; i < count; ++i) rows_of[i] = through[i] == kNoMatch ? kNoMatch : join.chain[through[i]];
    } else if (join.stored < 0 && job_->dictionary_exports_[static_cast<size_t>(join.column)] == nullptr) {
      const ExportColumn& column = columns[decoded(join.column)];
      ArrayView view;
      view.type = job_->layout_.columns()[static_cast<size_t>(join.column)].field.type;
      view.length = rows;
      view.validity = column.validity;
      view.values = static_cast<const uint8_t*>(column.values);
      BroadcastTable::Prober(join.table.get()).Lookup(view, 0, rows, rows_of.data());
    } else if (join.stored < 0 && join.by_code.empty()) {
      std::fill(rows_of.begin(), rows_of.end(), kNoMatch);  // a dictionary column of nulls only
    }
    for (size_t a = 0; a < join.table->attributes().size(); ++a) {
      ColumnBuilder attribute(join.table->attributes()[a], &job_->budget_);
      SEGUE_RETURN_IF_ERROR(join.table->Gather(a, rows_of.data(), rows, &attribute));
      SEGUE_ASSIGN_OR_RETURN(ExportColumn column, attribute.Finish(join.table->dictionary_export(a)));
      joined.push_back(std::move(column));
    }
  }
  columns.resize(job_->output_columns_.size());  // what only joins needed does not go out
  for (ExportColumn& column : joined) columns.push_back(std::move(column));
  ExportBatch(job_->output_, rows, std::move(columns), out);
  bucket_ranges_.push_back(range);
  return Status();
}

}  // namespace segue
