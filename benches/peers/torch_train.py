"""One training step of the paper's model with AdamW on random tokens.

python3 torch_train.py [--preset paper|small] [--mode f32|autocast|bf16] [--compile] [--gqa] [--steps 5] [--threads 2]
prints one JSON line. The model is the one that `cargo xtask experiment mha` trains: RMS norms without weights, no
positions, squared ReLU. `--serve` answers requests instead; see turns.py.
"""
import argparse
import contextlib
import json
import resource
import statistics

import torch
import torch.nn as nn
import torch.nn.functional as F

from turns import serve, timed

PRESETS = {
    "paper": dict(layers=6, heads=8, d_model=512, head_dim=64, d_ff=2048, sequence=512, batch=8, vocabulary=50257),
    "small": dict(layers=2, heads=4, d_model=128, head_dim=32, d_ff=512, sequence=128, batch=8, vocabulary=8192),
}


class Block(nn.Module):
    def __init__(self, heads, kv_heads, d_model, head_dim, d_ff):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.q = nn.Linear(d_model, heads * head_dim, bias=False)
        self.k = nn.Linear(d_model, kv_heads * head_dim, bias=False)
        self.v = nn.Linear(d_model, kv_heads * head_dim, bias=False)
        self.o = nn.Linear(heads * head_dim, d_model, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x):
        batch, sequence, width = x.shape
        h = F.rms_norm(x, (width,))
        q, k, v = (
            projection(h).view(batch, sequence, heads, self.head_dim).transpose(1, 2)
            for projection, heads in [(self.q, self.heads), (self.k, self.kv_heads), (self.v, self.kv_heads)]
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.kv_heads != self.heads)
        x = x + self.o(y.transpose(1, 2).reshape(batch, sequence, -1))
        h = F.rms_norm(x, (width,))
        return x + self.down(F.relu(self.up(h)).square())


class Transformer(nn.Module):
    def __init__(self, layers, heads, kv_heads, d_model, head_dim, d_ff, vocabulary):
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary, d_model)
        self.blocks = nn.ModuleList([Block(heads, kv_heads, d_model, head_dim, d_ff) for _ in range(layers)])
        self.unembedding = nn.Linear(d_model, vocabulary, bias=False)
        for p in self.parameters():
            nn.init.normal_(p, std=0.02)

    def forward(self, inputs, targets):
        x = self.embedding(inputs)
        for block in self.blocks:
            x = block(x)
        logits = self.unembedding(F.rms_norm(x, x.shape[-1:]))
        return F.cross_entropy(logits.view(-1, self.vocabulary).float(), targets.reshape(-1))


def setup(layers, heads, d_model, head_dim, d_ff, sequence, batch, vocabulary, kv_heads=None, mode="f32", compile=False):
    """A function that does one training step on one batch of random tokens; it returns the loss."""
    model = Transformer(layers, heads, kv_heads or heads, d_model, head_dim, d_ff, vocabulary)
    if mode == "bf16":
        model = model.bfloat16()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    forward = torch.compile(model) if compile else model
    tokens = torch.randint(0, vocabulary, (batch, sequence + 1), generator=torch.Generator().manual_seed(1))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def step():
        autocast = torch.autocast("cpu", dtype=torch.bfloat16) if mode == "autocast" else contextlib.nullcontext()
        with autocast:
            loss = forward(inputs, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--mode", default="f32", choices=["f32", "autocast", "bf16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--gqa", action="store_true")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--serve", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    if a.serve:
        serve(setup)
        return
    shape = PRESETS[a.preset]
    step = setup(**shape, kv_heads=1 if a.gqa else None, mode=a.mode, compile=a.compile)
    times = timed(step, 1, a.steps)
    median = statistics.median(times)
    line = {"preset": a.preset, "mode": a.mode, "compile": a.compile, "gqa": a.gqa, "threads": a.threads}
    line |= {"median_ms": median, "min_ms": min(times), "max_ms": max(times)}
    line |= {"tokens_per_second": shape["batch"] * shape["sequence"] / median * 1e3}
    line |= {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
