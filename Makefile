# Every command that a developer or CI needs. What is longer than a few lines lives in scripts/.

.DEFAULT_GOAL := help
.PHONY: help run demo demo-realtime demo-projects demo-voice test test-windows check package image snapshots release bench tools docs clean
.NOTPARALLEL:

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build roomkey and start it on http://127.0.0.1:7071 (dev mode, unless settings say otherwise)
	@scripts/tools rust
	@exec env ROOMKEY_LOG_FORMAT="$${ROOMKEY_LOG_FORMAT:-text}" cargo run --locked

demo: ## start an OpenID provider and a roomkey that trusts it, and print what to ask them
	@exec scripts/demo

demo-realtime: ## start a fake Key Vault, a fake Realtime service and a roomkey for both, and print what to ask them
	@exec scripts/demo-realtime

demo-projects: ## start a fake Realtime service and a roomkey with a store of project keys, and print what to ask them
	@exec scripts/demo-projects

demo-voice: ## start a LiveKit server, a fake Realtime service, a roomkey and the Angular example app, and print its link
	@exec scripts/demo-voice

test: tools package image ## run every test but those under Wine, also those against the package and a real LiveKit server
	@echo "Building and running the tests: about 3 minutes the first time …"
	cargo test --locked
	@echo "Testing the browser packages and the example app, in Chromium too: about 4 minutes …"
	@cargo build --quiet --locked
	@scripts/clients build
	@scripts/clients test

test-windows: ## build the package for Windows and test it under Wine
	@scripts/tools wine
	@scripts/package windows
	cargo test --locked --test blackbox windows:: -- --ignored

check: ## all that CI runs: format, lints, docs, tests, licenses and advisories
	@scripts/tools rust
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@scripts/check-windows
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	@$(MAKE) --no-print-directory test
	@scripts/deny

package: ## build dist/roomkey.zip, which Azure Functions runs; TARGET=windows or arm64 builds it for another system
	@scripts/package $(if $(filter command line,$(origin TARGET)),$(TARGET))

image: package ## build dist/roomkey-image.tar, a container image for `docker load`; needs no container engine
	@scripts/image

snapshots: ## write what infra/ would deploy in each of its cases; needs the Bicep compiler
	@scripts/snapshots overwrite

release: image ## gather what a release publishes in dist/release: packages, image, list of parts, checksums, notes
	@scripts/package windows
	@scripts/release

bench: package ## measure roomkey beside other servers and write docs/benchmarks.md; a trial: make bench ROUNDS=1 SECONDS=2
	@scripts/bench $(or $(ROUNDS),5) $(or $(SECONDS),5)

tools: ## install what package and test need (what is built for it is cached in ~/.cache/roomkey)
	@scripts/tools package peers ops image clients browser

docs: ## write the generated pages and tables in docs/ from the code
	@UPDATE_DOCS=1 cargo test --locked --quiet --test api documents

clean: ## remove all that was built here; the cache stays
	rm -rf target dist tests/real/peers/*/node_modules benches/peers/fastify/node_modules
	rm -rf clients/node_modules clients/*/dist examples/*/node_modules examples/*/dist
