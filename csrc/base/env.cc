#include "base/env.h"

namespace segue {

std::string JoinPath(std::string_view dir, std::string_view name) {
  std::string path(dir);
  if (!path.empty() && path.back() != '/') path.push_back('/');
  path.append(name);
  return path;
}

std::string DirName(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

void Env::ReleaseTail([[maybe_unused]] const std::string& path, [[maybe_unused]] uint64_t offset) {}

Status Env::RemoveGradually(const std::string& path, [[maybe_unused]] const std::function<bool()>& hurry) {
  return Remove(path);
}

Status Env::WriteFileAtomic(const std::string& path, std::string_view data) {
  const std::string temporary = path + ".tmp";
  SEGUE_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, NewWritableFile(temporary));
  SEGUE_RETURN_IF_ERROR(file->Append(data));
  SEGUE_RETURN_IF_ERROR(file->Sync());
  SEGUE_RETURN_IF_ERROR(file->Close());
  SEGUE_RETURN_IF_ERROR(Rename(temporary, path));
  return SyncDir(DirName(path));
}

}  // namespace segue
