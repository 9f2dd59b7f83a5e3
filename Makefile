# What people and CI run. Every target builds what it needs; `make test` and `make e2e` need nothing but Rust and, for the
# real control plane, Go and openssl.

CARGO ?= cargo
# Version of the kube-apiserver that `make e2e` runs against; 1.14.10 is the oldest one promised.
K8S ?= 1.37.2
# How often the leader of two replicas ends there, in four ways by turns; CI has it end 50 times.
ROUNDS ?= 8
# Go itself fetches a newer toolchain where it may; older than 1.21 it cannot.
GO_OK := $(shell go version 2>/dev/null | sed -n 's/.* go1\.\([0-9]*\).*/\1/p' | awk '$$1 >= 21')

.PHONY: build test lint unit it e2e demo bench docs
build:
	$(CARGO) build --release

test: lint unit it
ifneq ($(GO_OK),)
	$(MAKE) e2e
else ifeq ($(CI),true)
	@echo "go >= 1.26 is needed for the tests on a real control plane" >&2; exit 1
else
	@echo "skipped: the tests on a real kube-apiserver, since Go >= 1.26 (or one that may fetch it) is not installed"
endif

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items --quiet

unit:
	$(CARGO) test --lib --bins

# the integration tests on the simulated Kubernetes API
it:
	$(CARGO) test --test it

# the same tests on a real kube-apiserver and etcd; then, by its audit log, whether the roles in deploy/ grant what they used and nothing else
AUDIT_LOGS = $(abspath $(TARGET))/audit-$(K8S)
e2e:
	rm -rf "$(AUDIT_LOGS)"
	CONTROL_PLANE="$$(tests/e2e/control-plane/build.sh $(K8S))" && export CONTROL_PLANE && AUDIT_LOGS="$(AUDIT_LOGS)" FAILOVER_ROUNDS=$(ROUNDS) $(CARGO) test --test it -- --test-threads 2
	AUDIT_LOGS="$(AUDIT_LOGS)" $(CARGO) test --test it -- --ignored least_rbac::

demo:
	$(CARGO) build --release
	target/release/inspur-sim demo $(if $(KEEP),--keep)

bench:
	$(CARGO) build --release
	$(CARGO) build --profile speed --bin inspur-cloud-controller-manager
	$(CARGO) bench --bench figures

# writes docs/reference, the man page and the completions anew from the tables in the source
docs:
	UPDATE_DOCS=1 $(CARGO) test --lib docs

# Delivery: deploy/ has a script for each step; each installs the tools it needs, or says which are missing.
NAME   := inspur-cloud-controller-manager
STATIC := x86_64-unknown-linux-musl aarch64-unknown-linux-musl
TARGET := $(or $(CARGO_TARGET_DIR),target)
BINARIES := amd64=$(TARGET)/x86_64-unknown-linux-musl/release/$(NAME) arm64=$(TARGET)/aarch64-unknown-linux-musl/release/$(NAME)

.PHONY: static musl-std check-reproducible
# one static binary a CPU: target/CPU-unknown-linux-musl/release/inspur-cloud-controller-manager
static:
	sh deploy/static.sh build --release --locked --bin $(NAME) $(STATIC:%=--target %)
	sh deploy/check-static.sh $(STATIC:%=$(TARGET)/%/release/$(NAME))

# std for them, where the toolchain has none (make static does this by itself)
musl-std:
	sh deploy/build-tools.sh clang:clang ar:binutils
	sh deploy/musl-std.sh $(or $(MUSL_STD),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cloud-provider-inspur/musl-std)

# builds them once more elsewhere, and compares to the byte
check-reproducible: static
	sh deploy/check-reproducible.sh

VERSION := $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
# what is made is as old as its commit
export SOURCE_DATE_EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 0))
export REVISION := $(or $(REVISION),$(shell git rev-parse HEAD 2>/dev/null))

.PHONY: notices image
# dist/NOTICES and dist/sbom.cdx.json: what the binaries contain
notices: static
	sh deploy/build-tools.sh go:golang-go
	mkdir -p dist
	go run deploy/release/inside.go dist

# dist/image, an OCI layout for both CPUs, and dist/image.tar; loaded into docker, podman or buildah, whichever runs here
image: static notices
	sh deploy/build-tools.sh update-ca-certificates:ca-certificates
	sh deploy/image/build.sh $(VERSION) dist/NOTICES dist $(BINARIES)
	go run deploy/image/check.go dist/image
	sh deploy/image/load.sh dist/image.tar

.PHONY: deb release
# dist/*.deb for both CPUs
deb: static notices
	sh deploy/deb.sh dist
	sh deploy/check-deb.sh dist $(BINARIES)

# dist/release: all of it, with SHA256SUMS
release: static notices image deb
	sh deploy/release/build.sh $(VERSION) dist $(BINARIES)
	sh deploy/check-release.sh $(VERSION) dist $(BINARIES)

# what deploy/ promises of itself; as root, for chroot
CHECKS := check-scripts check-monitoring check-pages check-manifests check-dry-run check-unit check-image check-runs
.PHONY: check-deploy $(CHECKS)
check-deploy: $(CHECKS)

# the scripts as shellcheck and vet judge them
check-scripts:
	sh deploy/build-tools.sh shellcheck:shellcheck go:golang-go
	shellcheck deploy/*.sh deploy/*/*.sh deploy/deb/post* .ci/run
	gofmt -d deploy | (! grep .)
	for file in deploy/*/*.go; do go vet $$file || exit 1; done

# the man page as man and mandoc judge it, the completions by typing into each shell
check-pages:
	sh deploy/check-pages.sh

# the chart's objects against the kustomizations', and its bad values
check-manifests:
	sh deploy/check-manifests.sh

# what real kube-apiservers say of them, the newest and the oldest promised
check-dry-run:
	sh deploy/check-dry-run.sh
	sh deploy/check-dry-run.sh 1.14.10

# the unit under systemd's eyes
check-unit: static
	sh deploy/check-unit.sh $(TARGET)/x86_64-unknown-linux-musl/release/$(NAME)

# the image as skopeo carries it
check-image: image
	sh deploy/check-image.sh $(VERSION) dist

# its programs at their job: each CPU's, by the unit, by the chart
check-runs: image
	$(CARGO) build --bin inspur-sim
	sh deploy/check-runs.sh dist/image $(TARGET)/debug/inspur-sim

# the alert rules and their tests, by promtool; that what they name exists is one of the integration tests
check-monitoring:
	sh deploy/check-monitoring.sh
