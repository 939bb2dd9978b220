#include "base/schema.h"

#include <charconv>
#include <cstring>
#include <memory>
#include <utility>

namespace segue {

int TypeWidth(TypeId id) {
  switch (id) {
    case TypeId::kBool:
    case TypeId::kInt8:
    case TypeId::kUInt8:
      return 1;
    case TypeId::kInt16:
    case TypeId::kUInt16:
      return 2;
    case TypeId::kInt32:
    case TypeId::kUInt32:
    case TypeId::kFloat32:
    case TypeId::kDate32:
    case TypeId::kDictionary:
      return 4;
    case TypeId::kInt64:
    case TypeId::kUInt64:
    case TypeId::kFloat64:
    case TypeId::kTimestamp:
      return 8;
    case TypeId::kDecimal128:
      return 16;
    case TypeId::kString:
    case TypeId::kBinary:
      return 0;
  }
  return 0;
}

bool IsVariable(TypeId id) { return id == TypeId::kString || id == TypeId::kBinary; }

int64_t UnitsPerSecond(TimeUnit unit) {
  switch (unit) {
    case TimeUnit::kSecond:
      return 1;
    case TimeUnit::kMilli:
      return 1'000;
    case TimeUnit::kMicro:
      return 1'000'000;
    case TimeUnit::kNano:
      return 1'000'000'000;
  }
  return 1;
}

namespace {

const char* UnitName(TimeUnit unit) {
  switch (unit) {
    case TimeUnit::kSecond:
      return "s";
    case TimeUnit::kMilli:
      return "ms";
    case TimeUnit::kMicro:
      return "us";
    case TimeUnit::kNano:
      return "ns";
  }
  return "?";
}

}  // namespace

std::string TypeName(const ColumnType& type) {
  switch (type.id) {
    case TypeId::kBool:
      return "bool";
    case TypeId::kInt8:
      return "int8";
    case TypeId::kInt16:
      return "int16";
    case TypeId::kInt32:
      return "int32";
    case TypeId::kInt64:
      return "int64";
    case TypeId::kUInt8:
      return "uint8";
    case TypeId::kUInt16:
      return "uint16";
    case TypeId::kUInt32:
      return "uint32";
    case TypeId::kUInt64:
      return "uint64";
    case TypeId::kFloat32:
      return "float";
    case TypeId::kFloat64:
      return "double";
    case TypeId::kDecimal128:
      return "decimal128(" + std::to_string(type.precision) + ", " + std::to_string(type.scale) + ")";
    case TypeId::kDate32:
      return "date32";
    case TypeId::kTimestamp: {
      std::string name = std::string("timestamp[") + UnitName(type.unit);
      return type.zone.empty() ? name + "]" : name + ", tz=" + type.zone + "]";
    }
    case TypeId::kString:
      return "string";
    case TypeId::kBinary:
      return "binary";
    case TypeId::kDictionary:
      return "dictionary<int32, string>";
  }
  return "?";
}

int Schema::IndexOf(std::string_view name) const {
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

namespace {

// The types that are not taken, by the beginning of their format strings; longer ones first.
constexpr std::pair<std::string_view, std::string_view> kOtherTypes[] = {
    {"tdm", "date64"},         {"tts", "time32[s]"},
    {"ttm", "time32[ms]"},     {"ttu", "time64[us]"},
    {"ttn", "time64[ns]"},     {"tD", "a duration"},
    {"ti", "an interval"},     {"w:", "fixed-size binary"},
    {"d:", "another decimal"}, {"+l", "a list"},
    {"+L", "a large list"},    {"+w:", "a fixed-size list"},
    {"+vl", "a list view"},    {"+vL", "a large list view"},
    {"+s", "a struct"},        {"+m", "a map"},
    {"+u", "a union"},         {"+r", "run-end encoded"},
    {"e", "float16"},          {"n", "null"},
};

std::string OtherTypeName(std::string_view format) {
  for (const auto& [prefix, name] : kOtherTypes) {
    if (format.substr(0, prefix.size()) == prefix) return std::string(name);
  }
  return "of Arrow type '" + std::string(format) + "'";
}

Result<ColumnType> TypeFromArrow(const std::string& column, const ArrowSchema& arrow) {
  const std::string_view format = arrow.format == nullptr ? "" : arrow.format;
  ColumnType type;
  auto unsupported = [&] {
    return Status::Schema(column, "column '" + column + "' is " + OtherTypeName(format) +
                                      ", which event tables do not take; use booleans, integers, float32/64, "
                                      "decimal128, date32, timestamps, strings, binary or dictionaries of strings");
  };
  if (arrow.dictionary != nullptr) {
    const std::string_view value = arrow.dictionary->format;
    if (value != "u" && value != "U" && value != "vu") {
      return Status::Schema(column, "column '" + column + "' is a dictionary of Arrow type '" + std::string(value) +
                                        "'; only dictionaries of strings are taken");
    }
    type.id = TypeId::kDictionary;
    return type;
  }
  if (format.size() == 1) {
    switch (format[0]) {
      case 'b':
        type.id = TypeId::kBool;
        return type;
      case 'c':
        type.id = TypeId::kInt8;
        return type;
      case 'C':
        type.id = TypeId::kUInt8;
        return type;
      case 's':
        type.id = TypeId::kInt16;
        return type;
      case 'S':
        type.id = TypeId::kUInt16;
        return type;
      case 'i':
        type.id = TypeId::kInt32;
        return type;
      case 'I':
        type.id = TypeId::kUInt32;
        return type;
      case 'l':
        type.id = TypeId::kInt64;
        return type;
      case 'L':
        type.id = TypeId::kUInt64;
        return type;
      case 'f':
        type.id = TypeId::kFloat32;
        return type;
      case 'g':
        type.id = TypeId::kFloat64;
        return type;
      case 'u':
      case 'U':
        type.id = TypeId::kString;
        return type;
      case 'z':
      case 'Z':
        type.id = TypeId::kBinary;
        return type;
      default:
        return unsupported();
    }
  }
  if (format == "vu") {
    type.id = TypeId::kString;
    return type;
  }
  if (format == "vz") {
    type.id = TypeId::kBinary;
    return type;
  }
  if (format == "tdD") {
    type.id = TypeId::kDate32;
    return type;
  }
  if (format.size() >= 4 && format.substr(0, 2) == "ts" && format[3] == ':') {
    type.id = TypeId::kTimestamp;
    switch (format[2]) {
      case 's':
        type.unit = TimeUnit::kSecond;
        break;
      case 'm':
        type.unit = TimeUnit::kMilli;
        break;
      case 'u':
        type.unit = TimeUnit::kMicro;
        break;
      case 'n':
        type.unit = TimeUnit::kNano;
        break;
      default:
        return unsupported();
    }
    type.zone = std::string(format.substr(4));
    return type;
  }
  if (format.substr(0, 2) == "d:") {
    const char* p = format.data() + 2;
    const char* end = format.data() + format.size();
    auto [after, error] = std::from_chars(p, end, type.precision);
    if (error != std::errc() || after == end || *after != ',') return unsupported();
    auto [last, error2] = std::from_chars(after + 1, end, type.scale);
    if (error2 != std::errc()) return unsupported();
    if (last != end && std::string_view(last, static_cast<size_t>(end - last)) != ",128") return unsupported();
    type.id = TypeId::kDecimal128;
    return type;
  }
  return unsupported();
}

std::string FormatOf(const ColumnType& type) {
  switch (type.id) {
    case TypeId::kBool:
      return "b";
    case TypeId::kInt8:
      return "c";
    case TypeId::kUInt8:
      return "C";
    case TypeId::kInt16:
      return "s";
    case TypeId::kUInt16:
      return "S";
    case TypeId::kInt32:
    case TypeId::kDictionary:
      return "i";
    case TypeId::kUInt32:
      return "I";
    case TypeId::kInt64:
      return "l";
    case TypeId::kUInt64:
      return "L";
    case TypeId::kFloat32:
      return "f";
    case TypeId::kFloat64:
      return "g";
    case TypeId::kDecimal128:
      return "d:" + std::to_string(type.precision) + "," + std::to_string(type.scale);
    case TypeId::kDate32:
      return "tdD";
    case TypeId::kTimestamp: {
      static constexpr char kUnits[] = {'s', 'm', 'u', 'n'};
      return std::string("ts") + kUnits[static_cast<int>(type.unit)] + ":" + type.zone;
    }
    case TypeId::kString:
      return "u";
    case TypeId::kBinary:
      return "z";
  }
  return "";
}

// Owns the strings and children of one exported ArrowSchema.
struct SchemaHolder {
  std::string format;
  std::string name;
  std::vector<std::unique_ptr<ArrowSchema>> children;
  std::vector<ArrowSchema*> child_pointers;
  std::unique_ptr<ArrowSchema> dictionary;
};

void ReleaseSchema(ArrowSchema* schema) {
  auto* holder = static_cast<SchemaHolder*>(schema->private_data);
  for (auto& child : holder->children) {
    if (child->release != nullptr) child->release(child.get());
  }
  if (holder->dictionary && holder->dictionary->release != nullptr) {
    holder->dictionary->release(holder->dictionary.get());
  }
  delete holder;
  schema->release = nullptr;
}

void FillSchema(std::string format, std::string name, bool nullable, std::unique_ptr<SchemaHolder> holder,
                ArrowSchema* out) {
  holder->format = std::move(format);
  holder->name = std::move(name);
  for (auto& child : holder->children) holder->child_pointers.push_back(child.get());
  *out = ArrowSchema{};
  out->format = holder->format.c_str();
  out->name = holder->name.c_str();
  out->flags = nullable ? ARROW_FLAG_NULLABLE : 0;
  out->n_children = static_cast<int64_t>(holder->children.size());
  out->children = holder->child_pointers.data();
  out->dictionary = holder->dictionary.get();
  out->release = &ReleaseSchema;
  out->private_data = holder.release();
}

}  // namespace

Result<Schema> SchemaFromArrow(const ArrowSchema& arrow, bool take_null) {
  if (arrow.format == nullptr || std::strcmp(arrow.format, "+s") != 0) {
    return Status::Invalid("expected a table (an Arrow struct type), got Arrow type '" +
                           std::string(arrow.format == nullptr ? "" : arrow.format) + "'");
  }
  Schema schema;
  schema.fields.reserve(static_cast<size_t>(arrow.n_children));
  for (int64_t i = 0; i < arrow.n_children; ++i) {
    const ArrowSchema& child = *arrow.children[i];
    Field field;
    field.name = child.name == nullptr ? "" : child.name;
    field.nullable = (child.flags & ARROW_FLAG_NULLABLE) != 0;
    field.all_null = take_null && child.format != nullptr && std::strcmp(child.format, "n") == 0;
    if (!field.all_null) {
      SEGUE_ASSIGN_OR_RETURN(field.type, TypeFromArrow(field.name, child));
    }
    schema.fields.push_back(std::move(field));
  }
  return schema;
}

void SchemaToArrow(const Schema& schema, ArrowSchema* out) {
  auto root = std::make_unique<SchemaHolder>();
  for (const Field& field : schema.fields) {
    auto child = std::make_unique<ArrowSchema>();
    auto holder = std::make_unique<SchemaHolder>();
    if (field.type.id == TypeId::kDictionary) {
      holder->dictionary = std::make_unique<ArrowSchema>();
      FillSchema("u", "", true, std::make_unique<SchemaHolder>(), holder->dictionary.get());
    }
    FillSchema(FormatOf(field.type), field.name, field.nullable, std::move(holder), child.get());
    root->children.push_back(std::move(child));
  }
  FillSchema("+s", "", false, std::move(root), out);
}

}  // namespace segue
