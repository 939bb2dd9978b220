// TableModels: what an SSTable's file knows of its columns as a whole, so that
// their chunks take few bits: a ValueModel for some of them, and the arrival
// clock. One section of the file; docs/formats/sstable.md has its layout.
//
// Thread safety: plain data once fitted or parsed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "events/arrival_clock.h"
#include "events/column_batch.h"
#include "events/store_schema.h"
#include "events/value_model.h"

namespace segue {

struct TableModels {
  ArrivalClock clock;
  // One a column in schema order, then that of the sequence numbers; null: it has none.
  std::vector<std::unique_ptr<const ValueModel>> models;
  // Of each coded column: codes of the store, the most frequent first. Not in the file, whose dictionary
  // is in this order.
  std::vector<std::vector<int32_t>> frequent_codes;

  bool empty() const;
  const ValueModel* Of(size_t chunk) const { return models[chunk].get(); }
  bool NeedsKeys(size_t chunk) const { return models[chunk] && models[chunk]->foretold == Foretold::kByKey; }
  bool AnyNeedsKeys() const;
  bool NeedsClock(size_t chunk) const { return models[chunk] && models[chunk]->foretold == Foretold::kByClock; }

  void Serialize(std::string* out) const;
  // kInvalid when it is damaged, or has a model where there can be none.
  static Result<std::unique_ptr<TableModels>> Parse(const StoreSchema& schema, std::string_view bytes);
};

// True when values of this column are integers, of which a model may be made.
bool CanHaveModel(const StoreColumn& column);
bool IsKey(const StoreSchema& schema, size_t column);

// (*same)[i] = 1 when row begin + i has the key of the row before it, and i is not 0.
void SameKeys(const StoreSchema& schema, const ColumnBatch& batch, size_t begin, size_t n, RawVector<uint8_t>* same);

}  // namespace segue
