#include "events/model_fitter.h"

#include <algorithm>
#include <utility>

#include "base/thread_priority.h"
#include "events/block_encoding.h"
#include "events/packed_ints.h"
#include "events/value_width.h"

namespace segue {
namespace {

constexpr size_t kLeastSample = 256;  // fewer rows tell too little, and a table of so few is small
constexpr size_t kStretches = 16;
// What a model has to save: decoding costs more than of packed values, and more yet with what it needs beside.
constexpr double kWorth = 0.97;
constexpr double kWorthKeys = 0.1;  // bits a row
constexpr double kWorthClock = 1.0;

// Values as the encodings have them; a null repeats the value before it, or the first there is. False when
// there is none.
bool AppendWords(const StoreColumn& column, const ColumnData& data, size_t n, RawVector<uint64_t>* out) {
  size_t first = 0;
  while (first < n && data.IsNull(first)) ++first;
  if (first == n) return false;
  const bool is_signed = ColumnShape::Of(column).is_signed;
  const size_t old = out->size();
  out->resize(old + n);
  uint64_t* words = out->data() + old;
  WithWidth(column.width, [&]<typename T>() {
    if constexpr (sizeof(T) <= 8) {
      for (size_t i = 0; i < n; ++i) {
        const T value = data.Get<T>(i < first ? first : i);
        words[i] = is_signed ? static_cast<uint64_t>(static_cast<int64_t>(static_cast<std::make_signed_t<T>>(value)))
                             : static_cast<uint64_t>(value);
        if (i > first && data.IsNull(i)) words[i] = words[i - 1];
      }
    }
  });
  return true;
}

}  // namespace

size_t ModelFitter::Stretches(uint64_t rows) {
  // A table of few rows is a sample as a whole.
  return rows <= kStretches * kStretchRows ? 1 : kStretches;
}

ModelFitter::ModelFitter(const StoreSchema* schema, uint64_t rows, double worth)
    : schema_(schema),
      rows_(rows),
      worth_(worth),
      fits_(schema->columns.size()),
      values_(schema->columns.size() + 1),
      counted_(schema->columns.size()),
      counts_(schema->columns.size()),
      models_(std::make_unique<TableModels>()) {
  for (size_t c = 0; c < fits_.size(); ++c) fits_[c] = CanHaveModel(schema->columns[c]);
  models_->models.resize(values_.size());
  models_->frequent_codes.resize(schema->columns.size());
}

void ModelFitter::AddStretch(const ColumnBatch& rows) {
  RawVector<uint8_t> same;
  SameKeys(*schema_, rows, 0, rows.rows, &same);
  same_.insert(same_.end(), same.begin(), same.end());
  for (size_t c = 0; c < schema_->columns.size(); ++c) {
    fits_[c] = fits_[c] && AppendWords(schema_->columns[c], rows.columns[c], rows.rows, &values_[c]);
  }
  values_.back().insert(values_.back().end(), rows.seq.begin(), rows.seq.end());
  sampled_ += rows.rows;
}

void ModelFitter::EndSample() {
  if (!IsKey(*schema_, static_cast<size_t>(schema_->time))) clock_ = ArrivalClockMaker(values_.back(), rows_);
  for (size_t c = 0; c < schema_->columns.size(); ++c) {
    if (!fits_[c] || schema_->columns[c].coded || static_cast<int>(c) == schema_->time || IsKey(*schema_, c) ||
        values_[c].size() < 256)
      continue;
    // Worth counting where values are many, and yet some come again.
    ValueTable distinct(values_[c].size());
    for (const uint64_t value : values_[c]) ++distinct.At(value, 0);
    counted_[c] = distinct.size() > 64 && distinct.size() < values_[c].size() / 8 * 7;
  }
  // The tables of counts take 32 MiB together.
  const auto columns = static_cast<uint64_t>(std::count(counted_.begin(), counted_.end(), true));
  if (columns == 0) return;
  count_left_ = static_cast<size_t>(std::min<uint64_t>(rows_ / 8, kMostCounted / columns));
  for (size_t c = 0; c < counts_.size(); ++c) {
    if (counted_[c]) counts_[c] = ValueTable(count_left_ / 4);
  }
}

void ModelFitter::AddArrivals(const ColumnData& times, const RawVector<uint64_t>& seq, size_t begin, size_t end,
                              int64_t visible_from) {
  constexpr size_t kPiece = 65536;
  for (size_t row = begin; row < end; ++row) {
    const auto time = times.Get<int64_t>(row);
    if (time >= visible_from) clock_.Add(static_cast<uint64_t>(time), seq[row]);
    if (row % kPiece == 0) GiveWay();
  }
}

void ModelFitter::Count(const ColumnBatch& rows, size_t begin, size_t end) {
  end = std::min(end, begin + count_left_);
  count_left_ -= end - begin;
  for (size_t c = 0; c < counted_.size(); ++c) {
    if (!counted_[c]) continue;
    const StoreColumn& column = schema_->columns[c];
    const bool is_signed = ColumnShape::Of(column).is_signed;
    WithWidth(column.width, [&]<typename T>() {
      if constexpr (sizeof(T) <= 8) {
        for (size_t row = begin; row < end; ++row) {
          const T value = rows.columns[c].Get<T>(row);
          ++counts_[c].At(is_signed
                              ? static_cast<uint64_t>(static_cast<int64_t>(static_cast<std::make_signed_t<T>>(value)))
                              : static_cast<uint64_t>(value),
                          0);
          if ((row & 8191) == 0) GiveWay();
        }
      }
    });
  }
}

void ModelFitter::SplitByKey(const RawVector<uint64_t>& values, RawVector<uint64_t>* fresh,
                             RawVector<uint64_t>* same) const {
  for (size_t i = 0; i < values.size(); ++i) {
    if (same_[i] != 0) {
      same->push_back(values[i] - values[i - 1]);
    } else {
      fresh->push_back(values[i]);
    }
  }
}

// Of blocks without a model.
double ModelFitter::PackedBits(const RawVector<uint64_t>& values) const {
  constexpr size_t kBlock = 512;
  double bits = 0;
  for (size_t i = 0; i < values.size(); i += kBlock) {
    bits += 8.0 * static_cast<double>(PlanPacked(values.data() + i, std::min(kBlock, values.size() - i)).bytes());
  }
  return bits;
}

void ModelFitter::Offer(Best* best, Foretold foretold, RawVector<uint64_t> values, double least) const {
  if (values.empty()) return;
  auto model = std::make_unique<ValueModel>();
  model->foretold = foretold;
  double bits = 0;
  model->code = BinCode::Fit(&values, weight(), &bits);
  if (bits + least * static_cast<double>(sampled_) >= best->bits) return;
  *best = {std::move(model), bits};
}

void ModelFitter::OfferByKey(Best* best, const RawVector<uint64_t>& values, double least) const {
  RawVector<uint64_t> fresh;
  RawVector<uint64_t> same;
  SplitByKey(values, &fresh, &same);
  if (fresh.empty() || same.size() <= sampled_ / 16) return;
  auto model = std::make_unique<ValueModel>();
  model->foretold = Foretold::kByKey;
  double fresh_bits = 0;
  double same_bits = 0;
  model->code = BinCode::Fit(&fresh, weight(), &fresh_bits);
  model->same_key = BinCode::Fit(&same, weight(), &same_bits);
  if (fresh_bits + same_bits + least * static_cast<double>(sampled_) >= best->bits) return;
  *best = {std::move(model), fresh_bits + same_bits};
}

// With a dictionary of the values that were counted often. Which is long enough is tried.
void ModelFitter::OfferFrequent(Best* best, size_t column) const {
  using Counted = std::pair<uint32_t, uint64_t>;  // count, value
  std::vector<Counted> counted;
  counts_[column].ForEach([&](uint64_t value, uint32_t count) {
    if (count > 2) counted.emplace_back(count, value);
  });
  std::sort(counted.begin(), counted.end(), [](const Counted& a, const Counted& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  GiveWay();
  const RawVector<uint64_t>& values = values_[column];
  const auto [least, most] = std::minmax_element(values.begin(), values.end(), [](uint64_t a, uint64_t b) {
    return static_cast<int64_t>(a) < static_cast<int64_t>(b);
  });
  for (size_t n = std::min(counted.size(), ValueModel::kMostFrequent); n >= 64; n /= 4) {
    auto model = std::make_unique<ValueModel>();
    model->least = *least;
    model->ranks = ValueTable(n);
    for (size_t i = 0; i < n; ++i) {
      model->frequent.push_back(counted[i].second);
      model->ranks.At(counted[i].second, static_cast<uint32_t>(i));
    }
    GiveWay();
    RawVector<uint64_t> coded(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const uint32_t rank = model->ranks.Find(values[i]);
      coded[i] = rank != ValueTable::kNone ? rank : values[i] - *least + n;
    }
    double bits = 0;
    model->code = BinCode::Fit(&coded, weight(), &bits);
    bits += static_cast<double>(n) * BitWidth(*most - *least) / weight();
    if (bits >= best->bits) break;
    *best = {std::move(model), bits};
  }
}

// Codes of the file: the most frequent strings first.
void ModelFitter::RankCodes(size_t column) {
  ValueTable counts;
  for (const uint64_t code : values_[column]) ++counts.At(code, 0);
  std::vector<std::pair<uint32_t, uint64_t>> counted;
  counts.ForEach([&](uint64_t code, uint32_t count) { counted.emplace_back(count, code); });
  std::sort(counted.begin(), counted.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  ValueTable ranks(counted.size());
  for (const auto& [count, code] : counted) {
    ranks.At(code, static_cast<uint32_t>(models_->frequent_codes[column].size()));
    models_->frequent_codes[column].push_back(static_cast<int32_t>(code));
  }
  for (uint64_t& value : values_[column]) value = ranks.Find(value);
}

void ModelFitter::FitColumn(size_t chunk) {
  const bool is_column = chunk < schema_->columns.size();
  if (is_column && schema_->columns[chunk].coded) RankCodes(chunk);
  const RawVector<uint64_t>& values = values_[chunk];
  Best best;
  const double packed = PackedBits(values);
  best.bits = std::min(packed * kWorth, packed - worth_ * static_cast<double>(sampled_));
  Offer(&best, Foretold::kByNothing, values, 0);
  if (is_column && IsKey(*schema_, chunk)) {
    RawVector<uint64_t> steps;
    for (size_t i = 1; i < values.size(); ++i) steps.push_back(values[i] - values[i - 1]);
    Offer(&best, Foretold::kByStep, std::move(steps), 0);
  } else {
    if (is_column && counted_[chunk]) {
      OfferFrequent(&best, chunk);
      counts_[chunk] = ValueTable();
    }
    OfferByKey(&best, values, kWorthKeys);
    if (chunk == static_cast<size_t>(schema_->time) && !models_->clock.empty()) {
      RawVector<uint64_t> errors(values.size());
      for (size_t i = 0; i < values.size(); ++i) errors[i] = values[i] - models_->clock.At(values_.back()[i]);
      std::string clock;
      models_->clock.Serialize(&clock);
      const double cost = 8.0 * static_cast<double>(clock.size()) / static_cast<double>(rows_);
      Offer(&best, Foretold::kByClock, std::move(errors), kWorthClock + cost);
    }
  }
  models_->models[chunk] = std::move(best.model);
}

std::shared_ptr<const TableModels> ModelFitter::Fit() {
  if (sampled_ < kLeastSample) return nullptr;
  models_->clock = clock_.Make();
  for (size_t chunk = 0; chunk < values_.size(); ++chunk) {
    if (chunk == fits_.size() || fits_[chunk]) FitColumn(chunk);
  }
  const auto time = static_cast<size_t>(schema_->time);
  if (!models_->NeedsClock(time)) models_->clock = ArrivalClock();
  if (models_->empty()) return nullptr;
  return std::shared_ptr<const TableModels>(std::move(models_));
}

}  // namespace segue
