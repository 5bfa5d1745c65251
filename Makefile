# SPDX-License-Identifier: MIT
#
#   make                    build build/vnic and the library
#   make run                see it work: a virtual NIC in a private namespace, its host pinged and asked
#   make test               run every test
#   make test-sanitizers    run the tests under ASan + UBSan, and the threaded ones under TSan
#   make fuzz               run each fuzz target for FUZZ_SECONDS
#   make bench              measure, beside other programs: BENCH="tcp pure" BENCH_REPEATS=5 BENCH_SECONDS=1
#   make install            into PREFIX, below DESTDIR
#   make format lint clean
#
# Each of them first calls scripts/setup, which installs what is missing and else says nothing.

PREFIX = /usr/local
DESTDIR =
BUILD = build
FUZZ_SECONDS = 60
FUZZ_TARGETS =
BENCH =
BENCH_REPEATS = 5
BENCH_SECONDS = 1
MESON_FLAGS =

SOURCES = $(wildcard include/vnic/*.h src/*/*.[ch] tool/*.[ch] examples/*.c tests/*/*.[ch] bench/*.[ch])

all:
	@scripts/setup build
	@$(call build,"$(BUILD)",$(MESON_FLAGS))

# $(call build,directory,options,targets): configure once; ninja then follows every change by itself.
build = { test -f $(1)/build.ninja || meson setup $(1) $(2); } && ninja -C $(1) $(3)

DEMO = $(BUILD)/vnic host 10.0.0.1/24 fd00::1/64 --private -- \
	sh -c 'ping -c 3 10.0.0.2 && ping -c 2 fd00::2 && echo && curl -sS http://10.0.0.2/'

run:
	@scripts/setup run
	@$(call build,"$(BUILD)",$(MESON_FLAGS),vnic)
	$(DEMO)

test:
	@scripts/setup test
	@$(call build,"$(BUILD)",$(MESON_FLAGS))
	@tests/run --build "$(BUILD)"

test-sanitizers:
	@scripts/setup test
	@$(call build,build-asan,--werror -Db_sanitize=address$(comma)undefined -Db_lundef=false)
	@$(call build,build-tsan,--werror -Db_sanitize=thread -Db_lundef=false)
	@status=0; \
	tests/run --build build-asan || status=1; \
	tests/run --build build-tsan || status=1; \
	exit $$status

fuzz:
	@scripts/setup fuzz
	@CC=clang; export CC; $(call build,build-fuzz,-Dfuzz=true -Db_lundef=false)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz build-fuzz $(FUZZ_TARGETS)

# Results go to docs/benchmarks. bench/run --list says what BENCH may name.
bench:
	@scripts/setup bench
	@$(call build,"$(BUILD)",$(MESON_FLAGS),vnic bench)
	@bench/run --build "$(BUILD)" --repeats $(BENCH_REPEATS) --seconds $(BENCH_SECONDS) $(BENCH)

install: all
	@meson configure "$(BUILD)" -Dprefix="$(PREFIX)"
	@DESTDIR="$(DESTDIR)" meson install -C "$(BUILD)"

format:
	@scripts/setup lint
	clang-format -i $(SOURCES)

# The checks themselves, and those that are off with their reasons, are in .clang-tidy.
lint:
	@scripts/setup lint
	@$(call build,"$(BUILD)",$(MESON_FLAGS))
	clang-format --dry-run -Werror $(SOURCES)
	clang-tidy --quiet -p "$(BUILD)" $(filter %.c,$(SOURCES))

clean:
	rm -rf build build-asan build-tsan build-fuzz

comma = ,

.PHONY: all run test test-sanitizers fuzz bench install format lint clean
