// SPDX-License-Identifier: Apache-2.0
/// \file
/// What an OS process does at its own crash: writes down why and where, tells its watchers, and
/// dies of it after all, so that core dumps stay possible.
///
///     report_crashes(block, life);   // in worker or follower, first thing
///
/// SIGNAL: the handler runs on a stack of its own and calls only what is async-signal-safe. The
/// stack is walked by _Unwind_Backtrace() of libgcc itself: no backtrace(), which would load it
/// first, and no boost::stacktrace, which calls the same function. Since GCC 12 and glibc 2.35 it
/// finds unwind tables by _dl_find_object(), which takes no lock and no memory; what it does once
/// only is done when the handler is installed. A stack in ruins can make it crash: by then all but
/// the frames is written down and told.
/// Not seen: stack overflows of threads other than the caller's, since each thread would need a
/// stack for its handler. The death itself is noticed as any other.
#pragma once

#include "sandbox/crash_block.hpp"
#include "sandbox/death_watch.hpp"

namespace peeper::sandbox {

/// From here on this OS process's SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS,
/// SIGXCPU and std::terminate() are written into `block` and told by `life.say_dying()`. A follower
/// calls it again with its own: until then it reports nothing. Both must outlive the OS process.
/// REQUIRES: the main thread.
void report_crashes(crash_block& block, life_line& life);

/// Ends this OS process: there is no memory left.
[[noreturn]] void end_out_of_memory() noexcept;

}  // namespace peeper::sandbox
