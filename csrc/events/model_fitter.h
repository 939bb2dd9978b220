// ModelFitter: chooses the models of a table that is about to be written.
//
// It takes stretches of the table's rows from all over its keys as a sample,
// then, if it asks for them, the time and sequence number of every row for the
// arrival clock, and weighs for each column what foretells it best. The weights
// are bits in the file, models included; a column that plain packing would
// write as well gets none.
//
// Thread safety: belongs to one thread.
// Ownership: borrows the schema.
// Memory: the sample, 8 bytes a value and a few times that for one column.
// Cost: about a millisecond a column for a sample of 8,192 rows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "events/arrival_clock.h"
#include "events/column_batch.h"
#include "events/table_models.h"

namespace segue {

class ModelFitter {
 public:
  // Rows of a sample follow each other in stretches of this many, one from each of so many places.
  static constexpr size_t kStretchRows = 512;
  static size_t Stretches(uint64_t rows);
  // What models must save in a table that merges write, and that most reads will read; and in one that a
  // flush writes, which writers wait for and which is merged soon.
  static constexpr double kWorthOfMerge = 0.1;
  static constexpr double kWorthOfFlush = 2.5;
  // Rows of which values are counted.
  static constexpr size_t kMostCounted = size_t{1} << 20;

  // `rows`: of the table to be; `worth`: bits a value that a model must save.
  ModelFitter(const StoreSchema* schema, uint64_t rows, double worth);

  // A stretch of rows in the table's order.
  void AddStretch(const ColumnBatch& rows);
  // The sample is complete: what else is wanted?
  void EndSample();
  // Of every row, time and sequence number, in any order; but for rows before `visible_from`.
  void AddArrivals(const ColumnData& times, const RawVector<uint64_t>& seq, size_t begin, size_t end,
                   int64_t visible_from);
  // Columns of which many rows' values are to be counted, and whether there are not enough yet.
  const std::vector<bool>& counted() const { return counted_; }
  bool counting() const { return count_left_ > 0; }
  void Count(const ColumnBatch& rows, size_t begin, size_t end);
  // Null when no column is worth a model.
  std::shared_ptr<const TableModels> Fit();

 private:
  // The best model of a column so far, and the bits that it makes of the sample.
  struct Best {
    std::unique_ptr<ValueModel> model;
    double bits = 0;
  };

  void FitColumn(size_t chunk);
  void RankCodes(size_t column);
  // Steps from the row before for rows with its key, and the values of the others.
  void SplitByKey(const RawVector<uint64_t>& values, RawVector<uint64_t>* fresh, RawVector<uint64_t>* same) const;
  // A model that must save `least` bits a row to be taken.
  void Offer(Best* best, Foretold foretold, RawVector<uint64_t> values, double least) const;
  void OfferByKey(Best* best, const RawVector<uint64_t>& values, double least) const;
  void OfferFrequent(Best* best, size_t column) const;
  double PackedBits(const RawVector<uint64_t>& values) const;
  double weight() const { return static_cast<double>(rows_) / static_cast<double>(sampled_); }

  const StoreSchema* schema_;
  const uint64_t rows_;
  const double worth_;
  size_t sampled_ = 0;
  std::vector<bool> fits_;                   // a column may have a model
  std::vector<RawVector<uint64_t>> values_;  // of each that may, then the sequence numbers
  RawVector<uint8_t> same_;                  // of each row: its key is that of the row before
  ArrivalClockMaker clock_;
  std::vector<bool> counted_;
  std::vector<ValueTable> counts_;
  size_t count_left_ = 0;
  std::unique_ptr<TableModels> models_;
};

}  // namespace segue
