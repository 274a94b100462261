# Builds libmosa_cuda.so: the sources of src/backend/cuda/plugin and the few floors beneath them, as position-independent
# code, with the CUDA runtime inside. Called by tools/gpu. A file linear*.cu or attention*.cu in the plugin's folder
# switches its kernels on.
NVCC   ?= nvcc
CC     ?= gcc
ARCHS  ?= 90a 80
OUT    := build/gpu
PLUGIN := src/backend/cuda/plugin
CUDA   := $(patsubst %/bin/,%,$(dir $(realpath $(shell command -v $(NVCC)))))
# A toolkit's own tree has include/ and lib64/; some packages keep them per target.
CUDA_INCLUDE := $(firstword $(wildcard $(CUDA)/include/cuda_runtime_api.h $(CUDA)/targets/*/include/cuda_runtime_api.h /usr/local/cuda/include/cuda_runtime_api.h))
CUDART := $(firstword $(wildcard $(CUDA)/lib64/libcudart_static.a $(CUDA)/lib/libcudart_static.a $(CUDA)/targets/*/lib/libcudart_static.a /usr/local/cuda/lib*/libcudart_static.a))

FLOORS  := $(wildcard src/base/*.c src/tensor/*.c src/graph/*.c src/graph/ops/*.c) src/backend/backend.c src/backend/check.c
CSRC    := $(filter-out src/backend/backend.c,$(FLOORS)) $(wildcard $(PLUGIN)/*.c)
CUSRC   := $(wildcard $(PLUGIN)/*.cu)
OBJECTS := $(patsubst src/%,$(OUT)/%.o,$(CSRC) $(CUSRC))

DEFINES := -D_GNU_SOURCE -DNDEBUG -DMOSA_VERSION='"$(shell sed -n "s/.*version: '\([0-9.]*\)', license.*/\1/p" meson.build)"'
ifneq ($(wildcard $(PLUGIN)/linear*.cu),)
DEFINES += -DMOSA_CUDA_LINEAR
endif
ifneq ($(wildcard $(PLUGIN)/attention*.cu),)
DEFINES += -DMOSA_CUDA_ATTENTION
endif
INCLUDES := -Isrc -Iinclude -I$(dir $(CUDA_INCLUDE))
CFLAGS   := -std=gnu11 -O2 -fPIC -fvisibility=hidden -Wall -Wextra -Werror -Wno-missing-field-initializers \
            -Wno-format-truncation -Wno-maybe-uninitialized -ffp-contract=off -fno-math-errno -fno-strict-aliasing
ifeq ($(ARCHS),native)
GENCODE := -arch=native
else
GENCODE := $(foreach a,$(ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
           -gencode arch=compute_80,code=compute_80
endif
NVFLAGS  := -std=c++17 -O3 $(GENCODE) -Xcompiler -fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti --threads 2

$(OUT)/libmosa_cuda.so: $(OBJECTS) tools/gpu.map
	@echo "gpu: link $@"
	@g++ -shared -o $@.new $(OBJECTS) $(CUDART) -Wl,--version-script=tools/gpu.map -Wl,--gc-sections -Wl,-z,defs \
	  -static-libgcc -static-libstdc++ -lpthread -ldl -lrt -lm && mv $@.new $@
	@for d in src/cli tests/gpu; do if [ -d build/release/$$d ]; then ln -sf ../../../gpu/libmosa_cuda.so build/release/$$d/; fi; done

$(OUT)/flags: FORCE
	@mkdir -p $(OUT)
	@echo '$(DEFINES) $(CFLAGS) $(NVFLAGS)' | cmp -s - $@ || echo '$(DEFINES) $(CFLAGS) $(NVFLAGS)' > $@

$(OUT)/%.c.o: src/%.c $(OUT)/flags
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) $(DEFINES) $(INCLUDES) -MMD -MP -c $< -o $@

$(OUT)/%.cu.o: src/%.cu $(OUT)/flags
	@mkdir -p $(@D)
	@echo "gpu: nvcc $<"
	@$(NVCC) $(NVFLAGS) $(DEFINES) $(INCLUDES) -MMD -MP -c $< -o $@

FORCE:
.PHONY: FORCE
-include $(OBJECTS:.o=.d)
