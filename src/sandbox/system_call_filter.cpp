// SPDX-License-Identifier: Apache-2.0
#include "sandbox/system_call_filter.hpp"

#include <cstdlib>
#include <memory>

#include <seccomp.h>

namespace peeper::sandbox {

std::string system_call_name(int number) {
  const std::unique_ptr<char, decltype(&std::free)> name{
      ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number), &std::free};
  return name != nullptr ? name.get() : std::to_string(number);
}

}  // namespace peeper::sandbox
