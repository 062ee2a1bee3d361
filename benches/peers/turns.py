"""Answers a bench that asks for steps in turns: one JSON object a line on standard input and output.

    {"setup": {...}}                    -> {"ready": true}        what is set up is the script's affair
    {"turn": {"warm": 1, "steps": 3}}   -> {"ms": [..., ...]}     milliseconds of each step after the warm ones
    {"memory": {}}                      -> {"peak_rss_mb": ...}   largest resident memory so far, 10^6 bytes
    anything that goes wrong            -> {"error": "..."}

A turn that fails is tried once more on what a new setup gives: torch.linalg.svd sometimes does not converge on a matrix
whose singular values are all nearly 1, which is what a polar retraction asks of it.

The end of standard input ends the program.
"""
import json
import resource
import sys
import time

import torch


def timed(step, warm, steps):
    """Milliseconds of each of `steps` calls, after `warm` calls that do not count."""
    for _ in range(warm):
        step()
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - started))
    return times


def serve(setup):
    """Answers until standard input ends. `setup(**arguments)` returns a function that does one step."""
    step, what = None, None
    for line in sys.stdin:
        try:
            (kind, arguments), = json.loads(line).items()
            if kind == "setup":
                step, what = None, arguments
                step = setup(**what)
                answer = {"ready": True}
            elif kind == "turn":
                try:
                    times = timed(step, **arguments)
                except torch.linalg.LinAlgError as error:
                    print(f"{error}\ntried once more on other random numbers", file=sys.stderr)
                    step = setup(**what)
                    times = timed(step, **arguments)
                answer = {"ms": times}
            elif kind == "memory":
                answer = {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}
            else:
                answer = {"error": f"unknown request {kind}"}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
