#include "scan/column_reader.h"

#include "base/coding.h"

namespace segue::scan {

namespace {

const uint8_t* Bytes(std::string_view view) { return reinterpret_cast<const uint8_t*>(view.data()); }

}  // namespace

ColumnReader::ColumnReader(const ScanKernels& kernels, ValueDictionary* dictionary, size_t slot)
    : kernels_(kernels),
      dictionary_(dictionary),
      slot_(slot),
      level_buffer_(kMaxRead + kKernelPad),
      packed_buffer_(kMaxRead + kKernelPad),
      number_buffer_(kMaxRead),
      view_buffer_(kMaxRead) {}

Status ColumnReader::Damaged(const std::string& what) const {
  return Status::Corruption(
      path_, page_offset_,
      "damaged Parquet page in " + path_ + " at byte " + std::to_string(page_offset_) + ": " + what);
}

Status ColumnReader::Open(const ColumnChunk& chunk, const std::string& path) {
  const bool bytes = chunk.type == PhysicalType::kByteArray || chunk.type == PhysicalType::kFixedBytes;
  if (bytes != (dictionary_->kind() == KeyKind::kBytes) || dictionary_->kind() == KeyKind::kExternal) {
    return Status::Invalid("a column chunk of " + path + " does not fit the type of its group column");
  }
  if (chunk.type == PhysicalType::kFixedBytes && chunk.fixed_length <= 0) {
    return Status::Invalid("a fixed-length column of " + path + " has length " + std::to_string(chunk.fixed_length));
  }
  chunk_ = chunk;
  path_ = path;
  next_page_ = 0;
  page_offset_ = chunk.offset;
  has_map_ = false;
  map_.clear();
  page_left_ = 0;
  values_ = Values::kNone;
  return {};
}

Status ColumnReader::NextPage() {
  while (page_left_ == 0) {
    page_offset_ = chunk_.offset + static_cast<int64_t>(next_page_);
    if (next_page_ == chunk_.bytes.size()) {
      return Damaged("the column chunk ends before its " + std::to_string(chunk_.num_values) + " values");
    }
    const std::string_view rest = chunk_.bytes.substr(next_page_);
    SEGUE_ASSIGN_OR_RETURN(const PageHeader header, ParsePageHeader(rest, path_, page_offset_));
    const std::string_view body = rest.substr(header.header_size, static_cast<size_t>(header.compressed_size));
    next_page_ += header.header_size + body.size();
    if (header.uncompressed_size > chunk_.uncompressed_size)
      return Damaged("a page claims more bytes than its chunk has");
    switch (header.type) {
      case PageType::kIndex:
        break;
      case PageType::kDictionary:
        SEGUE_RETURN_IF_ERROR(LoadDictionary(header, body));
        break;
      case PageType::kData:
      case PageType::kDataV2:
        SEGUE_RETURN_IF_ERROR(StartPage(header, body));
        break;
    }
  }
  return {};
}

Result<std::string_view> ColumnReader::Inflate(std::string_view body, size_t size) {
  if (chunk_.decompressor == nullptr) {
    if (body.size() != size) return Damaged("its two sizes differ though it is not compressed");
    return body;
  }
  if (size == 0) return std::string_view();
  Result<std::string_view> result = chunk_.decompressor->Decompress(slot_, body, size);
  if (!result.ok()) {
    return result.status().code() == StatusCode::kInvalid ? Damaged(result.status().message()) : result.status();
  }
  if (result->size() != size) return Damaged("it inflates to another size than its header says");
  return result;
}

Status ColumnReader::LoadDictionary(const PageHeader& header, std::string_view body) {
  if (has_map_) return Damaged("a second dictionary page in one column chunk");
  if (header.encoding != Encoding::kPlain && header.encoding != Encoding::kPlainDictionary) {
    return Status::Unsupported("a dictionary page of encoding " + std::to_string(static_cast<int>(header.encoding)) +
                               " in " + path_);
  }
  SEGUE_ASSIGN_OR_RETURN(std::string_view bytes, Inflate(body, static_cast<size_t>(header.uncompressed_size)));
  const auto entries = static_cast<size_t>(header.num_values);
  // Every entry but an empty boolean page takes bytes: checked before anything is allocated.
  const size_t width = NumberWidth(chunk_.type);
  const size_t least = chunk_.type == PhysicalType::kByteArray    ? 4
                       : chunk_.type == PhysicalType::kFixedBytes ? static_cast<size_t>(chunk_.fixed_length)
                                                                  : width;
  if (least == 0) return Damaged("a dictionary of booleans");
  if (entries > bytes.size() / least) return Damaged("the dictionary has fewer bytes than entries");
  if (decoder_.Open(Encoding::kPlain, chunk_.type, static_cast<size_t>(chunk_.fixed_length), bytes) !=
      ValueDecoder::Start::kOk) {
    return Damaged("the dictionary does not start");
  }
  map_.resize(entries);
  for (size_t start = 0; start < entries; start += kMaxRead) {
    SEGUE_RETURN_IF_ERROR(MapNext(std::min(kMaxRead, entries - start), map_.data() + start));
  }
  has_map_ = true;
  return {};
}

Status ColumnReader::StartPage(const PageHeader& header, std::string_view body) {
  const auto size = static_cast<size_t>(header.uncompressed_size);
  std::string_view levels;
  std::string_view values;
  page_levels_ = chunk_.nullable;
  if (header.type == PageType::kDataV2) {
    if (header.repetition_bytes != 0) return Status::Unsupported("a nested column in " + path_);
    const auto level_bytes = static_cast<size_t>(header.definition_bytes);
    levels = body.substr(0, level_bytes);  // the header's parser checked that it fits
    body.remove_prefix(level_bytes);
    if (header.values_compressed) {
      SEGUE_ASSIGN_OR_RETURN(values, Inflate(body, size - level_bytes));
    } else {
      values = body;
    }
  } else {
    SEGUE_ASSIGN_OR_RETURN(values, Inflate(body, size));
    if (page_levels_) {
      if (header.level_encoding != Encoding::kRle) {
        return Status::Unsupported("definition levels of encoding " +
                                   std::to_string(static_cast<int>(header.level_encoding)) + " in " + path_);
      }
      if (values.size() < 4) return Damaged("no room for definition levels");
      const auto level_bytes = LoadAs<uint32_t>(values.data());
      if (level_bytes > values.size() - 4) return Damaged("the definition levels reach past the page");
      levels = values.substr(4, level_bytes);
      values.remove_prefix(4 + static_cast<size_t>(level_bytes));
    }
  }
  levels_.Reset(Bytes(levels), Bytes(levels) + levels.size(), 1);
  SEGUE_RETURN_IF_ERROR(StartValues(header, values));
  page_left_ = static_cast<uint64_t>(header.num_values);
  return {};
}

Status ColumnReader::StartValues(const PageHeader& header, std::string_view values) {
  switch (header.encoding) {
    case Encoding::kPlainDictionary:
    case Encoding::kRleDictionary: {
      if (!has_map_) return Damaged("dictionary codes without a dictionary page");
      values_ = Values::kCodes;
      int width = 0;
      if (!values.empty()) {  // a page of NULLs only may have no values at all
        width = static_cast<uint8_t>(values[0]);
        values.remove_prefix(1);
      }
      if (width > 32) return Damaged("codes of " + std::to_string(width) + " bits");
      codes_.Reset(Bytes(values), Bytes(values) + values.size(), width);
      return {};
    }
    case Encoding::kPlain:
      if (chunk_.type != PhysicalType::kBoolean) break;
      SEGUE_RETURN_IF_ERROR(BooleanMap());
      values_ = Values::kCodes;
      codes_.ResetPacked(Bytes(values), Bytes(values) + values.size(), 1, values.size() * uint64_t{8});
      return {};
    case Encoding::kRle: {
      if (chunk_.type != PhysicalType::kBoolean) break;
      SEGUE_RETURN_IF_ERROR(BooleanMap());
      values_ = Values::kCodes;
      if (values.size() < 4) {
        codes_.Reset(Bytes(values), Bytes(values), 1);
        return values.empty() ? Status() : Damaged("boolean runs without a length");
      }
      const auto size = LoadAs<uint32_t>(values.data());
      if (size > values.size() - 4) return Damaged("the boolean runs reach past the page");
      codes_.Reset(Bytes(values) + 4, Bytes(values) + 4 + size, 1);
      return {};
    }
    default:
      break;
  }
  values_ = Values::kKeys;
  // A page of NULLs only may have no values, not even the header of an encoding.
  if (values.empty()) {
    if (decoder_.Open(Encoding::kPlain, chunk_.type, static_cast<size_t>(chunk_.fixed_length), values) ==
        ValueDecoder::Start::kOk) {
      return {};
    }
  }
  switch (decoder_.Open(header.encoding, chunk_.type, static_cast<size_t>(chunk_.fixed_length), values)) {
    case ValueDecoder::Start::kOk:
      return {};
    case ValueDecoder::Start::kDamaged:
      return Damaged("its values do not start as their encoding asks");
    case ValueDecoder::Start::kUnsupported:
      break;
  }
  return Status::Unsupported("a page of encoding " + std::to_string(static_cast<int>(header.encoding)) + " in " +
                             path_);
}

// Booleans come as codes 0 and 1 of a dictionary that no page spells out.
Status ColumnReader::BooleanMap() {
  if (has_map_) return {};
  static constexpr uint64_t kKeys[2] = {0, 1};
  map_.resize(2);
  SEGUE_RETURN_IF_ERROR(dictionary_->MapNumbers(kKeys, 2, map_.data()));
  has_map_ = true;
  return {};
}

Status ColumnReader::Read(size_t n, uint32_t* out) {
  while (n > 0) {
    if (page_left_ == 0) SEGUE_RETURN_IF_ERROR(NextPage());
    const size_t m = static_cast<size_t>(std::min<uint64_t>({n, page_left_, kMaxRead}));
    SEGUE_RETURN_IF_ERROR(ReadPart(m, out));
    page_left_ -= m;
    out += m;
    n -= m;
  }
  return {};
}

// The NULL id never changes once given: ask the shared dictionary only once.
Status ColumnReader::NeedNullId() {
  if (has_null_id_) return {};
  SEGUE_ASSIGN_OR_RETURN(null_id_, dictionary_->NullId());
  has_null_id_ = true;
  return {};
}

// n rows within one page.
Status ColumnReader::ReadPart(size_t n, uint32_t* out) {
  if (!page_levels_) return ReadValues(n, out);
  uint32_t level = 0;
  if (levels_.ReadRun(n, &level)) {
    if (level > 1) return Damaged("a definition level above 1");
    if (level == 1) return ReadValues(n, out);
    SEGUE_RETURN_IF_ERROR(NeedNullId());
    std::fill_n(out, n, null_id_);
    return {};
  }
  uint32_t* levels = level_buffer_.data();
  if (!levels_.Read(kernels_, n, levels)) return Damaged("the definition levels end too early");
  if (kernels_.packed->max(levels, n) > 1) return Damaged("a definition level above 1");
  size_t present = 0;
  for (size_t i = 0; i < n; ++i) present += levels[i];
  if (present == n) return ReadValues(n, out);
  SEGUE_RETURN_IF_ERROR(NeedNullId());
  SEGUE_RETURN_IF_ERROR(ReadValues(present, packed_buffer_.data()));
  kernels_.expand(levels, packed_buffer_.data(), null_id_, n, out);
  return {};
}

// The ids of the decoder's next n values.
Status ColumnReader::MapNext(size_t n, uint32_t* out) {
  if (NumberWidth(chunk_.type) > 0) {
    if (!decoder_.ReadNumbers(kernels_, n, number_buffer_.data())) return Damaged("the values end too early");
    return dictionary_->MapNumbers(number_buffer_.data(), n, out);
  }
  if (!decoder_.ReadBytes(kernels_, n, view_buffer_.data())) return Damaged("the values end too early");
  return dictionary_->MapBytes(view_buffer_.data(), n, out);
}

// The ids of the page's next n values that are not NULL.
Status ColumnReader::ReadValues(size_t n, uint32_t* out) {
  if (n == 0) return {};
  switch (values_) {
    case Values::kCodes:
      if (!codes_.Read(kernels_, n, out)) return Damaged("the dictionary codes end too early");
      if (kernels_.packed->max(out, n) >= map_.size()) return Damaged("a dictionary code is out of range");
      kernels_.packed->gather(map_.data(), out, n, out);
      return {};
    case Values::kKeys:
      return MapNext(n, out);
    case Values::kNone:
      break;
  }
  return Damaged("values without a data page");
}

}  // namespace segue::scan
