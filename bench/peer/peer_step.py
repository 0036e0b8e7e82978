#!/usr/bin/env python3
"""Times one DrNAS search step of the NAS-Bench-201 supernet in PyTorch: a JSON line for each case.

A step: on one batch the architecture's half (sample, forward, backward, Adam on eta), on another the weights' half
(sample, forward, backward, clipping, SGD with momentum). Batches of random images lie ready in memory, so nothing but
the step is timed: that favours the peer. Peak memory is the process', so each case runs in a process of its own.

  peer_step.py                            all cases, eager
  peer_step.py --case k1 --best           only needed gradients, compiled cells, channels last
  peer_step.py --case k1 --valid          validation: a forward pass in evaluation mode on one batch
  peer_step.py --case k4 --serve          answers each line on stdin with the time of one step, to take turns with
                                          another program; at the end of stdin the usual line
"""
import argparse
import ctypes.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time

# name: 1/k of the channels mixed, live operations of each edge (None: all). The three kept ones are a fixed random
# choice: none, skip, 1x1, 3x3, pool live on 2, 4, 5, 4, 3 of the six edges.
CASES = {
    "k4": (4, None),
    "k2_keep3": (2, [[1, 2, 3], [0, 1, 2], [2, 3, 4], [1, 2, 3], [0, 1, 4], [2, 3, 4]]),
    "k1": (1, None),
    "path": (1, "path"),  # one operation an edge, drawn anew in each half-step
}


def options():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--case", choices=CASES)
    ap.add_argument("--batch", type=int, default=64)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--warmup", type=int, default=2)
    ap.add_argument("--steps", type=int, default=9)
    ap.add_argument("--best", action="store_true", help="only needed gradients, torch.compile per cell, channels last")
    ap.add_argument("--valid", action="store_true", help="time validation instead of a search step")
    ap.add_argument("--serve", action="store_true")
    ap.add_argument("--allocator", choices=["auto", "malloc", "tcmalloc"], default="auto",
                    help="auto: tcmalloc (lower memory) where the system has it")
    return ap.parse_args()


def choose_allocator(wish):
    """tcmalloc has to be there before Python is: start again with it preloaded. Says which one is in use."""
    library = ctypes.util.find_library("tcmalloc_minimal") or ctypes.util.find_library("tcmalloc")
    if wish == "malloc":
        return "malloc"
    if library is None:
        if wish == "tcmalloc":
            sys.exit("peer_step: no tcmalloc here; Debian's package is libtcmalloc-minimal4")
        return "malloc"
    if library not in os.environ.get("LD_PRELOAD", ""):
        preload = " ".join(filter(None, [library, os.environ.get("LD_PRELOAD")]))
        os.environ.update(LD_PRELOAD=preload, TCMALLOC_RELEASE_RATE="0")
        os.execv(sys.executable, [sys.executable] + sys.argv)
    return "tcmalloc"


class Step:
    def __init__(self, a, torch, net_module):
        self.torch, self.best, self.valid = torch, a.best, a.valid
        k, live = CASES[a.case]
        torch.manual_seed(1)
        torch.set_num_threads(a.threads)
        torch.set_flush_denormal(True)
        layout = torch.channels_last if a.best else torch.contiguous_format
        net = net_module.Supernet(channels=16, cells=5, k=k, classes=10).to(memory_format=layout)
        self.sample = net.draw_path if live == "path" else net.sample
        if live and live != "path":
            net.keep(live)
        if a.best:
            torch._dynamo.config.recompile_limit = 256
            # A cell whose path changes each time would be compiled anew each time: there its operations are compiled.
            for block in [c for e in net.edges() for c in e.convolutions()] if live == "path" else net.body:
                block.compile(dynamic=False)
        self.net, self.parameters = net.train(not a.valid), net.weights()
        self.sgd = torch.optim.SGD(self.parameters, lr=0.025, momentum=0.9, weight_decay=3e-4)
        self.adam = torch.optim.Adam([net.eta], lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
        self.batches = [
            (torch.randn(a.batch, 3, 32, 32).contiguous(memory_format=layout), torch.randint(10, (a.batch,)))
            for _ in range(4)
        ]
        self.at = 0
        self.loss = float("nan")

    def half(self, optimizer, architecture):
        images, labels = self.batches[self.at % len(self.batches)]
        self.at += 1
        if self.best:
            self.net.eta.requires_grad_(architecture)
            for p in self.parameters:
                p.requires_grad_(not architecture)
        loss = self.torch.nn.functional.cross_entropy(self.net(images, self.sample()), labels)
        loss.backward()
        if not architecture:
            self.torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
        optimizer.step()
        self.sgd.zero_grad()
        self.adam.zero_grad()
        self.loss = loss.item()

    def __call__(self):
        start = time.perf_counter()
        if self.valid:
            images, labels = self.batches[0]
            with self.torch.no_grad():
                theta = self.net.concentration() / self.net.concentration().sum(dim=1, keepdim=True)
                self.loss = self.torch.nn.functional.cross_entropy(self.net(images, theta), labels).item()
            return 1e3 * (time.perf_counter() - start)
        self.half(self.adam, architecture=True)
        self.half(self.sgd, architecture=False)
        return 1e3 * (time.perf_counter() - start)


def main():
    a = options()
    if a.case is None:
        if a.serve:
            sys.exit("peer_step: --serve needs a --case")
        for case in CASES:
            subprocess.run([sys.executable, *sys.argv, "--case", case], check=True)
        return
    allocator = choose_allocator(a.allocator)
    import torch

    import peer_net

    step = Step(a, torch, peer_net)
    for _ in range(a.warmup):
        step()
    if a.serve:
        print(json.dumps({"case": a.case, "ready": True}), flush=True)
        times = []
        for _ in sys.stdin:
            times.append(step())
            print(json.dumps({"ms": round(times[-1], 3)}), flush=True)
    else:
        times = [step() for _ in range(a.steps)]
    ms = statistics.median(times) if times else float("nan")
    print(
        json.dumps(
            {
                "case": "nb201_" + a.case + ("_valid" if a.valid else ""),
                "ms": round(ms, 2),
                "images_per_s": round((1e3 if a.valid else 2e3) * a.batch / ms, 1),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "min_ms": round(min(times, default=ms), 2),
                "mode": "best" if a.best else "eager",
                "steps": len(times),
                "batch": a.batch,
                "threads": a.threads,
                "params": sum(p.numel() for p in step.net.parameters()),
                "allocator": allocator,
                "torch": torch.__version__,
                "loss": round(step.loss, 4),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
