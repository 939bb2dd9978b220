// SplitFitters: the models of the several files that a flush or a merge writes,
// each from its own rows.
//
// Thread safety: belongs to one thread.
// Ownership: borrows schema and split.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "events/model_fitter.h"
#include "events/time_windows.h"

namespace segue {

using FileModels = std::vector<std::shared_ptr<const TableModels>>;  // one a file, or null

class SplitFitters {
 public:
  // `worth`: as a ModelFitter takes it.
  SplitFitters(const StoreSchema* schema, const WindowSplit* split, double worth);

  // Stretches of rows in the order of the files: the sample. Then EndSample.
  void AddStretch(const ColumnBatch& rows);
  void EndSample();
  // Of every row there is, those before `visible_from` apart: time and sequence number; and of some rows from
  // all over the files, as long as counting(), also the columns that are counted().
  void Add(const ColumnBatch& rows, int64_t visible_from, bool count);
  std::vector<bool> counted() const;
  bool counting() const;
  FileModels Fit();

 private:
  // Calls f(file, begin, end) for stretches of rows that go to one file.
  template <typename F>
  void ForEachFile(const ColumnBatch& rows, F f);

  const StoreSchema* schema_;
  const WindowSplit* split_;
  std::vector<ModelFitter> fitters_;  // one a file
  std::vector<uint32_t> files_;       // scratch
};

}  // namespace segue
