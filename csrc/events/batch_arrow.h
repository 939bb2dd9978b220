// Arrow record batches to ColumnBatch and back.
//
// Thread safety: AppendArrow is a pure function apart from the interners, which
// may gain strings. An ArrowExporter belongs to one thread at a time.
// Ownership: an ArrowExporter borrows its StoreSchema and Interners. The arrays
// it exports stand alone: they keep the batch alive, and copies of the dictionary strings.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/arrow_array.h"
#include "base/status.h"
#include "events/column_batch.h"
#include "events/interner.h"
#include "events/store_schema.h"

namespace segue {

// Appends the rows of `batch`, whose columns `source` describes, to *out.
//
// Columns are matched by name, in any order. These count as one type, and
// values are converted where every one of them converts exactly:
//   - integers of any width; integers and float32/64 in a float column
//   - timestamps of any unit; a timestamp without a zone is taken as UTC, one
//     with a zone as the instant it names; integers as the column's own unit
//   - decimals of any precision and scale
//   - strings and dictionaries of strings; their bytes must be UTF-8
// A missing nullable column is appended as nulls. kSchema, naming the column
// and where it applies row and value: an unknown, doubled or missing column,
// another type, a value that does not convert, a null in a key, time or
// non-nullable column. Nothing in *out has changed after an error.
//
// *out is either empty or already has all columns of `schema`. out->seq is left
// alone: the caller numbers the rows.
Status AppendArrow(const StoreSchema& schema, const Interners& interners, const Schema& source,
                   const BatchReader& batch, ColumnBatch* out);

// Exports batches as columns `projection` (indices into the store schema, any
// order), with the sequence numbers as a last uint64 column named
// `sequence_name` unless that is empty. Dictionary columns leave as
// dictionary<int32, string>; batches share one dictionary while the column's
// interner has not grown, except that a dictionary far larger than the batch is
// cut down to the strings the batch uses.
class ArrowExporter {
 public:
  ArrowExporter(const StoreSchema& schema, const Interners& interners, std::vector<int> projection,
                std::string sequence_name);

  const Schema& schema() const { return schema_; }

  // Fixed-width values and strings are handed over, not copied; booleans and
  // validity are packed into bitmaps. kInvalid when a column was not read, or
  // holds 2 GiB of strings or more (the limit of Arrow's 32-bit offsets).
  Status Export(ColumnBatch batch, ArrowArray* out);

 private:
  struct Dictionary {
    int32_t size = -1;
    std::shared_ptr<const ExportColumn> strings;
    std::vector<int32_t> local;  // interner code -> code in a cut-down dictionary; -1 outside Export
  };

  Status ExportData(const StoreColumn& column, ColumnData* data, size_t rows, const Interner* interner,
                    Dictionary* dictionary, ExportColumn* out);

  const StoreSchema* store_;
  const Interners* interners_;
  std::vector<int> projection_;
  bool with_sequence_;
  Schema schema_;
  std::vector<Dictionary> dictionaries_;  // one per projected column
};

}  // namespace segue
