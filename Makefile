# SPDX-License-Identifier: Apache-2.0
# What people type. The work is done by scripts/ and meson; each target installs what it needs (as root, on Debian).

PREFIX ?= /usr/local

.PHONY: help run build test test-unit test-e2e test-kvm bench fuzz soak lint format install clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

run: ## boot a microVM and run a command in it (CMD="...", ENGINE=auto|kvm|qemu)
	@scripts/run

build: ## out/release/cli/msb
	@scripts/deps build
	@scripts/build release

test: ## every test that this machine can run (what CI runs)
	@scripts/run-tests

test-unit: ## unit and device tests under the address and undefined sanitizers
	@scripts/run-tests asan

test-e2e: ## end to end, qemu engine
	@scripts/run-tests e2e-qemu

test-kvm: ## end to end, kvm engine, inside an emulated machine that has KVM
	@scripts/run-tests e2e-kvm

bench: ## boot times and memory, both engines (UPSTREAM_MSB=binary to compare with)
	@scripts/deps build lab
	@scripts/build release
	@scripts/bench

fuzz: ## every fuzz target for FUZZ_SECONDS (default 10) each
	@scripts/run-tests fuzz

soak: ## boot many times in a row (ENGINE, BOOTS, CPUS, MEMORY)
	@scripts/build release
	@tests/soak/boots

lint: ## layout, clang-tidy, shellcheck
	@scripts/run-tests lint

format: ## lay out every C file
	@git ls-files '*.c' '*.h' | xargs clang-format -i

install: ## below PREFIX (/usr/local) and DESTDIR, with the kernel library
	@scripts/deps build
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install

clean: ## remove what was built
	@rm -rf out

distclean: clean ## and what was fetched
	@rm -rf .cache
