# make run      build in release and start the demo: nine services and a gateway before them
# make test     all tests
# make fuzz     a long run of the fuzz tests: SECONDS=600 for each target; what it finds becomes a seed
# make check    format, lints
# make bench    micro-benchmarks of the cores, and the load harness   (CASE=name for one case of it)

CARGO ?= cargo
# What building needs, and what tests and benchmarks need beside it: `program:Debian package`.
BUILD_TOOLS := cmake:cmake cc:build-essential
TEST_TOOLS := h2load:nghttp2-client systemd-analyze:systemd openssl:openssl
BENCH_TOOLS := wrk:wrk python3:python3

.PHONY: run build test fuzz check bench tools

run: build
	exec target/release/gatekeeper run --demo

build:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS)"
	$(CARGO) build --release --locked

test:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS) $(TEST_TOOLS)"
	$(CARGO) test --locked --all-targets

fuzz:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS)"
	FUZZ_SECONDS=$(or $(SECONDS),60) $(CARGO) test --locked --test main fuzz:: -- --nocapture --test-threads=1

check:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS)"
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

bench:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS) $(BENCH_TOOLS)"
	$(CARGO) build --release --locked --bins --examples
	benches/load/run $(CASE)
	$(CARGO) bench --locked --bench route

# Installs what is missing of $(TOOLS) from Debian's packages; without root or sudo, says what to type.
tools:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing: install Rust (rustup, stable) first" >&2; exit 1; }
	@missing=; for tool in $(TOOLS); do \
		command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool#*:}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ]; then sudo=; \
	elif sudo -n true 2>/dev/null; then sudo="sudo -n"; \
	else echo "missing:$$missing. Install with: sudo apt-get install -y$$missing" >&2; exit 1; fi; \
	echo "installing$$missing"; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null
