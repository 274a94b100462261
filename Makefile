# Six verbs; everything behind them is meson, ninja and the scripts in tools/.
run:       ; @tools/setup && tools/build release && exec build/release/src/cli/mosa serve --model examples/mosa-tiny.gguf
test:      ; @tools/setup --tests && tools/test
test-long: ; @tools/setup --tests && tools/test --long
bench:     ; @tools/setup && tools/build release && bench/run
gpu:       ; @tools/gpu
lint:      ; @tools/setup --tests && tools/lint
fmt:       ; @clang-format -i $$(git ls-files '*.c' '*.h')
.PHONY: run gpu test test-long bench lint fmt
