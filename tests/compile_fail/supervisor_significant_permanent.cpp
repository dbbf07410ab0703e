// EXPECT: a_permanent_child_never_ends_by_itself_so_it_cannot_be_significant
// SPDX-License-Identifier: Apache-2.0
#include <peeper/peeper.hpp>

struct counter {
  using state = int;
};

#ifdef PEEPER_EXPECT_OK
const peeper::child made = peeper::child_spec<counter>(
    {.id = "a", .restart = peeper::significant(peeper::restart::transient)});
#else
const peeper::child made = peeper::child_spec<counter>(
    {.id = "a", .restart = peeper::significant(peeper::restart::permanent)});
#endif
