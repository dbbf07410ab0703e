// SPDX-License-Identifier: Apache-2.0
/// \file
/// A ring of frames in shared memory: one producer, one or two consumers, each in an OS process of
/// its own, each of which may die or go mad at any instruction. docs/ring.md draws it.
///
///     const ring_options options;
///     auto memory = shared_memory::create("peeper:ring", ring_memory::bytes_needed(options));
///     const auto ring = ring_memory::make(memory->bytes(), options);
///     auto out = ring_producer::start(ring, 1);                                    // here
///     auto in = ring_consumer::attach(ring, ring_consumer_id::first, {.generation = 1});  // there
#pragma once

#include "sandbox/ring_consumer.hpp"
#include "sandbox/ring_format.hpp"
#include "sandbox/ring_producer.hpp"
#include "sandbox/shared_memory.hpp"
