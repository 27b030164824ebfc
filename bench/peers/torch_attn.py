"""torch_attn.py: times PyTorch's attention on the CPU, one JSON object a line for each variant.

Variants: sdpa-flash (scaled_dot_product_attention held to its flash backend) and flex
(flex_attention, compiled); with --density below 1 only flex, under a mask of random whole blocks.
Inputs are random normal, [1, heads, ctx, head_dim]; rel_l2 is the error of sampled rows of the last
head against float64 on the same rounded inputs. A variant that cannot run is named on stderr with
the reason and left out. Called by peers.sh; needs nothing but torch.
"""
import argparse
import json
import os
import sys
import time
import warnings

import torch
import torch.nn.functional as F

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
N_SAMPLED_ROWS = 16
LIMITS = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")


def parse_args():
    parser = argparse.ArgumentParser(description="times PyTorch attention on the CPU")
    parser.add_argument("--ctx", type=int, default=4096, help="queries and keys")
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, default=0, help="0: as many as heads")
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5, help="timed calls after the warm-up")
    parser.add_argument("--density", type=float, default=1.0, help="share of key blocks read")
    parser.add_argument("--block", type=int, default=128, help="side of a mask block")
    args = parser.parse_args()
    args.kv_heads = args.kv_heads or args.heads
    if min(args.ctx, args.heads, args.head_dim, args.threads, args.repeat, args.block) < 1:
        parser.error("sizes, threads and repeats are at least 1")
    if args.heads % args.kv_heads:
        parser.error("--heads is not a multiple of --kv-heads")
    if not 0 < args.density <= 1 or (args.density < 1 and args.ctx % args.block):
        parser.error("--density is in (0, 1]; below 1, --ctx is a multiple of --block")
    return args


def choose_blocks(args, rng):
    """Key blocks each block of queries reads, ascending: [heads, n_blocks, n_kept]; None if all."""
    if args.density == 1:
        return None
    n_blocks = args.ctx // args.block
    n_kept = max(1, round(args.density * n_blocks))
    order = torch.rand(args.heads, n_blocks, n_blocks, generator=rng).argsort(dim=-1)
    return order[..., :n_kept].sort(dim=-1).values


def block_mask(args, kept):
    """The mask of the chosen blocks: every one whole, so no element of it is ever tested."""
    from torch.nn.attention.flex_attention import BlockMask

    n_blocks, n_kept = kept.shape[1:]
    counts = torch.full((1, args.heads, n_blocks), n_kept, dtype=torch.int32)
    indices = torch.zeros(1, args.heads, n_blocks, n_blocks, dtype=torch.int32)
    indices[0, :, :, :n_kept] = kept
    return BlockMask.from_kv_blocks(torch.zeros_like(counts), torch.zeros_like(indices), counts,
                                    indices, BLOCK_SIZE=args.block,
                                    seq_lengths=(args.ctx, args.ctx))


def rel_l2(args, q, k, v, kept, output):
    """Relative L2 error of sampled rows of the last head."""
    head = args.heads - 1
    kv_head = head // (args.heads // args.kv_heads)
    n_rows = min(N_SAMPLED_ROWS, args.ctx)
    rows = torch.tensor([(2 * i + 1) * args.ctx // (2 * n_rows) for i in range(n_rows)])
    scores = q[0, head, rows].double() @ k[0, kv_head].double().T / args.head_dim**0.5
    if kept is not None:
        hidden = torch.ones(n_rows, args.ctx // args.block, dtype=torch.bool)
        hidden.scatter_(1, kept[head, rows // args.block], False)
        scores.masked_fill_(hidden.repeat_interleave(args.block, dim=1), float("-inf"))
    expected = scores.softmax(dim=-1) @ v[0, kv_head].double()
    got = output[0, head, rows].double()
    return ((got - expected).norm() / expected.norm()).item()


def sdpa_flash(args):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def attend(q, k, v):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(q, k, v,
                                                  enable_gqa=args.kv_heads != args.heads)
    return attend


def flex(args, kept):
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, fullgraph=True, dynamic=False)
    mask = block_mask(args, kept) if kept is not None else None

    def attend(q, k, v):
        return compiled(q, k, v, block_mask=mask, enable_gqa=args.kv_heads != args.heads)
    return attend


def version():
    """Of torch, with the limits the environment sets on its instruction sets."""
    return " ".join([torch.__version__] + [f"{name}={os.environ[name]}" for name in LIMITS
                                           if os.environ.get(name)])


def measure(args, variant, attend, inputs, kept):
    for _ in range(2):
        output = attend(*inputs)
    seconds = []
    for _ in range(args.repeat):
        start = time.perf_counter()
        output = attend(*inputs)
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    density = kept.shape[-1] * args.block / args.ctx if kept is not None else 1.0
    flops = 4.0 * args.ctx**2 * args.head_dim * args.heads * density
    print(json.dumps({
        "peer": "torch", "variant": variant, "version": version(), "ctx": args.ctx,
        "n_heads": args.heads, "n_kv_heads": args.kv_heads, "d_head": args.head_dim,
        "dtype": args.dtype, "threads": args.threads, "density": density,
        "seconds_best": seconds[0], "seconds_median": seconds[len(seconds) // 2],
        "gflops": round(flops / seconds[0] / 1e9, 2),
        "rel_l2": float(f"{rel_l2(args, *inputs, kept, output):.3e}"),
    }, separators=(",", ":")), flush=True)


def main():
    args = parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    rng = torch.Generator().manual_seed(1)
    inputs = [torch.randn(1, n_heads, args.ctx, args.head_dim, generator=rng)
              .to(DTYPES[args.dtype]) for n_heads in (args.heads, args.kv_heads, args.kv_heads)]
    kept = choose_blocks(args, rng)
    variants = [("flex", lambda: flex(args, kept))]
    if kept is None:
        variants.insert(0, ("sdpa-flash", lambda: sdpa_flash(args)))
    with torch.no_grad():
        for variant, make in variants:
            try:
                measure(args, variant, make(), inputs, kept)
            except Exception as error:  # whatever a build of torch lacks shows up here
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                print(f"torch_attn: {variant} skipped: {reason[:200]}", file=sys.stderr)


if __name__ == "__main__":
    main()
