# The front door: each target says what it does, gets what it needs (scripts/deps.sh), and leaves the rest to CMake.
#
#   make                  the program, at build/cellar
#   make demo             searches on real images, then writes the report
#   make check            builds with sanitizers and runs every test
#   make help             all targets

BUILD := build
DEV := build-dev
PREFIX ?= /usr/local
DESTDIR ?=
RUN ?= runs/demo
FUZZ_SECONDS ?= 20
# Tests are timed for one build at a time; JOBS= limits how many run side by side.
JOBS ?= $(shell nproc)
say = @printf '== %s\n'

.PHONY: all help deps configure check demo compare-demo golden bench kill-test tsan valgrind fuzz install style clean
.DEFAULT_GOAL := all
.NOTPARALLEL:

all: configure ## build the program (build/cellar) and the libraries
	$(say) "release build"
	@cmake --build $(BUILD) --target cellar cellar_shared benchmark_table man
	$(say) "the program is $(BUILD)/cellar"

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | sort | expand -t 18

deps:
	@scripts/deps.sh build

configure: deps
	@cmake --preset release >/dev/null

check: deps ## build with ASan, UBSan and -Werror, run every test
	$(say) "sanitizer build, in $(DEV)"
	@cmake --preset dev >/dev/null
	@cmake --build $(DEV)
	$(say) "tests"
	@ctest --test-dir $(DEV) --output-on-failure -j $(JOBS)

demo: all ## search NAS-Bench-201 on real CIFAR-10 images, then write the report
	$(say) "DrNAS searches NAS-Bench-201 on cifar10-mini; $(RUN) starts afresh"
	@rm -rf $(RUN)
	@$(BUILD)/cellar search recipes/demo.yaml --run $(RUN)
	@$(BUILD)/cellar report $(RUN)
	$(say) "the report: $(CURDIR)/$(RUN)/report.html"

compare-demo: all ## every method against every other, tiny; ends in a page
	$(say) "every method on a tiny supernet, two searches side by side; runs/compare-demo starts afresh"
	@rm -rf runs/compare-demo
	@$(BUILD)/cellar compare compare-demo --run runs/compare-demo --jobs 2
	$(say) "the page: $(CURDIR)/runs/compare-demo/report.html"

golden: configure ## run every golden file of GOLDEN=DIR on both backends
	@test -d "$(GOLDEN)" || { echo "usage: make golden GOLDEN=DIR (a directory of golden files)" >&2; exit 2; }
	$(say) "golden cases of $(GOLDEN)"
	@cmake --build $(BUILD) --target golden_runner
	@$(BUILD)/tests/golden_runner "$(GOLDEN)"

bench: configure ## time search steps; PEER=1: PyTorch beside them, eager and at its best
	$(say) "steps of each case in turns, two threads; PyTorch at its best compiles for minutes before it starts"
	@cmake --build $(BUILD) --target bench_step
ifeq ($(PEER),1)
	@python=$$(bench/peer/setup.sh) && PEER_PYTHON="$$python" $(BUILD)/bench/bench_step --peer
else
	@$(BUILD)/bench/bench_step
endif

kill-test: all ## 20 SIGKILLs over a short search end in the bytes of an undisturbed one
	$(say) "kill test"
	@scripts/kill-test.sh $(BUILD)/cellar

tsan: deps ## every test under ThreadSanitizer
	$(say) "ThreadSanitizer build, in build-tsan"
	@cmake --preset tsan >/dev/null
	@cmake --build build-tsan
	@ctest --test-dir build-tsan --output-on-failure -j $(JOBS) -LE native

valgrind: ## every test under valgrind's memcheck
	@scripts/deps.sh build valgrind
	$(say) "valgrind, in build-valgrind"
	@cmake --preset valgrind >/dev/null
	@cmake --build build-valgrind
	@ctest --test-dir build-valgrind --output-on-failure -j $(JOBS) -LE native --timeout 3600

fuzz: ## run every fuzz harness for FUZZ_SECONDS (20)
	@scripts/deps.sh build fuzz
	$(say) "every fuzz harness for $(FUZZ_SECONDS) s, in build-fuzz"
	@cmake --preset fuzz >/dev/null
	@cmake --build build-fuzz --target fuzz
	@scripts/fuzz.sh build-fuzz $(FUZZ_SECONDS)

install: all ## install below PREFIX (/usr/local)
	$(say) "installing below $(DESTDIR)$(PREFIX)"
	@DESTDIR="$(DESTDIR)" cmake --install $(BUILD) --prefix "$(PREFIX)" >/dev/null

style: ## layers, banned calls, headers, names, unused functions, formatting
	@scripts/deps.sh build style
	@cmake --preset dev >/dev/null
	@cmake --build $(DEV)
	@scripts/check.sh --format $(DEV)

clean: ## remove every build directory
	$(say) "removing build directories"
	@rm -rf $(BUILD) $(DEV) build-tsan build-valgrind build-fuzz
