#include "events/row_format.h"

#include <cstring>

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

namespace {

void AppendValue(const StoreColumn& column, const uint8_t* value, std::string_view bytes, Interner* interner,
                 ColumnData* to) {
  if (column.coded) {
    const int32_t code = interner->Intern(bytes);
    const auto* p = reinterpret_cast<const uint8_t*>(&code);
    to->values.insert(to->values.end(), p, p + sizeof(code));
  } else if (column.width != 0) {
    to->values.insert(to->values.end(), value, value + column.width);
  } else {
    if (to->offsets.empty()) to->offsets.push_back(0);
    to->values.insert(to->values.end(), bytes.begin(), bytes.end());
    to->offsets.push_back(static_cast<uint32_t>(to->values.size()));
  }
}

void AppendNull(const StoreColumn& column, ColumnData* to) {
  if (column.width != 0) {
    to->values.resize(to->values.size() + static_cast<size_t>(column.width));
    std::memset(to->values.data() + to->values.size() - column.width, 0, static_cast<size_t>(column.width));
  } else {
    if (to->offsets.empty()) to->offsets.push_back(0);
    to->offsets.push_back(static_cast<uint32_t>(to->values.size()));
  }
}

}  // namespace

void RowFormat::Unpack(const Interners& interners, const uint8_t* row, ColumnBatch* batch) const {
  batch->columns.resize(slots_.size());
  for (size_t c = 0; c < slots_.size(); ++c) {
    const StoreColumn& column = schema_->columns[c];
    ColumnData* to = &batch->columns[c];
    const bool null = IsNull(row, c);
    if (null && to->valid.empty()) to->valid.assign(batch->rows, 1);
    if (null || !to->valid.empty()) to->valid.push_back(null ? 0 : 1);
    if (null) {
      AppendNull(column, to);
    } else {
      const std::string_view bytes = slots_[c].width == 0 ? BytesAt(row, c) : std::string_view();
      AppendValue(column, row + slots_[c].offset, bytes, interners[c].get(), to);
    }
  }
  ++batch->rows;
}

void RowFormat::EncodeRowKey(const uint8_t* row, std::string* out) const {
  for (const int key : schema_->key) {
    const auto c = static_cast<size_t>(key);
    EncodeKeyPart(schema_->columns[c].field.type.id, row + slots_[c].offset,
                  slots_[c].width == 0 ? BytesAt(row, c) : std::string_view(), out);
  }
}

}  // namespace segue
