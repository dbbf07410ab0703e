# SPDX-License-Identifier: Apache-2.0
# Short names for the common tasks; each installs the Debian packages it lacks. The build itself is
# CMake's: see CMakePresets.json and CONTRIBUTING.md.
.DEFAULT_GOAL := help
.PHONY: help demo test bench format tidy

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

demo: ## Crash a Redis-protocol server under real clients; ends by itself with a table
	@scripts/install_deps.sh core demo
	cmake --preset release
	cmake --build --preset release --target kv_demo
	build/release/examples/kv/kv_demo

test: ## Build and run all tests and checks, as CI does (STAGES="dev tidy": only those)
	@scripts/test.sh $(STAGES)

bench: ## Measure ours and peers, renew docs/performance.md (BENCH_ARGS=--benchmark_filter=call: part)
	@scripts/install_deps.sh core bench
	cmake --preset release
	cmake --build --preset release --target peeper_bench
	build/release/peeper_bench --json=build/bench.json --markdown=docs/performance.md \
	  --plots=docs/images $(BENCH_ARGS)

format: ## Format all C++ in place
	@scripts/install_deps.sh core test
	scripts/format.sh

tidy: ## Run clang-tidy over the library
	@scripts/install_deps.sh core test
	scripts/tidy.sh
