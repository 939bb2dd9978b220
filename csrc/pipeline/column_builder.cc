#include "pipeline/column_builder.h"

#include <algorithm>

namespace segue {

Result<DictionaryExport::Entries> DictionaryExport::For(int32_t* codes, const uint8_t* valid, int64_t n) {
  const int32_t size = dictionary_->size();
  if (size <= std::max<int64_t>(1024, n / 2)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (whole_.values == nullptr || whole_.size != size) {
      SEGUE_ASSIGN_OR_RETURN(whole_.values, dictionary_->Export());
      whole_.size = size;
    }
    return whole_;
  }
  std::vector<int32_t> renumbered(static_cast<size_t>(size), -1);
  std::vector<int32_t> used;
  for (int64_t i = 0; i < n; ++i) {
    if (valid != nullptr && valid[i] == 0) {
      codes[i] = 0;
      continue;
    }
    int32_t& code = renumbered[static_cast<size_t>(codes[i])];
    if (code < 0) {
      code = static_cast<int32_t>(used.size());
      used.push_back(codes[i]);
    }
    codes[i] = code;
  }
  Entries entries;
  SEGUE_ASSIGN_OR_RETURN(entries.values, dictionary_->ExportSome(used.data(), static_cast<int32_t>(used.size())));
  entries.size = static_cast<int64_t>(used.size());
  return entries;
}

Status ColumnBuilder::ExtendValid() {
  const size_t before = valid_.size();
  SEGUE_RETURN_IF_ERROR(valid_.Resize(static_cast<size_t>(size_)));
  if (static_cast<size_t>(size_) > before) std::memset(valid_.data() + before, 1, static_cast<size_t>(size_) - before);
  return Status();
}

Status ColumnBuilder::MakeNull(int64_t i) {
  if (nulls_++ == 0 || valid_.size() < static_cast<size_t>(size_)) SEGUE_RETURN_IF_ERROR(ExtendValid());
  valid_.data()[i] = 0;
  return Status();
}

Status ColumnBuilder::AppendString(std::string_view value) {
  if (!fits(value.size())) {
    return Status::Unsupported("column '" + field_.name +
                               "' holds over 2 GiB of text in one batch; use smaller batches");
  }
  SEGUE_RETURN_IF_ERROR(offsets_.Resize(static_cast<size_t>(size_ + 2) * sizeof(int32_t)));
  SEGUE_RETURN_IF_ERROR(bytes_.Reserve(bytes_.size() + value.size()));
  if (size_ == 0) offsets_.as<int32_t>()[0] = 0;
  bytes_.AppendUnchecked(value.data(), value.size());
  ++size_;
  offsets_.as<int32_t>()[size_] = static_cast<int32_t>(bytes_.size());
  if (nulls_ > 0) return ExtendValid();
  return Status();
}

Status ColumnBuilder::AppendNull() {
  if (IsVariable(field_.type.id)) {
    SEGUE_RETURN_IF_ERROR(AppendString({}));
  } else {
    const auto width = static_cast<size_t>(TypeWidth(field_.type.id));
    SEGUE_RETURN_IF_ERROR(values_.Resize(static_cast<size_t>(size_ + 1) * width));
    std::memset(values_.data() + static_cast<size_t>(size_) * width, 0, width);
    ++size_;
  }
  return MakeNull(size_ - 1);
}

namespace {

template <typename T>
void GatherRows(const MergedRow* rows, int64_t n, uint32_t offset, uint8_t* out) {
  for (int64_t i = 0; i < n; ++i)
    std::memcpy(out + sizeof(T) * static_cast<size_t>(i), rows[i].ref.row + offset, sizeof(T));
}

}  // namespace

Status ColumnBuilder::AppendRows(const MergedRow* rows, int64_t n, const RowColumn& column, uint32_t nulls_offset,
                                 bool may_null) {
  const int64_t first = size_;
  if (IsVariable(field_.type.id)) {
    size_t total = bytes_.size();
    for (int64_t i = 0; i < n; ++i) total += column.BytesOf(rows[i].ref).size();
    if (total > INT32_MAX) {
      return Status::Unsupported("column '" + field_.name +
                                 "' holds over 2 GiB of text in one batch; use smaller batches");
    }
    SEGUE_RETURN_IF_ERROR(offsets_.Resize(static_cast<size_t>(size_ + n + 1) * sizeof(int32_t)));
    SEGUE_RETURN_IF_ERROR(bytes_.Reserve(total));
    auto* offsets = offsets_.as<int32_t>();
    if (size_ == 0) offsets[0] = 0;
    for (int64_t i = 0; i < n; ++i) {
      const std::string_view value = column.BytesOf(rows[i].ref);
      bytes_.AppendUnchecked(value.data(), value.size());
      offsets[first + i + 1] = static_cast<int32_t>(bytes_.size());
    }
  } else {
    const size_t width = column.width;
    SEGUE_RETURN_IF_ERROR(values_.Resize(static_cast<size_t>(size_ + n) * width));
    uint8_t* out = values_.data() + static_cast<size_t>(first) * width;
    switch (width) {
      case 1:
        GatherRows<uint8_t>(rows, n, column.offset, out);
        break;
      case 2:
        GatherRows<uint16_t>(rows, n, column.offset, out);
        break;
      case 4:
        GatherRows<uint32_t>(rows, n, column.offset, out);
        break;
      case 8:
        GatherRows<uint64_t>(rows, n, column.offset, out);
        break;
      default:
        GatherRows<unsigned __int128>(rows, n, column.offset, out);
    }
  }
  size_ += n;
  if (nulls_ > 0) SEGUE_RETURN_IF_ERROR(ExtendValid());
  if (!may_null || column.null_bit < 0) return Status();
  for (int64_t i = 0; i < n; ++i) {
    if (column.IsNull(rows[i].ref.row, nulls_offset)) SEGUE_RETURN_IF_ERROR(MakeNull(first + i));
  }
  return Status();
}

Status ColumnBuilder::AppendView(const ArrayView& view, const Selection& selection, DictionaryMapper* mapper) {
  const bool may_null = MayHoldNulls(view);
  if (IsVariable(field_.type.id)) {
    for (int64_t i = 0; i < selection.n; ++i) {
      const int64_t at = selection.At(i);
      if (may_null && view.IsNull(at)) {
        SEGUE_RETURN_IF_ERROR(AppendNull());
      } else {
        SEGUE_RETURN_IF_ERROR(AppendString(view.StringAt(at)));
      }
    }
    return Status();
  }
  const auto width = static_cast<size_t>(TypeWidth(field_.type.id));
  const int64_t first = size_;
  SEGUE_RETURN_IF_ERROR(values_.Resize(static_cast<size_t>(size_ + selection.n) * width));
  uint8_t* out = values_.data() + static_cast<size_t>(first) * width;
  const auto copy = [&]<typename T>(T) {
    for (int64_t i = 0; i < selection.n; ++i) {
      std::memcpy(out + sizeof(T) * static_cast<size_t>(i),
                  view.values + sizeof(T) * static_cast<size_t>(selection.At(i)), sizeof(T));
    }
  };
  if (field_.type.id == TypeId::kBool) {
    for (int64_t i = 0; i < selection.n; ++i) out[i] = view.BoolAt(selection.At(i)) ? 1 : 0;
  } else if (field_.type.id == TypeId::kDictionary) {
    for (int64_t i = 0; i < selection.n; ++i) {
      const int64_t at = selection.At(i);
      StoreAs<int32_t>(out + 4 * i, may_null && IsNullValue(view, at) ? 0 : mapper->Map(view.EntryAt(at)));
    }
  } else {
    switch (width) {
      case 1:
        copy(uint8_t{});
        break;
      case 2:
        copy(uint16_t{});
        break;
      case 4:
        copy(uint32_t{});
        break;
      case 8:
        copy(uint64_t{});
        break;
      default:
        copy(static_cast<unsigned __int128>(0));
    }
  }
  size_ += selection.n;
  if (nulls_ > 0) SEGUE_RETURN_IF_ERROR(ExtendValid());
  if (!may_null) return Status();
  for (int64_t i = 0; i < selection.n; ++i) {
    if (IsNullValue(view, selection.At(i))) SEGUE_RETURN_IF_ERROR(MakeNull(first + i));
  }
  return Status();
}

Status ColumnBuilder::MoveTail(int64_t from, ColumnBuilder* to) {
  const int64_t n = size_ - from;
  if (n == 0) return Status();
  const auto begin = static_cast<size_t>(from);
  const auto count = static_cast<size_t>(n);
  if (IsVariable(field_.type.id)) {
    const auto* offsets = offsets_.as<int32_t>();
    const int32_t base = offsets[from];
    SEGUE_RETURN_IF_ERROR(to->offsets_.Resize((count + 1) * sizeof(int32_t)));
    auto* moved = to->offsets_.as<int32_t>();
    for (size_t i = 0; i <= count; ++i) moved[i] = offsets[begin + i] - base;
    const size_t bytes = bytes_.size() - static_cast<size_t>(base);
    SEGUE_RETURN_IF_ERROR(to->bytes_.Reserve(bytes));
    to->bytes_.AppendUnchecked(bytes_.data() + base, bytes);
    bytes_.SetSize(static_cast<size_t>(base));
    offsets_.SetSize((begin + 1) * sizeof(int32_t));
  } else {
    const auto width = static_cast<size_t>(TypeWidth(field_.type.id));
    SEGUE_RETURN_IF_ERROR(to->values_.Reserve(count * width));
    to->values_.AppendUnchecked(values_.data() + begin * width, count * width);
    values_.SetSize(begin * width);
  }
  to->size_ = n;
  size_ = from;
  if (nulls_ > 0) {
    const uint8_t* valid = valid_.data() + begin;
    const int64_t nulls = std::count(valid, valid + count, uint8_t{0});
    if (nulls > 0) {
      SEGUE_RETURN_IF_ERROR(to->valid_.Reserve(count));
      to->valid_.AppendUnchecked(valid, count);
    }
    to->nulls_ = nulls;
    nulls_ -= nulls;
    valid_.SetSize(nulls_ > 0 ? begin : 0);
  }
  return Status();
}

namespace {

struct Buffers {
  Buffer values;
  Buffer offsets;
  Buffer bytes;
  Buffer valid;
  Reservation reservation;
};

// A byte a row to a bit a row, in place: bit i is written after byte i was read.
void PackBits(Buffer* buffer, int64_t n) {
  uint8_t* p = buffer->data();
  for (int64_t i = 0; i < n; i += 8) {
    const int64_t count = std::min<int64_t>(8, n - i);
    unsigned bits = 0;
    for (int64_t j = 0; j < count; ++j) bits |= static_cast<unsigned>(p[i + j] != 0) << j;
    p[i / 8] = static_cast<uint8_t>(bits);
  }
  buffer->SetSize(static_cast<size_t>(n + 7) / 8);
}

}  // namespace

Result<ExportColumn> ColumnBuilder::Finish(DictionaryExport* dictionary) {
  ExportColumn column;
  auto held = std::make_shared<Buffers>();
  if (field_.type.id == TypeId::kDictionary) {
    SEGUE_ASSIGN_OR_RETURN(const DictionaryExport::Entries entries,
                           dictionary->For(values_.as<int32_t>(), nulls_ > 0 ? valid_.data() : nullptr, size_));
    column.dictionary = entries.values;
    column.dictionary_length = entries.size;
  }
  if (field_.type.id == TypeId::kBool && size_ > 0) PackBits(&values_, size_);
  if (nulls_ > 0) PackBits(&valid_, size_);
  CountMemory();
  held->values = std::move(values_);
  held->offsets = std::move(offsets_);
  held->bytes = std::move(bytes_);
  held->valid = std::move(valid_);
  column.values = IsVariable(field_.type.id) ? held->bytes.data() : held->values.data();
  column.offsets = size_ == 0 ? nullptr : held->offsets.as<int32_t>();
  column.validity = nulls_ > 0 ? held->valid.data() : nullptr;
  column.null_count = nulls_;
  column.owner = std::move(held);
  size_ = 0;
  nulls_ = 0;
  reservation_.Resize(0);
  return column;
}

}  // namespace segue
