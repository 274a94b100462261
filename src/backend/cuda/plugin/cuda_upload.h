// Uploads from host memory that is not pinned, such as a mapped file: through a ring of pinned buffers that several
// threads fill while the device reads.
//
// One ring per process, made at the first upload and freed by mosa_cuda_upload_finish. Thread: uploads from any thread;
// they take turns.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_CUDA_UPLOAD_H
#define MOSA_BACKEND_CUDA_PLUGIN_CUDA_UPLOAD_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif
#include "base/status.h"

// Copies bytes from the host to the device, in order on `stream`. On return the host memory has been read; the copy is
// complete when the stream is. MOSA_ENOMEM, MOSA_EINTERNAL.
mosa_status mosa_cuda_upload(void *device, const void *host, size_t bytes, cudaStream_t stream, mosa_error *err);
void mosa_cuda_upload_finish(void); // frees the ring; the next upload makes another

#ifdef __cplusplus
}
#endif
#endif
