// SPDX-License-Identifier: Apache-2.0
//
// Kept containers: standard containers for the state of a server, with an undo log.
//
// A state made of them rolls back after a crash at the cost of what the crashed callback changed,
// however large it is. They nest: pushing to a kept_deque that is a value in a kept_map costs the
// push. Outside of a state they are ordinary containers.
//
// THREADS: as std containers; in a state, by that server's callback only.
// CRASH: (an exception in the callback) a state is as of its last commit.
//
//   struct bank {
//     int transfers = 0;
//     peeper::kept_map<std::string, long> accounts;
//   };
//   void handle_cast(transfer t, bank& b) {
//     b.accounts[t.from] -= t.amount;
//     b.accounts[t.to] += t.amount;            // if this throws, nothing has happened
//     ++b.transfers;
//   }
#pragma once

#include <peeper/kept/keepable.hpp>
#include <peeper/kept/map.hpp>
#include <peeper/kept/sequence.hpp>
#include <peeper/kept/set.hpp>
#include <peeper/kept/state.hpp>
#include <peeper/kept/value.hpp>
