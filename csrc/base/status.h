// Status and Result: how every function of the core reports failure.
//
// The core never throws, prints or aborts. A function that can fail returns a
// Status, or a Result<T> when it also has a value; both are [[nodiscard]].
// Python exceptions are made from a Status in bindings/errors.cc only.
//
// A code exists only where a caller would act differently on it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace segue {

enum class StatusCode : uint8_t {
  kOk = 0,
  kInvalid,      // bad argument; nothing was changed               -> ValueError
  kSchema,       // a column is missing or of the wrong type        -> SchemaError(column)
  kIo,           // the operating system refused; `errno_value` set -> OSError
  kCorruption,   // bytes on disk are not what was written          -> CorruptionError(path, offset)
  kClosed,       // the object was closed                           -> ClosedError
  kLocked,       // another process or handle owns the store        -> LockedError
  kReadOnly,     // opened read-only, or fail-stopped after an error-> ReadOnlyError
  kCancelled,    // the caller asked to stop                        -> Cancelled
  kMemory,       // an allocation or a budget does not suffice      -> MemoryError
  kUnsupported,  // valid input that this kernel does not take      -> NotImplementedError
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok, no allocation

  static Status Invalid(std::string message) { return Status(StatusCode::kInvalid, std::move(message)); }
  static Status Schema(std::string column, std::string message) {
    Status s(StatusCode::kSchema, std::move(message));
    s.rep_->context = std::move(column);
    return s;
  }
  static Status Io(std::string path, int errno_value, std::string message) {
    Status s(StatusCode::kIo, std::move(message));
    s.rep_->context = std::move(path);
    s.rep_->number = errno_value;
    return s;
  }
  static Status Corruption(std::string path, int64_t offset, std::string message) {
    Status s(StatusCode::kCorruption, std::move(message));
    s.rep_->context = std::move(path);
    s.rep_->number = offset;
    return s;
  }
  static Status Closed(std::string message) { return Status(StatusCode::kClosed, std::move(message)); }
  static Status Locked(std::string message) { return Status(StatusCode::kLocked, std::move(message)); }
  static Status ReadOnly(std::string message) { return Status(StatusCode::kReadOnly, std::move(message)); }
  static Status Cancelled(std::string message) { return Status(StatusCode::kCancelled, std::move(message)); }
  static Status Memory(std::string message) { return Status(StatusCode::kMemory, std::move(message)); }
  static Status Unsupported(std::string message) { return Status(StatusCode::kUnsupported, std::move(message)); }

  bool ok() const { return rep_ == nullptr; }
  StatusCode code() const { return ok() ? StatusCode::kOk : rep_->code; }
  const std::string& message() const { return ok() ? Empty() : rep_->message; }
  // The path (kIo, kCorruption) or the column (kSchema); else empty.
  const std::string& context() const { return ok() ? Empty() : rep_->context; }
  // errno (kIo) or the byte offset (kCorruption); else 0.
  int64_t number() const { return ok() ? 0 : rep_->number; }

 private:
  struct Rep {
    StatusCode code;
    std::string message;
    std::string context;
    int64_t number = 0;
  };

  Status(StatusCode code, std::string message) : rep_(std::make_shared<Rep>(Rep{code, std::move(message), {}, 0})) {}

  static const std::string& Empty() {
    static const std::string empty;
    return empty;
  }

  std::shared_ptr<Rep> rep_;  // shared: a Status is copied into several waiters of a group commit
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: `status` must not be ok

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  T Take() { return std::move(*value_); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace segue

#define SEGUE_CONCAT_INNER(a, b) a##b
#define SEGUE_CONCAT(a, b) SEGUE_CONCAT_INNER(a, b)

#define SEGUE_RETURN_IF_ERROR(expr)                                                        \
  do {                                                                                     \
    if (::segue::Status segue_status_ = (expr); !segue_status_.ok()) return segue_status_; \
  } while (false)

#define SEGUE_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return tmp.status();               \
  lhs = tmp.Take()
#define SEGUE_ASSIGN_OR_RETURN(lhs, expr) SEGUE_ASSIGN_OR_RETURN_IMPL(SEGUE_CONCAT(segue_result_, __LINE__), lhs, expr)
