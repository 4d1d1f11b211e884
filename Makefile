# The front door for people and packagers; each target is a line or two around cargo. `make help` lists them.

CARGO  ?= cargo
PYTHON ?= python3
CC     ?= cc
INSTALL ?= install

# Installation paths, as in the GNU coding standards.
PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR    ?=

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
MAJOR   := $(word 1,$(subst ., ,$(VERSION)))
MINOR   := $(word 2,$(subst ., ,$(VERSION)))
# The SONAME's number: build.rs and docs/abi-policy.md have the same rule.
ABI     := $(if $(filter 0,$(MAJOR)),0.$(MINOR),$(MAJOR))

TARGET  := $(abspath $(or $(CARGO_TARGET_DIR),target))
# Where the libraries to install come from.
BUILD_DIR ?= $(TARGET)/release

# Profiles and features have an OUT_DIR each; compiled kernels are the same in all of them.
export FLASHLLM_KERNEL_CACHE ?= $(TARGET)/kernels
# build.rs looks here by itself.
CUDA_VENV  := $(CURDIR)/target/cuda
# Tools that the tests need and that this machine may lack.
TOOLS_VENV := $(CURDIR)/target/tools
DOXYGEN_DIR := $(CURDIR)/target/doxygen
# The first two are the programs themselves where pip could not make a virtual environment.
export PATH := $(PATH):$(TOOLS_VENV)/cmake/data/bin:$(TOOLS_VENV)/pkgconf/.bin:$(TOOLS_VENV)/bin:$(DOXYGEN_DIR)/bin

.DEFAULT_GOAL := all

## all: the libraries, in release mode (the host library only, where nvcc can be neither found nor fetched)
all: cuda lib

lib:
	$(CARGO) build --locked --release -p flash_llm
	ln -sf libflash_llm.so $(TARGET)/release/libflash_llm.so.$(ABI)

## cuda: fetch the pinned nvcc into target/cuda, where the machine has none
cuda:
	@scripts/setup-cuda.sh $(CUDA_VENV)

tools:
	@scripts/setup-tools.sh $(TOOLS_VENV)

## check: formatting and lints
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features gpu-tests -- -D warnings

## docs: the reference of the C API and the pages in docs/, as HTML in target/docs/html
docs: check-docs
	@echo "docs: $(TARGET)/docs/html/index.html"

## check-docs: the same; a warning of Doxygen is a failure
check-docs:
	@scripts/setup-doxygen.sh $(DOXYGEN_DIR)
	@rm -rf '$(TARGET)/docs' && mkdir -p '$(TARGET)/docs'
	FLASHLLM_VERSION=$(VERSION) FLASHLLM_DOCS='$(TARGET)/docs' doxygen docs/Doxyfile

## test: every test that this machine can run; says at the end what was skipped and why
test: cuda tools
	@scripts/test.sh

## test-asan: hostile bytes and arguments, the store and the host's executor under AddressSanitizer; part of make test
test-asan:
	@scripts/test-asan.sh

## test-gpu: the GPU tests and examples, from the bundle; fails where there is no GPU
test-gpu: gpu-bundle
	$(TARGET)/gpu-bundle/run.sh test

## sanitizer: fetch compute-sanitizer (17 MB) for make gpu-bundle to pack
sanitizer:
	scripts/pip-into.sh $(TARGET)/sanitizer --no-deps -r requirements-sanitizer.txt

## gpu-bundle: everything the GPU tests and benchmarks need but the driver, in target/gpu-bundle
gpu-bundle: all
	@scripts/gpu-bundle.sh $(TARGET)/gpu-bundle

## demo: compress trained weights (DEMO_WEIGHTS=FILE, else fetched) and multiply them, on the GPU if there is one
demo: all
	$(if $(DEMO_WEIGHTS),,$(PYTHON) scripts/fetch_demo_weights.py $(TARGET)/demo)
	$(MAKE) --no-print-directory -C c-examples BUILD=$(TARGET)/demo PREFIX_INC=$(CURDIR)/include LIBDIR=$(TARGET)/release $(TARGET)/demo/demo
	$(TARGET)/demo/demo $(DEMO_ARGS) '$(or $(DEMO_WEIGHTS),$(TARGET)/demo/model.safetensors)'

## bench: the benchmark against the machine's own dense library; BENCH_ARGS are passed on
bench: all
	$(CARGO) run --locked --release -p flash_llm_bench -- $(BENCH_ARGS)

## wheel: the Python package with the library inside, in target/wheel
wheel: all
	@PYTHON='$(PYTHON)' scripts/wheel.sh $(TARGET)/release/libflash_llm.so $(TARGET)/wheel

## test-python: the wheel's tests in a clean virtual environment; PYTHON_EXTRAS="torch transformers numpy<2.3" for all of them
test-python: all
	@PYTHON='$(PYTHON)' PYTHON_EXTRAS='$(PYTHON_EXTRAS)' scripts/test-python.sh $(TARGET)/release/libflash_llm.so $(TARGET)/python $(PYTEST_ARGS)

## e2e: models end to end, dense and compressed: small ones anywhere, the tables of docs/end-to-end.md where GPUs are
e2e: all
	@PYTHON='$(PYTHON)' scripts/e2e.sh $(TARGET)/release/libflash_llm.so $(TARGET)/e2e

## header: rewrite include/flash_llm.h and tests/abi/symbols.txt after a change of the C API
header:
	FLASHLLM_BLESS=1 $(CARGO) test --locked --no-fail-fast --test header --test abi

## install: DESTDIR, PREFIX, LIBDIR and INCLUDEDIR say where to
install: all install-files

## install-files: the same for what lies in BUILD_DIR, building nothing: as root, who may have no cargo
install-files:
	BUILD_DIR='$(BUILD_DIR)' VERSION='$(VERSION)' ABI='$(ABI)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' \
	LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' INSTALL='$(INSTALL)' scripts/install.sh

## uninstall: remove what install has put there
uninstall:
	rm -f '$(DESTDIR)$(INCLUDEDIR)/flash_llm.h' '$(DESTDIR)$(LIBDIR)/libflash_llm.a' \
	    '$(DESTDIR)$(LIBDIR)/libflash_llm.so' '$(DESTDIR)$(LIBDIR)/libflash_llm.so.$(ABI)' \
	    '$(DESTDIR)$(LIBDIR)/libflash_llm.so.$(VERSION)' '$(DESTDIR)$(LIBDIR)/pkgconfig/flash_llm.pc'
	rm -rf '$(DESTDIR)$(LIBDIR)/cmake/flash_llm'

## clean: remove target/, the fetched nvcc included
clean:
	rm -rf '$(CUDA_VENV)' '$(TOOLS_VENV)' '$(DOXYGEN_DIR)' '$(TARGET)/docs' '$(TARGET)/kernels' '$(TARGET)/gpu-bundle' '$(TARGET)/demo'
	$(CARGO) clean

## help: this list
help:
	@sed -n 's/^## \([^:]*\): /\1	/p' $(firstword $(MAKEFILE_LIST)) | awk -F'\t' '{ printf "make %-12s %s\n", $$1, $$2 }'

.PHONY: all lib cuda sanitizer tools check docs check-docs test test-asan test-gpu gpu-bundle demo bench wheel test-python e2e header install \
    install-files uninstall clean help
