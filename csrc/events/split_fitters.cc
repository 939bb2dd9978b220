#include "events/split_fitters.h"

#include <algorithm>

namespace segue {

SplitFitters::SplitFitters(const StoreSchema* schema, const WindowSplit* split, double worth)
    : schema_(schema), split_(split) {
  for (size_t file = 0; file < split->files(); ++file) fitters_.emplace_back(schema, split->rows(file), worth);
}

template <typename F>
void SplitFitters::ForEachFile(const ColumnBatch& rows, F f) {
  if (fitters_.size() == 1) return f(size_t{0}, size_t{0}, rows.rows);
  files_.resize(rows.rows);
  split_->Route(rows.columns[static_cast<size_t>(schema_->time)], 0, rows.rows, files_.data());
  for (size_t begin = 0; begin < rows.rows;) {
    size_t end = begin + 1;
    while (end < rows.rows && files_[end] == files_[begin]) ++end;
    f(files_[begin], begin, end);
    begin = end;
  }
}

void SplitFitters::AddStretch(const ColumnBatch& rows) {
  if (fitters_.size() == 1) return fitters_[0].AddStretch(rows);
  std::vector<ColumnBatch> parts(fitters_.size());
  ForEachFile(rows,
              [&](size_t file, size_t begin, size_t end) { AppendRows(*schema_, rows, begin, end, {}, &parts[file]); });
  for (size_t file = 0; file < parts.size(); ++file) {
    if (parts[file].rows > 0) fitters_[file].AddStretch(parts[file]);
  }
}

void SplitFitters::EndSample() {
  for (ModelFitter& fitter : fitters_) fitter.EndSample();
}

void SplitFitters::Add(const ColumnBatch& rows, int64_t visible_from, bool count) {
  const ColumnData& times = rows.columns[static_cast<size_t>(schema_->time)];
  ForEachFile(rows, [&](size_t file, size_t begin, size_t end) {
    fitters_[file].AddArrivals(times, rows.seq, begin, end, visible_from);
    if (count) fitters_[file].Count(rows, begin, end);
  });
}

std::vector<bool> SplitFitters::counted() const {
  std::vector<bool> all(schema_->columns.size());
  for (const ModelFitter& fitter : fitters_) {
    for (size_t c = 0; c < all.size(); ++c) all[c] = all[c] || fitter.counted()[c];
  }
  return all;
}

bool SplitFitters::counting() const {
  return std::any_of(fitters_.begin(), fitters_.end(), [](const ModelFitter& fitter) { return fitter.counting(); });
}

FileModels SplitFitters::Fit() {
  FileModels models;
  for (ModelFitter& fitter : fitters_) models.push_back(fitter.Fit());
  return models;
}

}  // namespace segue
