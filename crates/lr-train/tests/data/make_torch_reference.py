"""Makes torch_reference.json: loss and gradients of a tiny transformer, computed by PyTorch in f64.

Run: `python make_torch_reference.py > torch_reference.json` (made with torch 2.15.0 on CPU).

The model is written with PyTorch's own modules and autograd (F.rms_norm, F.scaled_dot_product_attention,
F.cross_entropy), independently of the Rust code; rotary embedding by products of complex numbers. Weights follow a formula, so that the file holds none:
element i of the k-th tensor, in the order and layout of `model::Parameters`, is

    0.5 sin(12.9898 (i + 1) + 78.233 (k + 1))

Of every gradient the file holds the sum of squares and each seventh element.
"""

import json
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
EPSILON = 2.0**-23
NAMES = ["embedding", "unembedding", "attention.q", "attention.k", "attention.v", "attention.o", "mlp.up", "mlp.down"]
SHAPE = dict(layers=2, heads=4, d_model=8, head_dim=3, d_ff=12, sequence=6, batch=2, vocabulary=13)


def banks(s):
    """The tensors in the layout of the banks: [layers, heads, d_model, head_dim] for the attention maps."""
    L, d, r = s["layers"], s["d_model"], s["head_dim"]
    shapes = [
        (s["vocabulary"], d),
        (s["vocabulary"], d),
        (L, s["heads"], d, r),
        (L, s["kv_heads"], d, r),
        (L, s["kv_heads"], d, r),
        (L, s["heads"], d, r),
        (L, s["d_ff"], d),
        (L, d, s["d_ff"]),
    ]
    out = []
    for k, shape in enumerate(shapes):
        i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
        out.append((0.5 * torch.sin(12.9898 * (i + 1) + 78.233 * (k + 1))).reshape(shape).requires_grad_())
    return out


def rope(x):
    """Column c and column c + head_dim / 2 are real and imaginary part of a number turned by its position."""
    half = x.shape[-1] // 2
    frequencies = 10000.0 ** (-torch.arange(half) / half)
    angles = torch.outer(torch.arange(x.shape[-2], dtype=torch.float64), frequencies)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], -1)


def loss(s, w, ids, targets, position, qk_norm):
    embedding, unembedding, q, k, v, o, up, down = w
    H, KV, r, d = s["heads"], s["kv_heads"], s["head_dim"], s["d_model"]
    b, t = ids.shape
    x = F.embedding(ids, embedding)
    for l in range(s["layers"]):
        h = F.rms_norm(x, (d,), eps=EPSILON)
        # nn.Linear weights [heads * head_dim, d_model]; head h owns rows h * head_dim .. (h + 1) * head_dim.
        linear = lambda bank: bank[l].transpose(1, 2).reshape(-1, d)
        qh = F.linear(h, linear(q)).view(b, t, H, r).transpose(1, 2)
        kh = F.linear(h, linear(k)).view(b, t, KV, r).transpose(1, 2)
        vh = F.linear(h, linear(v)).view(b, t, KV, r).transpose(1, 2)
        if qk_norm == "on":
            qh, kh = (F.rms_norm(p, (r,), eps=EPSILON) for p in (qh, kh))
        if position == "rope":
            qh, kh = rope(qh), rope(kh)
        y = F.scaled_dot_product_attention(qh, kh, vh, is_causal=True, enable_gqa=H != KV)
        x = x + F.linear(y.transpose(1, 2).reshape(b, t, H * r), linear(o).T)
        h = F.rms_norm(x, (d,), eps=EPSILON)
        x = x + F.linear(F.relu(F.linear(h, up[l])).square(), down[l])
    x = F.rms_norm(x, (d,), eps=EPSILON)
    return F.cross_entropy(F.linear(x, unembedding).view(b * t, -1), targets.view(-1), ignore_index=-1)


def case(kv_heads, head_dim=3, position="none", qk_norm="off"):
    s = dict(SHAPE, kv_heads=kv_heads, head_dim=head_dim)
    n = s["batch"] * s["sequence"]
    t = torch.arange(n)
    ids = ((7 * t + 3) % s["vocabulary"]).view(s["batch"], s["sequence"])
    targets = torch.where(t % s["sequence"] == s["sequence"] - 1, -1, (5 * t + 1) % s["vocabulary"])
    w = banks(s)
    value = loss(s, w, ids, targets, position, qk_norm)
    value.backward()
    gradients = [
        {"name": name, "sum_of_squares": x.grad.square().sum().item(), "every_seventh": x.grad.flatten()[::7].tolist()}
        for name, x in zip(NAMES, w)
    ]
    return {"shape": s, "position": position, "qk_norm": qk_norm, "loss": value.item(), "gradients": gradients}


CASES = [case(4), case(2), case(4, 4, position="rope"), case(2, 4, position="rope", qk_norm="on")]
print(json.dumps({"torch": torch.__version__.split("+")[0], "cases": CASES}, indent=None))
