// SPDX-License-Identifier: Apache-2.0
// Never compiled: its target only collects the flags with which a user of peeper::core compiles.
