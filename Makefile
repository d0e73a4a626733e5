# Thin: each target is a script in scripts/, where the reasons are.
.PHONY: demo test lint guests bench fuzz vm release

demo:            ## the tour, in a temporary folder, with its output shown (KEEP=1 leaves it running)
	@scripts/demo

test:            ## everything: packages, guests, lints, all tests, the tour
	@scripts/test

lint:            ## formatting and clippy, warnings as errors
	@scripts/lint

guests:          ## the WebAssembly examples: guest-examples/target/<target>/release/*.wasm
	@scripts/guests

bench:           ## the figures of benches/RESULTS.md, on this machine
	@scripts/bench

fuzz:            ## minutes of simulated clusters and spoilt bytes; the tests run seconds of both
	@scripts/fuzz

vm:              ## what needs another kernel (control groups of version 2, AppArmor, bad links), in a virtual machine
	@scripts/vm

release:         ## the stripped release binary
	@scripts/release
