// Open files of a MemEnv. Internal to env_mem.cc.
//
// Thread safety and ownership: as env.h says; they share the tree of files, and may outlive their Env.
// All three are made with the state's mutex held.
#pragma once

#include <memory>
#include <string>

#include "base/env.h"
#include "base/mem_state.h"

namespace segue {

std::unique_ptr<WritableFile> OpenMemWritable(const std::shared_ptr<MemState>& state, const std::string& path,
                                              const std::shared_ptr<MemFile>& file);
std::unique_ptr<RandomAccessFile> OpenMemRandomAccess(const std::shared_ptr<MemState>& state, const std::string& path,
                                                      const std::shared_ptr<MemFile>& file);
// Of a file with the size that the mapping is to have.
std::unique_ptr<MappedFile> OpenMemMapped(const std::shared_ptr<MemState>& state, const std::string& path,
                                          const std::shared_ptr<MemFile>& file);

}  // namespace segue
