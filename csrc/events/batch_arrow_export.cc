// ArrowExporter: ColumnBatch to Arrow record batches.
#include <limits>

#include "events/batch_arrow.h"
#include "events/distinct_strings.h"

namespace segue {

namespace {

constexpr size_t kMaxBytes = std::numeric_limits<int32_t>::max();
// Above this many strings, a dictionary is cut down for batches of a quarter of its size or less.
constexpr int32_t kSmallDictionary = 16384;

std::shared_ptr<const std::vector<uint8_t>> Pack(const RawVector<uint8_t>& bytes) {
  auto bits = std::make_shared<std::vector<uint8_t>>((bytes.size() + 7) / 8);
  for (size_t i = 0; i < bytes.size(); ++i) {
    (*bits)[i >> 3] = static_cast<uint8_t>((*bits)[i >> 3] | ((bytes[i] != 0 ? 1 : 0) << (i & 7)));
  }
  return bits;
}

std::shared_ptr<const ExportColumn> Own(std::shared_ptr<const StringBuffers> strings) {
  auto column = std::make_shared<ExportColumn>();
  column->offsets = strings->offsets.data();
  column->values = strings->bytes.data();
  column->owner = std::move(strings);
  return column;
}

Result<std::shared_ptr<const ExportColumn>> OwnCopies(const std::string& name,
                                                      const std::vector<std::string_view>& values) {
  size_t total = 0;
  for (const std::string_view value : values) total += value.size();
  if (total > kMaxBytes) {
    return Status::Invalid("column '" + name + "' has 2 GiB of distinct strings or more in one batch");
  }
  auto strings = std::make_shared<StringBuffers>();
  strings->bytes.reserve(total);
  strings->offsets.reserve(values.size() + 1);
  for (const std::string_view value : values) strings->Add(value);
  return Own(std::move(strings));
}

// Keeps what one exported column points into.
struct ColumnOwner {
  ColumnData data;
  std::shared_ptr<const std::vector<uint8_t>> validity;
  std::shared_ptr<const std::vector<uint8_t>> bools;
};

}  // namespace

ArrowExporter::ArrowExporter(const StoreSchema& schema, const Interners& interners, std::vector<int> projection,
                             std::string sequence_name)
    : store_(&schema),
      interners_(&interners),
      projection_(std::move(projection)),
      with_sequence_(!sequence_name.empty()),
      dictionaries_(projection_.size()) {
  for (const int c : projection_) schema_.fields.push_back(schema.schema.fields[static_cast<size_t>(c)]);
  if (with_sequence_) {
    Field field;
    field.name = std::move(sequence_name);
    field.type.id = TypeId::kUInt64;
    field.nullable = false;
    schema_.fields.push_back(std::move(field));
  }
}

Status ArrowExporter::ExportData(const StoreColumn& column, ColumnData* data, size_t rows, const Interner* interner,
                                 Dictionary* dictionary, ExportColumn* out) {
  const std::string& name = column.field.name;
  const bool read = column.width > 0 ? data->values.size() == rows * static_cast<size_t>(column.width)
                                     : data->offsets.size() == rows + 1 || rows == 0;
  if (!read) return Status::Invalid("column '" + name + "' was not read, so it cannot be exported");
  auto owner = std::make_shared<ColumnOwner>();
  owner->data = std::move(*data);
  ColumnData& kept = owner->data;
  if (!kept.valid.empty()) {
    for (const uint8_t valid : kept.valid) out->null_count += valid == 0 ? 1 : 0;
    owner->validity = Pack(kept.valid);
    out->validity = owner->validity->data();
  }
  if (column.field.type.id == TypeId::kBool) {
    owner->bools = Pack(kept.values);
    out->values = owner->bools->data();
  } else if (column.coded) {
    auto* codes = reinterpret_cast<int32_t*>(kept.values.data());
    out->values = codes;
    const int32_t size = interner->size();
    if (size > kSmallDictionary && static_cast<size_t>(size) / 4 > rows) {
      dictionary->local.resize(static_cast<size_t>(size), -1);
      std::vector<std::string_view> used;
      std::vector<int32_t> touched;
      for (size_t i = 0; i < rows; ++i) {
        if (kept.IsNull(i)) {
          codes[i] = 0;
          continue;
        }
        int32_t& local = dictionary->local[static_cast<size_t>(codes[i])];
        if (local < 0) {
          local = static_cast<int32_t>(used.size());
          used.push_back(interner->At(codes[i]));
          touched.push_back(codes[i]);
        }
        codes[i] = local;
      }
      for (const int32_t code : touched) dictionary->local[static_cast<size_t>(code)] = -1;
      out->dictionary_length = static_cast<int64_t>(used.size());
      SEGUE_ASSIGN_OR_RETURN(out->dictionary, OwnCopies(name, used));
    } else {
      if (dictionary->size < size) {
        auto strings = interner->Buffers();
        if (strings == nullptr) {
          return Status::Invalid("column '" + name +
                                 "' has 2 GiB of distinct strings or more; make it a string column");
        }
        dictionary->size = static_cast<int32_t>(strings->size());
        dictionary->strings = Own(std::move(strings));
      }
      out->dictionary_length = dictionary->size;
      out->dictionary = dictionary->strings;
    }
  } else if (column.field.type.id == TypeId::kDictionary) {  // in the key, held as bytes
    DistinctStrings distinct;
    RawVector<uint8_t> codes(rows * sizeof(int32_t));
    for (size_t i = 0; i < rows; ++i) {
      const int32_t code = kept.IsNull(i) ? 0 : distinct.Add(kept.Bytes(i));
      StoreAs<int32_t>(codes.data() + i * sizeof(int32_t), code);
    }
    out->dictionary_length = static_cast<int64_t>(distinct.size());
    SEGUE_ASSIGN_OR_RETURN(out->dictionary, OwnCopies(name, distinct.values()));
    kept.values = std::move(codes);
    kept.offsets = {};
    out->values = kept.values.data();
  } else {
    if (column.width == 0) {
      if (kept.values.size() > kMaxBytes) {
        return Status::Invalid("column '" + name + "' has 2 GiB or more in one batch of " + std::to_string(rows) +
                               " rows; read fewer rows at a time");
      }
      out->offsets = rows == 0 ? nullptr : reinterpret_cast<const int32_t*>(kept.offsets.data());
    }
    out->values = kept.values.data();
  }
  out->owner = std::move(owner);
  return Status();
}

Status ArrowExporter::Export(ColumnBatch batch, ArrowArray* out) {
  std::vector<ExportColumn> columns(schema_.fields.size());
  if (batch.rows == 0) batch.columns.resize(store_->columns.size());
  for (size_t i = 0; i < projection_.size(); ++i) {
    const auto c = static_cast<size_t>(projection_[i]);
    if (c >= batch.columns.size()) return Status::Invalid("the batch has fewer columns than the projection");
    // A column named twice is copied: handing it over leaves nothing for the second.
    bool again = false;
    for (size_t j = i + 1; j < projection_.size(); ++j) again |= projection_[j] == projection_[i];
    ColumnData data = again ? batch.columns[c] : std::move(batch.columns[c]);
    SEGUE_RETURN_IF_ERROR(
        ExportData(store_->columns[c], &data, batch.rows, (*interners_)[c].get(), &dictionaries_[i], &columns[i]));
  }
  if (with_sequence_) {
    if (batch.seq.size() != batch.rows) return Status::Invalid("the batch has no sequence numbers to export");
    auto seq = std::make_shared<RawVector<uint64_t>>(std::move(batch.seq));
    columns.back().values = seq->data();
    columns.back().owner = std::move(seq);
  }
  ExportBatch(schema_, static_cast<int64_t>(batch.rows), std::move(columns), out);
  return Status();
}

}  // namespace segue
