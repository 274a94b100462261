// Loads libmosa_cuda.so and opens its devices; the rest of the program never sees CUDA.
//
// The plugin is looked for where the environment variable MOSA_CUDA_PLUGIN points, then beside the binary, in
// ../lib/mosa and in ../lib. It is loaded once and stays. Thread: any; loading is guarded.
#ifndef MOSA_BACKEND_CUDA_CUDA_LOADER_H
#define MOSA_BACKEND_CUDA_CUDA_LOADER_H

#include "backend/cuda/cuda_plugin.h"

// Opens "cuda" (the first device that can be used) or "cuda:N"; `variant` is what follows the colon, or "". Errors of
// mosa_cuda_plugin_load and of mosa_cuda_plugin.open.
mosa_status mosa_cuda_open(const mosa_backend_options *options, const char *variant, mosa_backend **out,
                           mosa_error *err);

// The plugin's table. MOSA_EUNAVAILABLE: it is not there, cannot be loaded, or is of another build.
mosa_status mosa_cuda_plugin_load(const mosa_cuda_plugin **out, mosa_error *err);

// Describes up to max devices; *n is how many there are. Errors as above; *path (may be NULL) is the plugin's file,
// which stays valid.
mosa_status mosa_cuda_list(mosa_cuda_device *devices, int max, int *n, const char **path, mosa_error *err);

#endif
