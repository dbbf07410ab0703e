// SPDX-License-Identifier: Apache-2.0
//
// What takes long to compile of the tests in this folder, once.
#include "test_world.hpp"

namespace peeper::test {

void change_world(kept_world& w, dice& d) { change_world<kept_kind>(w, d); }
void change_shape(shape<kept_kind>& s, dice& d) { change_shape<kept_kind>(s, d); }
void change_item(item<kept_kind>& i, dice& d) { change_item<kept_kind>(i, d); }
std::string dump(const kept_world& w, bool exact) { return dump<kept_world>(w, exact); }
std::vector<std::byte> encode_world(const kept_world& w) { return encode(w); }
std::expected<kept_world, decode_error> decode_world(std::span<const std::byte> bytes) {
  return decode<kept_world>(bytes);
}

world_state::world_state() : world_state(kept_world{}) {}
world_state::world_state(const kept_world& initial)
    : state_(std::make_unique<detail::kept_state<kept_world>>(initial)) {}
world_state::~world_state() = default;

kept_world& world_state::value() { return state_->value(); }
void world_state::begin() { state_->begin(); }
void world_state::prepare() { state_->prepare(); }
bool world_state::commit() { return state_->commit(); }
void world_state::rollback() { state_->rollback(); }
void world_state::record_deltas(bool on) { state_->record_deltas(on); }
std::span<const std::byte> world_state::last_delta() const { return state_->last_delta(); }

bool world_state::try_delta(std::span<const std::byte> delta) {
  state_->begin();
  cbor_reader in{delta};
  const bool applied = detail::apply_operations(in, state_->value());
  if (applied) state_->prepare();
  state_->rollback();
  return applied;
}

std::expected<void, decode_error> apply_delta(world_state& state,
                                              std::span<const std::byte> delta) {
  return peeper::apply_delta(*state.state_, delta);
}

}  // namespace peeper::test
