#include "scan/value_decoder.h"

#include "base/coding.h"
#include "scan/float_key.h"

namespace segue::scan {

namespace {

// Strings of one read of DELTA_BYTE_ARRAY: a damaged page could repeat a long
// prefix for ever.
constexpr size_t kMaxJoinedBytes = 256 << 20;

template <typename T, typename Key>
void LoadKeys(const char* p, size_t n, uint64_t* out, Key key) {
  for (size_t i = 0; i < n; ++i) out[i] = key(LoadAs<T>(p + i * sizeof(T)));
}

}  // namespace

size_t NumberWidth(PhysicalType type) {
  switch (type) {
    case PhysicalType::kInt32:
    case PhysicalType::kUInt32:
    case PhysicalType::kFloat:
      return 4;
    case PhysicalType::kInt64:
    case PhysicalType::kDouble:
      return 8;
    default:
      return 0;
  }
}

ValueDecoder::Start ValueDecoder::Open(Encoding encoding, PhysicalType type, size_t fixed_length,
                                       std::string_view bytes) {
  encoding_ = encoding;
  type_ = type;
  fixed_length_ = fixed_length;
  bytes_ = bytes;
  const bool integer = type == PhysicalType::kInt32 || type == PhysicalType::kUInt32 || type == PhysicalType::kInt64;
  const auto checked = [](bool ok) { return ok ? Start::kOk : Start::kDamaged; };
  switch (encoding) {
    case Encoding::kPlain:
      return Start::kOk;
    case Encoding::kDeltaBinaryPacked:
      if (!integer) return Start::kUnsupported;
      return checked(deltas_.Reset(bytes, NumberWidth(type) == 4 ? 32 : 64));
    case Encoding::kDeltaLengthByteArray:
      if (type != PhysicalType::kByteArray) return Start::kUnsupported;
      return checked(deltas_.Reset(bytes, 32) && deltas_.FindEnd(&bytes_));
    case Encoding::kDeltaByteArray:
      if (type != PhysicalType::kByteArray && type != PhysicalType::kFixedBytes) return Start::kUnsupported;
      previous_.clear();
      return checked(prefixes_.Reset(bytes, 32) && prefixes_.FindEnd(&bytes_) && deltas_.Reset(bytes_, 32) &&
                     deltas_.FindEnd(&bytes_));
    case Encoding::kByteStreamSplit: {
      const size_t width = type == PhysicalType::kFixedBytes ? fixed_length : NumberWidth(type);
      if (width == 0) return Start::kUnsupported;
      split_values_ = bytes.size() / width;
      split_next_ = 0;
      return checked(bytes.size() % width == 0);
    }
    default:
      return Start::kUnsupported;
  }
}

void ValueDecoder::NumbersToKeys(const char* values, size_t n, uint64_t* out) const {
  switch (type_) {
    case PhysicalType::kInt32:
      LoadKeys<int32_t>(values, n, out, [](int32_t v) { return static_cast<uint64_t>(static_cast<int64_t>(v)); });
      break;
    case PhysicalType::kUInt32:
      LoadKeys<uint32_t>(values, n, out, [](uint32_t v) { return static_cast<uint64_t>(v); });
      break;
    case PhysicalType::kFloat:
      LoadKeys<float>(values, n, out, FloatKey);
      break;
    case PhysicalType::kDouble:
      LoadKeys<double>(values, n, out, DoubleKey);
      break;
    default:
      std::memcpy(out, values, n * sizeof(uint64_t));
      break;
  }
}

bool ValueDecoder::ReadNumbers(const ScanKernels& kernels, size_t n, uint64_t* out) {
  const size_t width = NumberWidth(type_);
  if (n == 0) return true;
  if (width == 0) return false;
  if (encoding_ == Encoding::kDeltaBinaryPacked) {
    if (!deltas_.Read(kernels, n, out)) return false;
    if (type_ == PhysicalType::kUInt32) {
      for (size_t i = 0; i < n; ++i) out[i] = static_cast<uint32_t>(out[i]);
    }
    return true;
  }
  if (encoding_ == Encoding::kByteStreamSplit) {
    if (!Join(n, width)) return false;
    NumbersToKeys(joined_.data(), n, out);
    return true;
  }
  if (bytes_.size() / width < n) return false;
  NumbersToKeys(bytes_.data(), n, out);
  bytes_.remove_prefix(n * width);
  return true;
}

bool ValueDecoder::Join(size_t n, size_t width) {
  if (n > split_values_ - split_next_) return false;
  joined_.resize(n * width);
  for (size_t b = 0; b < width; ++b) {
    const char* stream = bytes_.data() + b * split_values_ + split_next_;
    for (size_t i = 0; i < n; ++i) joined_[i * width + b] = stream[i];
  }
  split_next_ += n;
  return true;
}

bool ValueDecoder::TakeSuffix(uint64_t size, std::string_view* out) {
  if (size > bytes_.size()) return false;  // a negative length is a huge one
  *out = bytes_.substr(0, size);
  bytes_.remove_prefix(size);
  return true;
}

bool ValueDecoder::ReadPlainBytes(size_t n, std::string_view* out) {
  if (type_ == PhysicalType::kFixedBytes) {
    if (bytes_.size() / fixed_length_ < n) return false;
    for (size_t i = 0; i < n; ++i) out[i] = bytes_.substr(i * fixed_length_, fixed_length_);
    bytes_.remove_prefix(n * fixed_length_);
    return true;
  }
  for (size_t i = 0; i < n; ++i) {
    if (bytes_.size() < 4) return false;
    const auto size = LoadAs<uint32_t>(bytes_.data());
    bytes_.remove_prefix(4);
    if (!TakeSuffix(size, &out[i])) return false;
  }
  return true;
}

bool ValueDecoder::ReadDeltaBytes(const ScanKernels& kernels, size_t n, std::string_view* out) {
  prefix_lengths_.resize(n);
  if (!prefixes_.Read(kernels, n, prefix_lengths_.data())) return false;
  joined_.clear();
  for (size_t i = 0; i < n; ++i) {
    std::string_view suffix;
    if (prefix_lengths_[i] > previous_.size() || !TakeSuffix(lengths_[i], &suffix)) return false;
    previous_.resize(prefix_lengths_[i]);
    previous_.append(suffix);
    if (type_ == PhysicalType::kFixedBytes && previous_.size() != fixed_length_) return false;
    if (previous_.size() > kMaxJoinedBytes - joined_.size()) return false;
    joined_.append(previous_);
    lengths_[i] = previous_.size();
  }
  size_t start = 0;
  for (size_t i = 0; i < n; ++i) {
    out[i] = std::string_view(joined_).substr(start, lengths_[i]);
    start += lengths_[i];
  }
  return true;
}

bool ValueDecoder::ReadBytes(const ScanKernels& kernels, size_t n, std::string_view* out) {
  if (n == 0) return true;
  switch (encoding_) {
    case Encoding::kDeltaLengthByteArray:
    case Encoding::kDeltaByteArray:
      lengths_.resize(n);
      if (!deltas_.Read(kernels, n, lengths_.data())) return false;
      if (encoding_ == Encoding::kDeltaByteArray) return ReadDeltaBytes(kernels, n, out);
      for (size_t i = 0; i < n; ++i) {
        if (!TakeSuffix(lengths_[i], &out[i])) return false;
      }
      return true;
    case Encoding::kByteStreamSplit:
      if (!Join(n, fixed_length_)) return false;
      for (size_t i = 0; i < n; ++i) out[i] = std::string_view(joined_).substr(i * fixed_length_, fixed_length_);
      return true;
    default:
      return ReadPlainBytes(n, out);
  }
}

}  // namespace segue::scan
