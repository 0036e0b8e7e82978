#!/usr/bin/env python3
"""Times the inference of a discrete NAS-Bench-201 network in PyTorch: a JSON line.

The network (C=16, N=5, 3x32x32 images, 10 classes) is in evaluation mode, without gradients, its images lie ready in
memory. `--best` is what an expert makes of it: channels last, the whole network through torch.compile; with `--freeze`
its weights are constants too, so that batch norms are folded into the convolutions.

  peer_infer.py --batch 256 --best            one case
  peer_infer.py --batch 1 --best --serve      answers each line on stdin with the time of a pass, to take turns with
                                              another program; at the end of stdin the usual line
"""
import argparse
import json
import os
import resource
import statistics
import sys
import time

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def options():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--batch", type=int, default=256)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--repeat", type=int, default=1, help="passes that one timing takes the mean of")
    ap.add_argument("--steps", type=int, default=15)
    ap.add_argument("--best", action="store_true", help="compiled, channels last")
    ap.add_argument("--freeze", action="store_true", help="with --best: weights are constants")
    ap.add_argument("--cell", default=CELL)
    ap.add_argument("--serve", action="store_true")
    return ap.parse_args()


def network(cell, torch, F):
    nn = torch.nn

    class ReluConvNorm(nn.Module):
        def __init__(self, n_in, n_out, size, stride=1):
            super().__init__()
            self.conv = nn.Conv2d(n_in, n_out, size, stride=stride, padding=size // 2, bias=False)
            self.norm = nn.BatchNorm2d(n_out)

        def forward(self, x):
            return self.norm(self.conv(F.relu(x)))

    class Cell(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.plan, self.layers = [], nn.ModuleList()
            for to, node in enumerate(cell.split("+"), start=1):
                for edge in node.strip("|").split("|"):
                    op, source = edge.rsplit("~", 1)
                    if op.startswith("nor_conv"):
                        self.layers.append(ReluConvNorm(c, c, 1 if op.endswith("1x1") else 3))
                    self.plan.append((to, int(source), op))

        def forward(self, x):
            nodes, layers = [x], iter(self.layers)
            for to, source, op in self.plan:
                if op.startswith("nor_conv"):
                    y = next(layers)(nodes[source])
                elif op == "avg_pool_3x3":
                    y = F.avg_pool2d(nodes[source], 3, stride=1, padding=1, count_include_pad=False)
                elif op == "skip_connect":
                    y = nodes[source]
                else:
                    continue
                if to < len(nodes):
                    nodes[to] = nodes[to] + y
                else:
                    nodes += [torch.zeros_like(x)] * (to - len(nodes)) + [y]
            nodes += [torch.zeros_like(x)] * (4 - len(nodes))
            return nodes[3]

    class Reduction(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.a, self.b = ReluConvNorm(c, 2 * c, 3, 2), ReluConvNorm(2 * c, 2 * c, 3)
            self.shortcut = nn.Conv2d(c, 2 * c, 1, bias=False)

        def forward(self, x):
            return self.b(self.a(x)) + self.shortcut(F.avg_pool2d(x, 2))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
            cells = [Cell(16) for _ in range(5)] + [Reduction(16)] + [Cell(32) for _ in range(5)]
            self.body = nn.Sequential(*cells, Reduction(32), *[Cell(64) for _ in range(5)])
            self.norm, self.classifier = nn.BatchNorm2d(64), nn.Linear(64, 10)

        def forward(self, x):
            return self.classifier(F.relu(self.norm(self.body(self.stem(x)))).mean(dim=(2, 3)))

    return Net()


def main():
    a = options()
    if a.freeze:
        os.environ["TORCHINDUCTOR_FREEZING"] = "1"
    import torch
    import torch.nn.functional as F

    torch.manual_seed(1)
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    layout = torch.channels_last if a.best else torch.contiguous_format
    net = network(a.cell, torch, F).to(memory_format=layout).eval()
    images = torch.randn(a.batch, 3, 32, 32).contiguous(memory_format=layout)
    if a.best:
        net = torch.compile(net, dynamic=False)

    def step():
        start = time.perf_counter()
        for _ in range(a.repeat):
            net(images)
        return 1e3 * (time.perf_counter() - start) / a.repeat

    with torch.no_grad():
        for _ in range(3):
            step()
        if a.serve:
            print(json.dumps({"ready": True}), flush=True)
            times = []
            for _ in sys.stdin:
                times.append(step())
                print(json.dumps({"ms": round(times[-1], 4)}), flush=True)
        else:
            times = [step() for _ in range(a.steps)]
    ms = statistics.median(times) if times else float("nan")
    print(
        json.dumps(
            {
                "case": f"nb201_discrete_b{a.batch}",
                "ms": round(ms, 4),
                "images_per_s": round(1e3 * a.batch / ms, 1),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "mode": ("best, frozen" if a.freeze else "best") if a.best else "eager",
                "threads": a.threads,
                "torch": torch.__version__,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
