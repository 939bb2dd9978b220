#include "pipeline/row_intake.h"

namespace segue {

RowIntake::RowIntake(const RowLayout* layout, size_t source_columns, size_t derived_columns, MemoryBudget* budget)
    : layout_(layout),
      source_columns_(source_columns),
      derived_columns_(derived_columns),
      nulls_(layout->columns().size(), 0),
      reservation_(budget) {
  for (const RowColumn& column : layout->columns()) {
    const bool coded = column.field.type.id == TypeId::kDictionary;
    dictionaries_.push_back(coded ? std::make_unique<StringDictionary>() : nullptr);
    mappers_.emplace_back(dictionaries_.back().get());
  }
}

void RowIntake::Begin(std::shared_ptr<const BatchReader> batch) {
  for (size_t c = 0; c < source_columns_; ++c) {
    if (dictionaries_[c] != nullptr) mappers_[c].Begin(batch->columns()[c]);
  }
  batch_ = std::move(batch);
}

void RowIntake::BeginDerived(std::shared_ptr<const BatchReader> derived, int64_t begin) {
  for (size_t c = 0; c < derived_columns_; ++c) {
    if (dictionaries_[source_columns_ + c] != nullptr) mappers_[source_columns_ + c].Begin(derived->columns()[c]);
  }
  derived_ = std::move(derived);
  derived_begin_ = begin;
}

ColumnSlice RowIntake::Slice(size_t column, int64_t begin) const {
  if (column < source_columns_) return {&batch_->columns()[column], begin};
  return {&derived_->columns()[column - source_columns_], begin - derived_begin_};
}

Result<int64_t> RowIntake::Fitting(const Selection& selection, uint64_t most_heap_bytes, uint64_t* heap_bytes) const {
  *heap_bytes = 0;
  if (!layout_->has_variable()) return selection.n;
  Selection rows = selection;
  while (true) {
    uint64_t bytes = 0;
    for (const uint32_t c : layout_->variable()) {
      const ColumnSlice slice = Slice(c, rows.begin);
      bytes += RowLayout::HeapBytes(*slice.view, {slice.begin, rows.chosen, rows.n});
    }
    if (bytes <= most_heap_bytes || rows.n <= 1) {
      if (bytes > UINT32_MAX) return Status::Unsupported("a row with over 4 GiB of text cannot be sorted");
      *heap_bytes = bytes;
      return rows.n;
    }
    rows.n /= 2;
  }
}

Status RowIntake::Pack(const Selection& selection, uint8_t* rows, Buffer* heap) {
  layout_->ClearNulls(rows, selection.n);
  uint64_t dictionary_bytes = 0;
  for (size_t c = 0; c < source_columns_ + derived_columns_; ++c) {
    const ColumnSlice slice = Slice(c, selection.begin);
    bool nulls = false;
    SEGUE_RETURN_IF_ERROR(layout_->PackColumn(c, *slice.view, {slice.begin, selection.chosen, selection.n}, rows, heap,
                                              &mappers_[c], &nulls));
    if (nulls) nulls_[c] = 1;
    if (dictionaries_[c] != nullptr) dictionary_bytes += dictionaries_[c]->memory_bytes();
  }
  reservation_.Resize(dictionary_bytes);
  return Status();
}

std::vector<const StringDictionary*> RowIntake::dictionaries() const {
  std::vector<const StringDictionary*> all;
  for (const auto& dictionary : dictionaries_) all.push_back(dictionary.get());
  return all;
}

}  // namespace segue
