// SPDX-License-Identifier: Apache-2.0
/// \file
/// `server_end`: asks a server to end, gives it its time, then kills it. For whoever started it.
///
///     server_end end{server, 5s};                 // asked; several can be on their way
///     if (!end.wait()) server->abandon();         // killed, and its callback does not return
///
/// THREADS: any, but not the server's own.
#pragma once

#include <peeper/detail/branch.hpp>
#include <peeper/detail/system_call.hpp>

namespace peeper::detail {

class server_end {
 public:
  /// `limit`: how long it may take; brutal_kill: it is not asked.
  server_end(const process_ptr<branch>& server, duration limit);
  [[nodiscard]] bool done() const noexcept { return !ended_ && server_->gone(); }
  /// RETURNS: false if it has been killed and its callback has not returned, or at `give_up`.
  [[nodiscard]] bool wait(time_point give_up = time_point::max()) noexcept;

 private:
  /// Its end has begun: nothing in it waits for anybody.
  [[nodiscard]] bool wait_until_gone(time_point give_up) const noexcept;

  process_ptr<branch> server_;
  time_point asked_until_;
  request_ptr<request> ended_;  ///< null: it has, or is about to
};

}  // namespace peeper::detail
