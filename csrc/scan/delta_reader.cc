#include "scan/delta_reader.h"

#include <algorithm>

namespace segue::scan {

namespace {

bool TakeVarint(std::string_view* bytes, uint64_t* out) {
  Cursor cursor(*bytes);
  if (!cursor.GetVarint64(out)) return false;
  bytes->remove_prefix(bytes->size() - cursor.remaining());
  return true;
}

bool TakeZigZag(std::string_view* bytes, uint64_t* out) {
  uint64_t value = 0;
  if (!TakeVarint(bytes, &value)) return false;
  *out = static_cast<uint64_t>(UnZigZag(value));
  return true;
}

// Value number `i` of `width` bits (0..64); bits past the end are zero.
uint64_t UnpackWide(std::string_view packed, int width, uint64_t i) {
  if (width == 0) return 0;
  const uint64_t bit = i * static_cast<uint64_t>(width);
  const uint64_t byte = bit / 8;
  uint64_t words[2] = {0, 0};
  if (byte < packed.size()) std::memcpy(words, packed.data() + byte, std::min<size_t>(9, packed.size() - byte));
  const auto shift = static_cast<int>(bit % 8);
  uint64_t value = words[0] >> shift;
  if (shift != 0) value |= words[1] << (64 - shift);
  return width == 64 ? value : value & ((uint64_t{1} << width) - 1);
}

}  // namespace

bool DeltaReader::Reset(std::string_view bytes, int bits) {
  *this = DeltaReader();
  bits_ = bits;
  uint64_t block = 0;
  if (!TakeVarint(&bytes, &block) || !TakeVarint(&bytes, &miniblocks_) || !TakeVarint(&bytes, &count_) ||
      !TakeZigZag(&bytes, &value_)) {
    return false;
  }
  // The format asks for blocks of a multiple of 128 and miniblocks of a multiple of 32.
  if (block == 0 || block > (1 << 24) || block % 128 != 0 || miniblocks_ == 0 || block % miniblocks_ != 0) return false;
  miniblock_values_ = block / miniblocks_;
  if (miniblock_values_ % 32 != 0 || count_ > INT32_MAX) return false;
  value_ = Widen(value_);
  left_ = count_;
  bytes_ = bytes;
  return true;
}

bool DeltaReader::NextBlock() {
  if (!TakeZigZag(&bytes_, &least_) || bytes_.size() < miniblocks_) return false;
  widths_ = bytes_.substr(0, miniblocks_);
  bytes_.remove_prefix(miniblocks_);
  return true;
}

bool DeltaReader::NextMiniblock() {
  if (widths_.empty() && !NextBlock()) return false;
  width_ = static_cast<uint8_t>(widths_.front());
  widths_.remove_prefix(1);
  if (width_ > bits_) return false;
  const uint64_t size = miniblock_values_ / 8 * static_cast<uint64_t>(width_);
  packed_ = bytes_.substr(0, size);  // the last one may be cut short behind its last value
  bytes_.remove_prefix(packed_.size());
  miniblock_left_ = std::min(miniblock_values_, left_);
  if (packed_.size() < (miniblock_left_ * static_cast<uint64_t>(width_) + 7) / 8) return false;
  next_ = 0;
  return true;
}

bool DeltaReader::Read(const ScanKernels& kernels, size_t n, uint64_t* out) {
  if (n > left_) return false;
  if (n > 0 && first_) {
    *out++ = value_;
    --n;
    --left_;
    first_ = false;
  }
  uint32_t deltas[128];
  while (n > 0) {
    if (miniblock_left_ == 0 && !NextMiniblock()) return false;
    const size_t m = static_cast<size_t>(std::min<uint64_t>({n, miniblock_left_, 128}));
    if (width_ <= 32) {
      const auto* data = reinterpret_cast<const uint8_t*>(packed_.data());
      kernels.packed->unpack32(data, data + packed_.size(), width_, next_, m, 0, deltas);
      for (size_t i = 0; i < m; ++i) out[i] = value_ = Widen(value_ + least_ + deltas[i]);
    } else {
      for (size_t i = 0; i < m; ++i) out[i] = value_ = Widen(value_ + least_ + UnpackWide(packed_, width_, next_ + i));
    }
    next_ += m;
    miniblock_left_ -= m;
    left_ -= m;
    out += m;
    n -= m;
  }
  return true;
}

bool DeltaReader::FindEnd(std::string_view* rest) const {
  DeltaReader walk = *this;
  if (walk.left_ > 0) --walk.left_;  // the first value stands in the header
  while (walk.left_ > 0) {
    if (!walk.NextMiniblock()) return false;
    walk.left_ -= walk.miniblock_left_;
  }
  *rest = walk.bytes_;
  return true;
}

}  // namespace segue::scan
