#include "events/row_format.h"

#include <algorithm>
#include <cstring>

#include "events/distinct_strings.h"

namespace segue {

RowFormat::RowFormat(const StoreSchema* schema) : schema_(schema) {
  uint32_t offset = static_cast<uint32_t>((schema->columns.size() + 7) / 8);
  for (const StoreColumn& column : schema->columns) {
    const int width = column.coded ? 0 : column.width;
    slots_.push_back({offset, width});
    offset += width == 0 ? 8 : static_cast<uint32_t>(width);
  }
  fixed_size_ = offset;
}

Status RowFormat::Check(std::string_view row) const {
  if (row.size() < fixed_size_) return Status::Invalid("a packed row is shorter than its schema's fixed part");
  const auto* p = reinterpret_cast<const uint8_t*>(row.data());
  for (size_t c = 0; c < slots_.size(); ++c) {
    const StoreColumn& column = schema_->columns[c];
    if (IsNull(p, c)) {
      if (column.is_key || static_cast<int>(c) == schema_->time || !column.field.nullable) {
        return Status::Schema(column.field.name, "column '" + column.field.name + "' must not be null");
      }
      continue;
    }
    if (slots_[c].width != 0) continue;
    const uint64_t start = LoadAs<uint32_t>(p + slots_[c].offset);
    const uint64_t length = LoadAs<uint32_t>(p + slots_[c].offset + 4);
    if (start < fixed_size_ || start + length > row.size()) {
      return Status::Invalid("a packed row's bytes lie outside of it");
    }
  }
  return {};
}

void RowFormat::Pack(const Interners& interners, const ColumnBatch& batch, size_t row, std::string* out) const {
  const size_t start = out->size();
  out->resize(start + fixed_size_, '\0');
  for (size_t c = 0; c < slots_.size(); ++c) {
    const ColumnData& column = batch.columns[c];
    if (column.IsNull(row)) {
      (*out)[start + (c >> 3)] = static_cast<char>((*out)[start + (c >> 3)] | (1 << (c & 7)));
      continue;
    }
    char* slot = out->data() + start + slots_[c].offset;
    if (slots_[c].width != 0) {
      const auto width = static_cast<size_t>(slots_[c].width);
      std::memcpy(slot, column.values.data() + row * width, width);
      continue;
    }
    const std::string_view bytes =
        schema_->columns[c].coded ? interners[c]->At(column.Get<int32_t>(row)) : column.Bytes(row);
    StoreAs<uint32_t>(slot, static_cast<uint32_t>(out->size() - start));
    StoreAs<uint32_t>(slot + 4, static_cast<uint32_t>(bytes.size()));
    out->append(bytes);
  }
}

void RowFormat::Unpack(const Interners& interners, const std::vector<const uint8_t*>& rows, ColumnBatch* batch) const {
  batch->columns.resize(slots_.size());
  const size_t old = batch->rows;
  const size_t n = rows.size();
  for (size_t c = 0; c < slots_.size(); ++c) {
    ColumnData* to = &batch->columns[c];
    const bool nulls = std::any_of(rows.begin(), rows.end(), [this, c](const uint8_t* row) { return IsNull(row, c); });
    if (nulls || !to->valid.empty()) {
      if (to->valid.empty()) to->valid.assign(old, 1);
      to->valid.resize(old + n);
      for (size_t i = 0; i < n; ++i) to->valid[old + i] = IsNull(rows[i], c) ? 0 : 1;
    }
    if (schema_->columns[c].coded) {
      UnpackCodes(interners[c].get(), c, rows, to);
    } else if (slots_[c].width == 0) {
      UnpackBytes(c, rows, to);
    } else {
      // A null's slot is zero, as its value has to be.
      const auto width = static_cast<size_t>(slots_[c].width);
      to->values.resize((old + n) * width);
      uint8_t* out = to->values.data() + old * width;
      for (size_t i = 0; i < n; ++i) std::memcpy(out + i * width, rows[i] + slots_[c].offset, width);
    }
  }
  batch->rows += n;
}

void RowFormat::UnpackCodes(Interner* interner, size_t column, const std::vector<const uint8_t*>& rows,
                            ColumnData* to) const {
  DistinctStrings distinct;
  std::vector<int32_t> local(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    local[i] = IsNull(rows[i], column) ? -1 : distinct.Add(BytesAt(rows[i], column));
  }
  std::vector<int32_t> codes;
  interner->InternMany(distinct.values(), &codes);
  const size_t old = to->values.size();
  to->values.resize(old + rows.size() * sizeof(int32_t));
  for (size_t i = 0; i < rows.size(); ++i) {
    StoreAs<int32_t>(to->values.data() + old + i * sizeof(int32_t),
                     local[i] < 0 ? 0 : codes[static_cast<size_t>(local[i])]);
  }
}

void RowFormat::UnpackBytes(size_t column, const std::vector<const uint8_t*>& rows, ColumnData* to) const {
  if (to->offsets.empty()) to->offsets.push_back(0);
  for (const uint8_t* row : rows) {
    if (!IsNull(row, column)) {
      const std::string_view bytes = BytesAt(row, column);
      to->values.insert(to->values.end(), bytes.begin(), bytes.end());
    }
    to->offsets.push_back(static_cast<uint32_t>(to->values.size()));
  }
}

void RowFormat::EncodeRowKey(const uint8_t* row, std::string* out) const {
  for (const int key : schema_->key) {
    const auto c = static_cast<size_t>(key);
    EncodeKeyPart(schema_->columns[c].field.type.id, row + slots_[c].offset,
                  slots_[c].width == 0 ? BytesAt(row, c) : std::string_view(), out);
  }
}

}  // namespace segue
