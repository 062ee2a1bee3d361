"""One step of the reference optimizers of torch_optimizers.py, and of torch.optim.AdamW, in f32.

python3 torch_optim.py [--cases fixed-embedded,...] [--nu 0,0.875] [--problems 96] [--m 512] [--n 512] [--r 64]
                       [--steps 15] [--threads 2] [--normalize metric]
prints one JSON line a case. A case whose name begins with grid- is a batch of grids of 8 x 1 blocks (12 of them
unless --problems says otherwise). `--serve` answers requests instead; see turns.py.
"""
import argparse
import json
import statistics

import torch

import torch_optimizers as reference
from turns import serve, timed

GRID_BLOCKS = 8
LEARNING_RATE = 2.0 ** -8


def orthonormal(*shape):
    return torch.linalg.qr(torch.randn(*shape))[0].contiguous()


def setup(case, nu, problems, m, n, r, grid, normalize="metric"):
    """A function that does one step of `case` on random orthonormal factors with a constant gradient."""
    left, right = ((problems, GRID_BLOCKS, m, r), (problems, 1, n, r)) if grid else ((problems, m, r), (problems, n, r))
    a, b = orthonormal(*left), orthonormal(*right)
    ga, gb = torch.randn_like(a) * 1e-3, torch.randn_like(b) * 1e-3
    if case == "adamw":
        parameters = [torch.nn.Parameter(a), torch.nn.Parameter(b)]
        parameters[0].grad, parameters[1].grad = ga, gb
        return torch.optim.AdamW(parameters, lr=LEARNING_RATE, fused=True).step
    optimizer = reference.ALL[case](LEARNING_RATE, momentum=nu, normalize=normalize)
    point = [a, b, optimizer.init_state(a, b)]

    def step():
        with torch.no_grad():
            point[:] = optimizer.step(point[0], point[1], ga, gb, point[2])

    return step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", default=",".join(["adamw", *reference.ALL]))
    parser.add_argument("--nu", default="0,0.875")
    parser.add_argument("--problems", type=int)
    parser.add_argument("--m", type=int, default=512)
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--r", type=int, default=64)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--normalize", default="metric")
    parser.add_argument("--serve", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    if a.serve:
        serve(setup)
        return
    for case in a.cases.split(","):
        grid = case.startswith("grid-")
        problems = a.problems or (12 if grid else 96)
        for nu in [0.0] if case == "adamw" else [float(x) for x in a.nu.split(",")]:
            times = timed(setup(case, nu, problems, a.m, a.n, a.r, grid, a.normalize), 1, a.steps)
            line = {"case": case, "nu": nu, "problems": problems, "m": a.m, "n": a.n, "r": a.r, "threads": a.threads}
            line |= {"median_ms": statistics.median(times), "min_ms": min(times), "max_ms": max(times)}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
