#include "events/store_schema.h"

#include <set>
#include <string_view>

#include "base/coding.h"
#include "base/utf8.h"

namespace segue {

Result<StoreSchema> StoreSchema::Make(Schema schema, const std::vector<std::string>& key, const std::string& time) {
  StoreSchema store;
  std::set<std::string> names;
  if (schema.fields.empty()) return Status::Schema("", "an event table needs at least a key and a time column");
  for (const Field& field : schema.fields) {
    if (field.name.empty()) return Status::Schema("", "a column has no name");
    if (!names.insert(field.name).second) {
      return Status::Schema(field.name, "two columns are named '" + field.name + "'");
    }
    if (field.type.id == TypeId::kDecimal128 && (field.type.precision < 1 || field.type.precision > 38)) {
      return Status::Schema(field.name, "column '" + field.name + "' has decimal precision " +
                                            std::to_string(field.type.precision) + "; use 1 to 38");
    }
    StoreColumn column;
    column.field = field;
    column.width = TypeWidth(field.type.id);
    column.coded = field.type.id == TypeId::kDictionary;
    store.columns.push_back(std::move(column));
  }
  if (key.empty()) return Status::Invalid("key names no column; give a column name or a list of them");
  std::set<std::string> key_names;
  for (const std::string& name : key) {
    const int index = schema.IndexOf(name);
    if (index < 0) return Status::Schema(name, "key column '" + name + "' is not in the schema");
    if (!key_names.insert(name).second) return Status::Schema(name, "key column '" + name + "' is named twice");
    StoreColumn& column = store.columns[static_cast<size_t>(index)];
    column.is_key = true;
    if (column.coded) {
      column.coded = false;
      column.width = 0;
    }
    store.key.push_back(index);
  }
  store.time = schema.IndexOf(time);
  if (store.time < 0) return Status::Schema(time, "time column '" + time + "' is not in the schema");
  const ColumnType& time_type = schema.fields[static_cast<size_t>(store.time)].type;
  if (time_type.id != TypeId::kTimestamp) {
    return Status::Schema(time, "time column '" + time + "' is " + TypeName(time_type) + "; it must be a timestamp");
  }
  store.schema = std::move(schema);
  return store;
}

std::string StoreSchema::Serialize() const {
  std::string out;
  PutVarint64(&out, columns.size());
  for (const StoreColumn& column : columns) {
    const ColumnType& type = column.field.type;
    PutLengthPrefixed(&out, column.field.name);
    out.push_back(static_cast<char>(type.id));
    out.push_back(static_cast<char>(type.unit));
    out.push_back(column.field.nullable ? 1 : 0);
    PutLengthPrefixed(&out, type.zone);
    PutVarint64(&out, ZigZag(type.precision));
    PutVarint64(&out, ZigZag(type.scale));
  }
  PutVarint64(&out, key.size());
  for (const int index : key) PutVarint64(&out, static_cast<uint64_t>(index));
  PutVarint64(&out, static_cast<uint64_t>(time));
  return out;
}

Result<StoreSchema> StoreSchema::Parse(std::string_view bytes) {
  const Status bad = Status::Invalid("a serialized schema is damaged");
  Cursor in(bytes);
  uint64_t n = 0;
  if (!in.GetVarint64(&n) || n > bytes.size()) return bad;
  Schema schema;
  for (uint64_t i = 0; i < n; ++i) {
    Field field;
    std::string_view name;
    std::string_view zone;
    uint8_t id = 0;
    uint8_t unit = 0;
    uint8_t nullable = 0;
    uint64_t precision = 0;
    uint64_t scale = 0;
    if (!in.GetLengthPrefixed(&name) || !in.GetFixed(&id) || !in.GetFixed(&unit) || !in.GetFixed(&nullable) ||
        !in.GetLengthPrefixed(&zone) || !in.GetVarint64(&precision) || !in.GetVarint64(&scale)) {
      return bad;
    }
    if (id < 1 || id > static_cast<uint8_t>(TypeId::kDictionary) || unit > 3) return bad;
    if (!IsUtf8(name) || !IsUtf8(zone)) return bad;
    field.name = std::string(name);
    field.type.id = static_cast<TypeId>(id);
    field.type.unit = static_cast<TimeUnit>(unit);
    field.type.zone = std::string(zone);
    field.type.precision = static_cast<int32_t>(UnZigZag(precision));
    field.type.scale = static_cast<int32_t>(UnZigZag(scale));
    field.nullable = nullable != 0;
    schema.fields.push_back(std::move(field));
  }
  uint64_t keys = 0;
  if (!in.GetVarint64(&keys) || keys > n) return bad;
  std::vector<std::string> key;
  for (uint64_t i = 0; i < keys; ++i) {
    uint64_t index = 0;
    if (!in.GetVarint64(&index) || index >= n) return bad;
    key.push_back(schema.fields[index].name);
  }
  uint64_t time = 0;
  if (!in.GetVarint64(&time) || time >= n) return bad;
  const std::string time_name = schema.fields[time].name;
  return Make(std::move(schema), key, time_name);
}

}  // namespace segue
