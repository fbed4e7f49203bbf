# The front door: each target installs, downloads and builds what it needs by itself, asks nothing, and does nothing twice.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build demo test check fmt bench bench-guest bench-sizes install clean testbed packages tests coverage
.PHONY: bench-micro fuzz fuzz-corpus check-sanitizers kill-guests kill-bench move-guests simulate

BENCH ?=
# Seconds for each fuzzer or for the simulator, and which fuzzers (all when empty): make fuzz SECONDS=600 FUZZER='chains messages'
SECONDS ?= 60
FUZZER ?=
PREFIX ?= /usr/local
DESTDIR ?=
SWIFT ?= swift
# The programs people run: release, with the Swift runtime linked in, so that they run on machines without a toolchain.
PRODUCTS := .build/products
TESTBED := Tests/testbed

help: ## prints these lines
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

build: packages ## builds vhublkd, vhublkctl and vhublk-bench (release) into .build/products/release
	@$(TESTBED)/build.sh

demo: packages ## boots a QEMU guest on a disk served by vhublkd, runs fio with verification, prints the result
	@$(TESTBED)/setup.sh demo
	@$(TESTBED)/build.sh
	@$(TESTBED)/demo.sh

test: ## runs all checks and tests: lint, unit, component, and real guests and clients
	@$(TESTBED)/setup.sh test
	@$(TESTBED)/build.sh
	@$(TESTBED)/check.sh
	@$(TESTBED)/instructions.sh
	@$(TESTBED)/coverage.sh
	@$(TESTBED)/bench.sh
	@SEED=1 RUNS=400000 $(TESTBED)/fuzz.sh 60
	@$(TESTBED)/tests.sh

check: ## checks format, scripts and the rules of the house, without building guests
	@$(TESTBED)/packages.sh test
	@$(TESTBED)/check.sh
	@$(SWIFT) test --filter TidyTests

check-sanitizers: ## runs the unit, component and simulation suites under the address and the thread sanitizer
	@$(TESTBED)/packages.sh test
	@$(TESTBED)/sanitizers.sh

fuzz: packages ## fuzzes chains, messages, inflight regions, control lines and files (SECONDS=60 FUZZER='chains ...')
	@$(TESTBED)/fuzz.sh '$(SECONDS)' $(FUZZER)

fuzz-corpus: packages ## reduces what the fuzzers learned to the small corpora that are checked in
	@$(TESTBED)/fuzz.sh keep $(FUZZER)

fmt: ## formats the Swift sources
	@$(SWIFT) format format --in-place --parallel --recursive Package.swift Sources Tests bench

bench: build ## measures vhublkd beside qemu-storage-daemon and fio (BENCH='null tmpfs --rounds 5', BENCH=--goals, or bench/compare.py --help)
	@$(TESTBED)/setup.sh test
	@$(TESTBED)/packages.sh bench
	@bench/compare.py $(BENCH)

bench-guest: build ## measures disks as a QEMU guest sees them (BENCH=..., or bench/guest.py --help)
	@$(TESTBED)/setup.sh test
	@$(TESTBED)/packages.sh bench
	@bench/guest.py $(BENCH)

bench-sizes: build ## measures start-up, exports made, SET_MEM_TABLE of 64 GiB and resident memory (BENCH='--rounds 5 --strict')
	@$(TESTBED)/setup.sh test
	@bench/sizes.py $(BENCH)

bench-micro: packages ## counts the instructions of single steps of a request (BENCH='split-indirect --json FILE', or bench/micro.py --help)
	@$(TESTBED)/packages.sh test
	@$(SWIFT) build -c release --package-path bench/micro --scratch-path .build/micro
	@bench/micro.py $(BENCH)

kill-guests: ## kills vhublkd under real guests whose rings are full, ROUNDS=50 times for each QEMU
	@$(TESTBED)/setup.sh test
	@$(TESTBED)/build.sh
	@$(TESTBED)/kill.sh GuestKillTests $(or $(ROUNDS),50)

kill-bench: ## kills vhublkd, and its clients, under verified full load, ROUNDS=1000 times for each kind of ring
	@$(TESTBED)/setup.sh test
	@$(TESTBED)/build.sh
	@$(TESTBED)/kill.sh 'ClientKillTests|FrontEndKillTests' $(or $(ROUNDS),1000)

move-guests: ## moves real guests between two QEMUs and two vhublkd while they write, ROUNDS=10 journeys of each kind
	@$(TESTBED)/setup.sh test
	@$(TESTBED)/build.sh
	@$(TESTBED)/kill.sh MigrationTests $(or $(ROUNDS),10)

simulate: packages ## kills the daemon at random stores in simulated histories (SECONDS=60, FIRST=1; SEED=… replays one, RULES=1 breaks each rule)
	@$(TESTBED)/simulate.sh '$(SECONDS)' '$(FIRST)' '$(SEED)' '$(RULES)'

install: build ## installs programs, manual pages, completions and the systemd unit (PREFIX=/usr/local, DESTDIR=)
	@deploy/install.sh '$(PREFIX)' '$(DESTDIR)' $(PRODUCTS)/release

clean: ## removes what was built; downloads stay in the cache (~/.cache/vhublk)
	@rm -rf .build

packages:
	@$(TESTBED)/packages.sh build
