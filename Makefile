# make build    build the release binary
# make run      build it and start the demo: nine services and a gateway in front of them
# make test     run all tests
# make fuzz     run the fuzz tests for longer: SECONDS=600 for each target; failing inputs are kept as seeds
# make check    check the format and the lints
# make install  install the binary, its units and its documents   (PREFIX=/usr/local DESTDIR= BINARY=target/release/gatekeeper)
# make bench    run the load harness: gatekeeper, bare Pingora, nginx, HAProxy and Envoy   (CASE=name runs one case)
# make bench-quick   run a short benchmark: the full case, the limiter and the router; two minutes once everything is built

CARGO ?= cargo
# The tools that building needs, and the additional tools of tests and benchmarks: `program:Debian package`.
BUILD_TOOLS := cmake:cmake cc:build-essential
TEST_TOOLS := curl:curl h2load:nghttp2-client systemd-analyze:systemd openssl:openssl node:nodejs npm:npm chromium:chromium pg_ctlcluster:postgresql
BENCH_TOOLS := wrk:wrk h2load:nghttp2-client openssl:openssl nginx:nginx haproxy:haproxy python3:python3 pip3:python3-pip

# Tests that measure time. They run after the others, one at a time.
TIMED := balancing:: connections:: deadlines:: h2_abuse:: life:: limits:: oidc:: posts:: proxy_protocol:: retries:: shields:: stalled:: taking:: untaken:: upheaval::

PREFIX ?= /usr/local
BINARY ?= target/release/gatekeeper

.PHONY: run build test fuzz kills fresh fleet check bench bench-quick bench-build install uninstall tools

run: build
	exec target/release/gatekeeper run --demo

build:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS)"
	$(CARGO) build --release --locked

test:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS) $(TEST_TOOLS)"
	@$(MAKE) --no-print-directory tests/peers/node_modules
	$(CARGO) test --locked --workspace --lib --bins --examples --benches
	$(CARGO) test --locked --workspace --doc
	$(CARGO) test --locked --test main -- $(TIMED:%=--skip %)
	$(CARGO) test --locked --test main -- --test-threads=1 $(TIMED)

# The packages of the test peers that run on Node.js.
tests/peers/node_modules: tests/peers/package-lock.json
	npm ci --prefix tests/peers --no-audit --no-fund --loglevel=error
	touch $@

fuzz:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS)"
	FUZZ_SECONDS=$(or $(SECONDS),60) $(CARGO) test --locked --test main fuzz:: -- --nocapture --test-threads=1

# How long a change takes to reach two and five gateways with 10,000 routes.
fleet: build
	for nodes in 2 5; do MEASURED_GATEKEEPER=$(CURDIR)/target/release/gatekeeper NODES=$$nodes ROUTES=10000 CHANGES=60 \
		$(CARGO) test --locked --workspace --test main -- fleet::a_change_reaches --nocapture; done

# A gateway is killed 200 times while it changes: a state in between fails.
kills:
	KILLS=200 $(CARGO) test --locked --workspace --test main -- killed:: --nocapture

# Each of 10,000 answered writes among 10,000 routes must be seen by the next request; prints how long writes take.
fresh: build
	MEASURED_GATEKEEPER=$(CURDIR)/target/release/gatekeeper WRITES=10000 ROUTES=10000 $(CARGO) test --locked --workspace --test main -- fresh:: --nocapture

check:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS)"
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

bench: bench-build
	benches/load/run $(CASE)

bench-quick: bench-build
	benches/load/run quick

bench-build:
	@$(MAKE) --no-print-directory tools TOOLS="$(BUILD_TOOLS) $(BENCH_TOOLS)"
	$(CARGO) build --release --locked --bins --examples
	$(CARGO) bench --locked --no-run --bench cores

INSTALL := install -D -m 644
SHARE = $(DESTDIR)$(PREFIX)/share
DOCUMENTS = $(SHARE)/doc/gatekeeper
# The documents keep their places relative to each other, so that their links work.
PAGES := README.md SECURITY.md ARCHITECTURE.md LICENSE docs conf benches/load/report
UNITS := gatekeeper.service gatekeeper.socket gatekeeper-admin.socket

