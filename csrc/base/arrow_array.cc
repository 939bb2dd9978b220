#include "base/arrow_array.h"

#include <array>
#include <cerrno>
#include <cstring>

#include "base/coding.h"

namespace segue {

namespace {

// Where the bytes of strings lie that are all empty: they may come without a buffer, and
// memcpy, even of nothing, wants an address.
constexpr uint8_t kNoByte = 0;

}  // namespace

bool ArrayView::StringWithin(int64_t i, std::string_view* out) const {
  int64_t begin = 0;
  int64_t end = 0;
  switch (layout) {
    case StringLayout::kOffsets32: {
      const auto* o = static_cast<const int32_t*>(offsets_) + offset;
      begin = o[i];
      end = o[i + 1];
      break;
    }
    case StringLayout::kOffsets64: {
      const auto* o = static_cast<const int64_t*>(offsets_) + offset;
      begin = o[i];
      end = o[i + 1];
      break;
    }
    case StringLayout::kView: {
      const uint8_t* view = static_cast<const uint8_t*>(offsets_) + 16 * (offset + i);
      const auto size = LoadAs<int32_t>(view);
      if (size < 0) return false;
      if (size <= 12) {
        *out = {reinterpret_cast<const char*>(view + 4), static_cast<size_t>(size)};
        return true;
      }
      const auto buffer = LoadAs<int32_t>(view + 8);
      const auto start = LoadAs<int32_t>(view + 12);
      if (buffer < 0 || buffer >= variadics_ || start < 0 || variadic_sizes_[buffer] - start < size) return false;
      *out = {static_cast<const char*>(variadic_[buffer]) + start, static_cast<size_t>(size)};
      return true;
    }
    case StringLayout::kNone:
      return false;
  }
  if (begin < first_byte_ || end < begin || end > last_byte_) return false;
  *out = {reinterpret_cast<const char*>(bytes_) + begin, static_cast<size_t>(end - begin)};
  return true;
}

Result<ArrayView> MakeView(const Field& field, const ArrowSchema& schema, const ArrowArray& array) {
  ArrayView view;
  view.type = field.type;
  view.length = array.length;
  view.offset = array.offset;
  auto broken = [&](const char* what) {
    return Status::Schema(field.name, "column '" + field.name + "' is not a well-formed Arrow array: " + what);
  };
  if (field.all_null) return view;
  if (array.n_buffers < 2 && array.length > 0) return broken("too few buffers");
  const auto buffer = [&](int64_t i) -> const void* { return i < array.n_buffers ? array.buffers[i] : nullptr; };
  if (array.null_count != 0) view.validity = static_cast<const uint8_t*>(buffer(0));
  if (IsVariable(field.type.id)) {
    const char* format = schema.format;
    view.offsets_ = buffer(1);
    if (format[0] == 'v') {
      view.layout = StringLayout::kView;
      view.variadic_ = array.n_buffers > 2 ? array.buffers + 2 : nullptr;
      // The last buffer holds the sizes of the others.
      view.variadics_ = array.n_buffers > 3 ? array.n_buffers - 3 : 0;
      view.variadic_sizes_ = view.variadics_ > 0 ? static_cast<const int64_t*>(buffer(array.n_buffers - 1)) : nullptr;
    } else {
      view.layout = (format[0] == 'U' || format[0] == 'Z') ? StringLayout::kOffsets64 : StringLayout::kOffsets32;
      view.bytes_ = static_cast<const uint8_t*>(buffer(2));
    }
    if (array.length > 0 && view.offsets_ == nullptr) return broken("no offsets buffer");
    if (array.length > 0 && view.layout == StringLayout::kOffsets32) {
      const auto* offsets = static_cast<const int32_t*>(view.offsets_) + array.offset;
      view.first_byte_ = offsets[0];
      view.last_byte_ = offsets[array.length];
    } else if (array.length > 0 && view.layout == StringLayout::kOffsets64) {
      const auto* offsets = static_cast<const int64_t*>(view.offsets_) + array.offset;
      view.first_byte_ = offsets[0];
      view.last_byte_ = offsets[array.length];
    }
    if (view.bytes_ == nullptr) {
      if (view.last_byte_ > view.first_byte_) return broken("no buffer of bytes");
      view.bytes_ = &kNoByte;
    }
    return view;
  }
  view.values = static_cast<const uint8_t*>(buffer(1));
  if (array.length > 0 && view.values == nullptr) return broken("no values buffer");
  if (field.type.id == TypeId::kBool) return view;
  int width = TypeWidth(field.type.id);
  if (field.type.id == TypeId::kDictionary) {
    switch (schema.format[0]) {
      case 'c':
      case 'C':
        width = 1;
        break;
      case 's':
      case 'S':
        width = 2;
        break;
      case 'i':
      case 'I':
        width = 4;
        break;
      case 'l':
      case 'L':
        width = 8;
        break;
      default:
        return broken("unknown dictionary index type");
    }
    view.index_width = width;
    view.index_signed = schema.format[0] >= 'a';
  }
  if (view.values != nullptr) view.values += array.offset * width;
  if (field.type.id == TypeId::kDictionary) {
    if (array.dictionary == nullptr) return broken("no dictionary");
    Field value_field;
    value_field.name = field.name;
    value_field.type.id = TypeId::kString;
    SEGUE_ASSIGN_OR_RETURN(ArrayView dictionary, MakeView(value_field, *schema.dictionary, *array.dictionary));
    view.dictionary = std::make_shared<const ArrayView>(std::move(dictionary));
    const int64_t entries = view.dictionary->length;
    const bool within = view.WithIndices([&](const auto* indices) {
      for (int64_t i = 0; i < view.length; ++i) {
        if (view.IsNull(i)) continue;
        const auto index = static_cast<int64_t>(indices[i]);
        if (index < 0 || index >= entries) return false;
      }
      return true;
    });
    if (!within) return broken("a dictionary index is out of range");
    if (entries == 0) {  // all are null, and have to stay it
      view.all_null_ = std::make_shared<const std::vector<uint8_t>>((view.offset + view.length + 7) / 8);
      view.validity = view.all_null_->data();
    }
  }
  return view;
}

Result<BatchReader> BatchReader::Make(const Schema& schema, const ArrowSchema& arrow_schema, ArrowArray* array) {
  BatchReader reader;
  reader.array_ = *array;
  array->release = nullptr;
  if (reader.array_.n_children != static_cast<int64_t>(schema.fields.size())) {
    return Status::Invalid("an Arrow batch has " + std::to_string(reader.array_.n_children) + " columns, its schema " +
                           std::to_string(schema.fields.size()));
  }
  if (reader.array_.offset != 0 || reader.array_.null_count > 0) {
    if (reader.array_.null_count > 0) return Status::Invalid("an Arrow batch has null rows at its top level");
  }
  for (size_t i = 0; i < schema.fields.size(); ++i) {
    ArrowArray child = *reader.array_.children[i];  // a shallow copy: the parent's offset applies to it
    child.offset += reader.array_.offset;
    child.length = reader.array_.length;
    SEGUE_ASSIGN_OR_RETURN(ArrayView view, MakeView(schema.fields[i], *arrow_schema.children[i], child));
    reader.columns_.push_back(std::move(view));
  }
  return reader;
}

BatchReader::BatchReader(BatchReader&& other) noexcept : array_(other.array_), columns_(std::move(other.columns_)) {
  other.array_.release = nullptr;
}

BatchReader& BatchReader::operator=(BatchReader&& other) noexcept {
  if (this != &other) {
    if (array_.release != nullptr) array_.release(&array_);
    array_ = other.array_;
    columns_ = std::move(other.columns_);
    other.array_.release = nullptr;
  }
  return *this;
}

BatchReader::~BatchReader() {
  if (array_.release != nullptr) array_.release(&array_);
}

Result<StreamReader> StreamReader::Make(ArrowArrayStream* stream, bool take_null) {
  if (stream == nullptr || stream->release == nullptr) {
    return Status::Invalid("this Arrow stream was already consumed; pass a fresh one");
  }
  StreamReader reader;
  reader.stream_ = *stream;
  stream->release = nullptr;
  const int code = reader.stream_.get_schema(&reader.stream_, &reader.arrow_schema_);
  if (code != 0) {
    const char* error = reader.stream_.get_last_error(&reader.stream_);
    return Status::Invalid(std::string("the Arrow stream has no schema: ") + (error == nullptr ? "" : error));
  }
  SEGUE_ASSIGN_OR_RETURN(reader.schema_, SchemaFromArrow(reader.arrow_schema_, take_null));
  return reader;
}

StreamReader::StreamReader(StreamReader&& other) noexcept
    : stream_(other.stream_), arrow_schema_(other.arrow_schema_), schema_(std::move(other.schema_)) {
  other.stream_.release = nullptr;
  other.arrow_schema_.release = nullptr;
}

StreamReader& StreamReader::operator=(StreamReader&& other) noexcept {
  if (this != &other) {
    Release();
    stream_ = other.stream_;
    arrow_schema_ = other.arrow_schema_;
    schema_ = std::move(other.schema_);
    other.stream_.release = nullptr;
    other.arrow_schema_.release = nullptr;
  }
  return *this;
}

StreamReader::~StreamReader() { Release(); }

void StreamReader::Release() {
  if (arrow_schema_.release != nullptr) arrow_schema_.release(&arrow_schema_);
  if (stream_.release != nullptr) stream_.release(&stream_);
}

Result<std::unique_ptr<BatchReader>> StreamReader::Next() {
  ArrowArray array{};
  const int code = stream_.get_next(&stream_, &array);
  if (code != 0) {
    const char* error = stream_.get_last_error(&stream_);
    std::string why = error == nullptr ? std::strerror(code) : error;
    // pyarrow appends the whole traceback of a generator that raised. Its last line
    // has the name of the exception, which is all there is of one without a text.
    if (const size_t detail = why.find(". Detail: Python exception:"); detail != std::string::npos) {
      std::string traceback = why.substr(detail);
      traceback.erase(traceback.find_last_not_of(" \n") + 1);
      why.resize(detail);
      why.erase(why.find_last_not_of(' ') + 1);
      const size_t name = traceback.find_first_not_of(' ', traceback.find_last_of("\n:") + 1);
      if (why.ends_with(':') && name != std::string::npos) why += ' ' + traceback.substr(name);
    }
    return Status::Invalid("the Arrow stream failed: " + why);
  }
  if (array.release == nullptr) return std::unique_ptr<BatchReader>();
  SEGUE_ASSIGN_OR_RETURN(BatchReader batch, BatchReader::Make(schema_, arrow_schema_, &array));
  return std::make_unique<BatchReader>(std::move(batch));
}

namespace {

struct ArrayHolder {
  std::array<const void*, 3> buffers{};
  int64_t buffer_count = 0;
  std::vector<ArrowArray> children;
  std::vector<ArrowArray*> child_pointers;
  std::unique_ptr<ArrowArray> dictionary;
  std::shared_ptr<const void> owner;
};

void ReleaseArray(ArrowArray* array) {
  auto* holder = static_cast<ArrayHolder*>(array->private_data);
  for (ArrowArray& child : holder->children) {
    if (child.release != nullptr) child.release(&child);
  }
  if (holder->dictionary && holder->dictionary->release != nullptr) {
    holder->dictionary->release(holder->dictionary.get());
  }
  delete holder;
  array->release = nullptr;
}

void FillArray(int64_t length, int64_t null_count, std::unique_ptr<ArrayHolder> holder, ArrowArray* out) {
  holder->child_pointers.reserve(holder->children.size());
  for (ArrowArray& child : holder->children) holder->child_pointers.push_back(&child);
  *out = ArrowArray{};
  out->length = length;
  out->null_count = null_count;
  out->n_buffers = holder->buffer_count;
  out->buffers = holder->buffers.data();
  out->n_children = static_cast<int64_t>(holder->children.size());
  out->children = holder->child_pointers.data();
  out->dictionary = holder->dictionary.get();
  out->release = &ReleaseArray;
  out->private_data = holder.release();
}

void FillColumn(TypeId id, int64_t length, const ExportColumn& column, ArrowArray* out) {
  static constexpr int32_t kZeroOffsets[2] = {0, 0};
  auto holder = std::make_unique<ArrayHolder>();
  holder->owner = column.owner;
  const void* values = column.values == nullptr ? kZeroOffsets : column.values;
  if (IsVariable(id)) {
    holder->buffers = {column.validity, column.offsets == nullptr ? kZeroOffsets : column.offsets, values};
    holder->buffer_count = 3;
  } else {
    holder->buffers = {column.validity, values};
    holder->buffer_count = 2;
  }
  if (id == TypeId::kDictionary) {
    holder->dictionary = std::make_unique<ArrowArray>();
    FillColumn(TypeId::kString, column.dictionary_length, *column.dictionary, holder->dictionary.get());
  }
  FillArray(length, column.validity == nullptr ? 0 : column.null_count, std::move(holder), out);
}

struct StreamHolder {
  Schema schema;
  NextBatch next;
  std::string error;
};

int StreamGetSchema(ArrowArrayStream* stream, ArrowSchema* out) {
  SchemaToArrow(static_cast<StreamHolder*>(stream->private_data)->schema, out);
  return 0;
}

int StreamGetNext(ArrowArrayStream* stream, ArrowArray* out) {
  auto* holder = static_cast<StreamHolder*>(stream->private_data);
  out->release = nullptr;
  Result<bool> more = holder->next(out);
  if (!more.ok()) {
    holder->error = more.status().message();
    return more.status().code() == StatusCode::kInvalid ? EINVAL : EIO;
  }
  return 0;
}

const char* StreamGetLastError(ArrowArrayStream* stream) {
  return static_cast<StreamHolder*>(stream->private_data)->error.c_str();
}

void ReleaseStream(ArrowArrayStream* stream) {
  delete static_cast<StreamHolder*>(stream->private_data);
  stream->release = nullptr;
}

}  // namespace

void ExportBatch(const Schema& schema, int64_t rows, std::vector<ExportColumn> columns, ArrowArray* out) {
  auto root = std::make_unique<ArrayHolder>();
  root->buffer_count = 1;  // of its validity, which it has not
  root->children.resize(columns.size());
  for (size_t i = 0; i < columns.size(); ++i) {
    FillColumn(schema.fields[i].type.id, rows, columns[i], &root->children[i]);
  }
  FillArray(rows, 0, std::move(root), out);
}

void ExportStream(const Schema& schema, NextBatch next, ArrowArrayStream* out) {
  *out = ArrowArrayStream{};
  out->get_schema = &StreamGetSchema;
  out->get_next = &StreamGetNext;
  out->get_last_error = &StreamGetLastError;
  out->release = &ReleaseStream;
  out->private_data = new StreamHolder{schema, std::move(next), {}};
}

}  // namespace segue
