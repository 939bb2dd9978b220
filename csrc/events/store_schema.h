// StoreSchema: how one event table's columns are held in memory, and what its
// key and time columns are.
//
// A column is held as fixed-width values, as bytes, or as codes. Dictionary
// columns that are not part of the key are held as int32 codes of the store's
// Interner for that column; in the key they are held as bytes, because key
// order must not depend on the order in which strings arrived.
//
// Thread safety: immutable after Make.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/schema.h"
#include "base/status.h"

namespace segue {

struct StoreColumn {
  Field field;
  int width = 0;       // bytes of one value in ColumnData::values; 0: bytes with offsets
  bool coded = false;  // int32 codes of the column's Interner
  bool is_key = false;
};

struct StoreSchema {
  Schema schema;
  std::vector<StoreColumn> columns;  // schema order
  std::vector<int> key;              // column indices, in key order
  int time = -1;                     // column index

  static Result<StoreSchema> Make(Schema schema, const std::vector<std::string>& key, const std::string& time);

  // Self-describing bytes for manifest and SSTable footers, and back.
  std::string Serialize() const;
  static Result<StoreSchema> Parse(std::string_view bytes);
};

}  // namespace segue
