"""PyTorch's scaled_dot_product_attention on a device, by backend, at the shapes of attention_bench.cu.

python tests/gpu/attention_torch.py      prints one line per shape and backend: forward and backward, us and TFLOPS.
bf16, causal; TFLOPS count visible pairs: 4 (forward) or 10 (backward) operations per pair, head and column.
"""
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as attention

# batch, query rows, key rows, query heads, key heads, width, causal
TRAINING = [(8, 2048, 2048, 16, 16, 128, True), (2, 8192, 8192, 16, 16, 128, True), (16, 1024, 1024, 12, 12, 64, True),
            (8, 2048, 2048, 32, 8, 128, True), (8, 2048, 2048, 16, 16, 128, False)]
SERVING = [(1, 8192, 8192, 32, 8, 128, True), (1, 2048, 2048, 32, 8, 128, True), (8, 1024, 1024, 32, 8, 128, True),
           (8, 2048, 2048, 32, 8, 64, True), (2, 4096, 4096, 16, 8, 256, True)]
DECODE = [(1, 1, 8192, 32, 8, 128, False), (64, 1, 1024, 32, 8, 128, False), (256, 1, 1024, 32, 8, 128, False)]
BACKENDS = [("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION),
            ("efficient", SDPBackend.EFFICIENT_ATTENTION)]


def time_us(call, repeats=10):
    for _ in range(3):
        call()
    best = 1e30
    for _ in range(3):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        for _ in range(repeats):
            call()
        b.record()
        b.synchronize()
        best = min(best, a.elapsed_time(b) * 1000 / repeats)
    return best


def run(shape, kind, backend, backward):
    batch, rows, keys, heads, kv_heads, width, causal = shape
    make = lambda n, h: torch.randn(batch, h, n, width, device="cuda", dtype=torch.bfloat16, requires_grad=backward)
    q, k, v = make(rows, heads), make(keys, kv_heads), make(keys, kv_heads)
    gqa = {"enable_gqa": True} if heads != kv_heads else {}
    if heads != kv_heads and kind == "efficient":
        return None
    pairs = rows * (rows + 1) / 2 + rows * (keys - rows) if causal else rows * keys
    flops = batch * heads * pairs * width
    with sdpa_kernel(backend):
        call = lambda: attention(q, k, v, is_causal=causal, **gqa)
        us = time_us(call)
        text = f"forward {us:9.1f} us {4 * flops / us / 1e6:6.1f} TFLOPS"
        if rows == 1:
            read = 2 * batch * keys * kv_heads * width * 2
            text = f"decode {us:9.1f} us {read / us / 1e3:6.0f} GB/s (keys and values may be cached)"
        if backward:
            y = call()
            dy = torch.randn_like(y)
            us = time_us(lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True))
            text += f"   backward {us:9.1f} us {10 * flops / us / 1e6:6.1f} TFLOPS"
    return text


def main():
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for title, shapes, backward in (("training", TRAINING, True), ("serving", SERVING, False), ("decode", DECODE, False)):
        for shape in shapes:
            for kind, backend in BACKENDS:
                try:
                    text = run(shape, kind, backend, backward)
                except Exception as e:  # a backend that does not take the shape
                    text = "not available: " + str(e).split("\n")[0][:60]
                b, rows, keys, heads, kv_heads, width, causal = shape
                if text:
                    print(f"{title} batch {b:3} {rows}x{keys} H{heads}/{kv_heads} C{width}{' causal' if causal else ''} "
                          f"{kind:9}: {text}", flush=True)


if __name__ == "__main__":
    main()
