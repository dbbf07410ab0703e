// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: a ring in whose memory somebody writes what he likes, forged frames with right
// checksums included; its readers go on or say what is wrong, and read nothing beside it. Run it
// with
//   ring_fuzz -max_total_time=60 -max_len=1000 <corpus directory>
#include <cstdint>
#include <cstdlib>

#include "sandbox/ring_scribble.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  peeper::sandbox::test::scribbled_ring ring{{data, size}};
  if (!ring.run()) std::abort();
  return 0;
}
