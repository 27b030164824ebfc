"""torch_attn_cuda.py: times PyTorch's attention on a CUDA device, one JSON object a line.

Variants: sdpa-flash, sdpa-cudnn, sdpa-efficient (scaled_dot_product_attention held to one backend),
flex (flex_attention, compiled; with --density below 1 under a mask of random whole blocks, which is
what the SparseD paper used) and flash-attn where that package is installed. With --queries the same
backends answer few queries over a long prefix. Times are the device's own events, one pair a call;
keys as in `lacuna bench attn --json` where both have them. rel_l2 compares sampled rows of the last
head with float64. A variant that cannot run is named on stderr with the reason and left out.
Exit 77 (skip) without a device. Needs nothing but torch. Called by scripts/gpu_check.sh.
"""
import argparse
import json
import statistics
import sys

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    print(f"torch_attn_cuda: {error}", file=sys.stderr)
    sys.exit(77)

N_SAMPLED_ROWS = 16


def parse_args():
    parser = argparse.ArgumentParser(description="times PyTorch attention on a CUDA device")
    parser.add_argument("--ctx", default="8192", help="keys, a list")
    parser.add_argument("--queries", type=int, default=0, help="0: as many as keys")
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--kv-heads", type=int, default=0, help="0: as many as heads")
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--density", default="1.0", help="shares of key blocks read, a list")
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=10)
    args = parser.parse_args()
    args.kv_heads = args.kv_heads or args.heads
    args.ctx = [int(x) for x in args.ctx.split(",")]
    args.density = [float(x) for x in args.density.split(",")]
    if args.heads % args.kv_heads or any(n % args.block for n in args.ctx):
        parser.error("--heads is a multiple of --kv-heads, --ctx one of --block")
    return args


def choose_blocks(args, n_ctx, density):
    """Key blocks of each block of queries, ascending: [heads, n_q_blocks, n_kept]."""
    n_blocks = n_ctx // args.block
    rng = torch.Generator().manual_seed(1)
    order = torch.rand(args.heads, n_blocks, n_blocks, generator=rng).argsort(dim=-1)
    return order[..., :max(1, round(density * n_blocks))].sort(dim=-1).values


def block_mask(args, n_ctx, kept):
    from torch.nn.attention.flex_attention import BlockMask

    n_blocks, n_kept = kept.shape[1:]
    counts = torch.full((1, args.heads, n_blocks), n_kept, dtype=torch.int32)
    indices = torch.zeros(1, args.heads, n_blocks, n_blocks, dtype=torch.int32)
    indices[0, :, :, :n_kept] = kept
    empty, none = torch.zeros_like(counts), torch.zeros_like(indices)
    return BlockMask.from_kv_blocks(empty.cuda(), none.cuda(), counts.cuda(), indices.cuda(),
                                    BLOCK_SIZE=args.block, seq_lengths=(n_ctx, n_ctx))


def sdpa(args, name):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backend = getattr(SDPBackend, name)

    def attend(q, k, v):
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v,
                                                  enable_gqa=args.kv_heads != args.heads)
    return attend


def flex(args, mask):
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, fullgraph=True, dynamic=False)

    def attend(q, k, v):
        return compiled(q, k, v, block_mask=mask, enable_gqa=args.kv_heads != args.heads)
    return attend


def flash_attn(_):
    from flash_attn import flash_attn_func

    def attend(q, k, v): # [batch, rows, heads, d] views
        return flash_attn_func(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
    return attend


def rel_l2(args, q, k, v, kept, output):
    head, n_q, n_ctx = args.heads - 1, q.shape[2], k.shape[2]
    kv_head = head // (args.heads // args.kv_heads)
    n_rows = min(N_SAMPLED_ROWS, n_q)
    rows = torch.tensor([(2 * i + 1) * n_q // (2 * n_rows) for i in range(n_rows)], device="cuda")
    scores = q[0, head, rows].double() @ k[0, kv_head].double().T / args.head_dim**0.5
    if kept is not None:
        hidden = torch.ones(n_rows, n_ctx // args.block, dtype=torch.bool, device="cuda")
        hidden.scatter_(1, kept.cuda()[head, rows // args.block], False)
        scores.masked_fill_(hidden.repeat_interleave(args.block, dim=1), float("-inf"))
    expected = scores.softmax(dim=-1) @ v[0, kv_head].double()
    return ((output[0, head, rows].double() - expected).norm() / expected.norm()).item()


def measure(args, attend, inputs):
    flush = torch.empty(256 << 20, dtype=torch.int8, device="cuda")
    for _ in range(3):
        output = attend(*inputs)
    times = []
    for _ in range(args.repeat):
        flush.zero_() # the inputs leave the cache, as in a step of a model
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        output = attend(*inputs)
        events[1].record()
        events[1].synchronize()
        times.append(events[0].elapsed_time(events[1]) * 1e-3)
    return output, times


def run(args, variant, make, inputs, kept, density):
    q, k, _ = inputs
    try:
        output, times = measure(args, make(), inputs)
        error = rel_l2(args, *inputs, kept, output)
    except Exception as reason: # pylint: disable=broad-except
        print(f"torch_attn_cuda: {variant}: {str(reason).splitlines()[0]}", file=sys.stderr)
        return
    flops = 4.0 * args.head_dim * density * q.shape[2] * k.shape[2] * args.heads
    print(json.dumps({
        "test": "attn", "peer": "torch", "variant": variant, "ctx": k.shape[2], "n_q": q.shape[2],
        "n_heads": args.heads, "n_kv_heads": args.kv_heads, "d_head": args.head_dim,
        "dtype": "bf16", "block": args.block, "density": density, "seconds_best": min(times),
        "seconds_median": statistics.median(times), "gflops": flops / min(times) * 1e-9,
        "rel_l2": error, "version": torch.__version__,
        "device": torch.cuda.get_device_name(0)}), flush=True)


def main():
    args = parse_args()
    if not torch.cuda.is_available():
        print("torch_attn_cuda: torch sees no CUDA device", file=sys.stderr)
        return 77
    for n_ctx in args.ctx:
        torch.manual_seed(1)
        n_q = args.queries or n_ctx
        shapes = [(args.heads, n_q), (args.kv_heads, n_ctx), (args.kv_heads, n_ctx)]
        inputs = [torch.randn(1, heads, n, args.head_dim, dtype=torch.bfloat16, device="cuda")
                  for heads, n in shapes]
        for density in args.density:
            if density < 1:
                kept = choose_blocks(args, n_ctx, density)
                share = kept.shape[-1] / kept.shape[-2]
                run(args, "flex-mask", lambda k=kept: flex(args, block_mask(args, n_ctx, k)), inputs,
                    kept, share)
                continue
            for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
                run(args, "sdpa-" + name.split("_")[0].lower(), lambda n=name: sdpa(args, n),
                    inputs, None, 1.0)
            run(args, "flash-attn", lambda: flash_attn(args), inputs, None, 1.0)
            if not args.queries:
                run(args, "flex", lambda: flex(args, None), inputs, None, 1.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