install:
	@[ -x "$(BINARY)" ] || { echo "$(BINARY) is missing: run make build" >&2; exit 1; }
	install -D -s -m 755 "$(BINARY)" "$(DESTDIR)$(PREFIX)/bin/gatekeeper"
	for unit in $(UNITS); do \
		install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system" && \
		sed 's|/usr/bin/|$(PREFIX)/bin/|; s|/usr/share/|$(PREFIX)/share/|' systemd/$$unit \
			> "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit" || exit 1; \
	done
	$(INSTALL) systemd/gatekeeper.sysusers "$(DESTDIR)$(PREFIX)/lib/sysusers.d/gatekeeper.conf"
	$(INSTALL) systemd/gatekeeper.tmpfiles "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/gatekeeper.conf"
	for document in $$(find $(PAGES) -type f); do $(INSTALL) $$document "$(DOCUMENTS)/$$document" || exit 1; done
	$(INSTALL) systemd/gatekeeper.sysctl "$(DOCUMENTS)/60-gatekeeper.conf"
	install -d "$(SHARE)/bash-completion/completions" "$(SHARE)/zsh/site-functions" "$(SHARE)/fish/vendor_completions.d" "$(SHARE)/man/man1"
	"$(BINARY)" completions bash > "$(SHARE)/bash-completion/completions/gatekeeper"
	"$(BINARY)" completions zsh > "$(SHARE)/zsh/site-functions/_gatekeeper"
	"$(BINARY)" completions fish > "$(SHARE)/fish/vendor_completions.d/gatekeeper.fish"
	"$(BINARY)" man --to "$(SHARE)/man/man1"
	$(INSTALL) conf/gatekeeper.schema.json "$(DESTDIR)/etc/gatekeeper/gatekeeper.schema.json"
	@[ -e "$(DESTDIR)/etc/gatekeeper/gatekeeper.yaml" ] || $(INSTALL) conf/gatekeeper.yaml "$(DESTDIR)/etc/gatekeeper/gatekeeper.yaml"
	@[ -e "$(DESTDIR)/etc/logrotate.d/gatekeeper" ] || $(INSTALL) systemd/gatekeeper.logrotate "$(DESTDIR)/etc/logrotate.d/gatekeeper"
	@echo "1. Edit /etc/gatekeeper/gatekeeper.yaml. The installed file answers every request to 127.0.0.1:8000 with a welcome page."
	@echo "2. systemd-sysusers && systemd-tmpfiles --create gatekeeper.conf && systemctl daemon-reload"
	@echo "3. systemctl enable --now gatekeeper"

# The configuration and the state are not removed.
uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/gatekeeper" $(UNITS:%="$(DESTDIR)$(PREFIX)/lib/systemd/system/%")
	rm -f "$(DESTDIR)$(PREFIX)/lib/sysusers.d/gatekeeper.conf" "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/gatekeeper.conf"
	rm -f "$(SHARE)/bash-completion/completions/gatekeeper" "$(SHARE)/zsh/site-functions/_gatekeeper"
	rm -f "$(SHARE)/fish/vendor_completions.d/gatekeeper.fish" "$(SHARE)/man/man1"/gatekeeper*.1 "$(DESTDIR)/etc/logrotate.d/gatekeeper"
	rm -rf "$(DOCUMENTS)"

# On Debian, servers are in folders that are not in the PATH of a user.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# Packages that start a server when they are installed. Only the harness should start these servers.
SERVERS := nginx haproxy postgresql

# Installs the missing tools of $(TOOLS) from Debian packages. Without root or sudo, it prints the command to run. Servers are
# neither started (policy-rc.d) nor enabled.
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
	$$sudo sh -ec 'policy=/usr/sbin/policy-rc.d; \
		[ -e $$policy ] || { trap "rm -f $$policy" EXIT; printf "#!/bin/sh\nexit 101\n" > $$policy; chmod 755 $$policy; }; \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$$@" >/dev/null; \
		for package in "$$@"; do case " $(SERVERS) " in *" $$package "*) systemctl -q disable $$package 2>/dev/null || true;; esac; done' tools $$missing
