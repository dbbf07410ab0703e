// SPDX-License-Identifier: Apache-2.0
// EXPECT: a key of the dictionary must be encodable
#include <peeper/peeper.hpp>

#if defined(PEEPER_EXPECT_OK)
using key = int;
#else
using key = const int*;
#endif

void mark(key k) { peeper::dictionary().put(k, true); }
