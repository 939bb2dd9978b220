// ColumnBuilder: one output column, grown row by row blocks, then exported.
// DictionaryExport: the dictionary that goes with the codes of a batch.
//
// Thread safety: a ColumnBuilder belongs to one thread; a DictionaryExport may
// be shared once its StringDictionary no longer grows.
// Ownership: Finish hands the buffers to the exported column.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "pipeline/array_values.h"
#include "pipeline/buffer.h"
#include "pipeline/memory_budget.h"
#include "pipeline/row_layout.h"
#include "pipeline/run_merger.h"
#include "pipeline/string_dictionary.h"

namespace segue {

class DictionaryExport {
 public:
  explicit DictionaryExport(const StringDictionary* dictionary) : dictionary_(dictionary) {}

  struct Entries {
    std::shared_ptr<const ExportColumn> values;
    int64_t size = 0;
  };
  // The dictionary for n codes. When it is much larger than the batch, only the
  // entries in use, and the codes are renumbered in place. `valid` (a byte a
  // row, null: all) tells which codes count.
  Result<Entries> For(int32_t* codes, const uint8_t* valid, int64_t n);

 private:
  const StringDictionary* dictionary_;
  std::mutex mutex_;
  Entries whole_;
};

class ColumnBuilder {
 public:
  ColumnBuilder(const Field& field, MemoryBudget* budget) : field_(field), reservation_(budget) {}

  // The rows' values of one layout column; `may_null`: nulls occur in it at all.
  Status AppendRows(const MergedRow* rows, int64_t n, const RowColumn& column, uint32_t nulls_offset, bool may_null);
  // Selected slots of a view; `mapper` for dictionary columns, already begun.
  Status AppendView(const ArrayView& view, const Selection& selection, DictionaryMapper* mapper);
  // Room for n more fixed-width values (a bool: a byte each), to be written by the caller.
  template <typename T>
  Result<T*> AppendFixed(int64_t n) {
    SEGUE_RETURN_IF_ERROR(values_.Resize(static_cast<size_t>(size_ + n) * sizeof(T)));
    T* first = values_.as<T>() + size_;
    size_ += n;
    if (nulls_ > 0) SEGUE_RETURN_IF_ERROR(ExtendValid());
    return first;
  }
  Status AppendString(std::string_view value);  // string, binary
  Status AppendNull();                          // any type
  // The slot, appended already, is null after all.
  Status MakeNull(int64_t i);

  // Moves rows [from, size) to `to`, which is empty and of the same type.
  Status MoveTail(int64_t from, ColumnBuilder* to);

  const Field& field() const { return field_; }
  int64_t size() const { return size_; }
  template <typename T>
  const T* values() const {
    return values_.as<T>();
  }
  bool IsNull(int64_t i) const { return nulls_ > 0 && valid_.data()[i] == 0; }
  uint64_t bytes() const { return values_.size() + offsets_.size() + bytes_.size() + valid_.size(); }
  bool fits(uint64_t more_bytes) const { return bytes_.size() + more_bytes <= INT32_MAX; }

  // Empties the builder. `dictionary` is for kDictionary.
  Result<ExportColumn> Finish(DictionaryExport* dictionary);
  void CountMemory() { reservation_.Resize(bytes()); }

 private:
  Status ExtendValid();  // to size_, new slots valid

  Field field_;
  int64_t size_ = 0;
  int64_t nulls_ = 0;
  Buffer values_;   // fixed-width; a bool is a byte until Finish
  Buffer offsets_;  // int32; [size_ + 1] once something was appended
  Buffer bytes_;
  Buffer valid_;  // a byte a row, only from the first null on
  Reservation reservation_;
};

}  // namespace segue
