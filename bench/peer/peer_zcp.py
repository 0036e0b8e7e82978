"""Training-free proxies in PyTorch, the way zero-cost-nas and NASLib compute them: the peer of `cellar score`.

    peer_zcp.py --proxy synflow,naswot,grad_norm [--threads 2] [--batch 64] INDEX...

Cells of NAS-Bench-201 by official index, 16 channels, five cells a resolution, PyTorch's default weights, random images.
Prints a JSON line for each proxy: cells a second (building the network included), and the scores. Written from the papers.
"""
import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import nn

OPS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


class ReluConvNorm(nn.Module):
    def __init__(self, n_in, n_out, size, stride=1):
        super().__init__()
        self.relu = nn.ReLU(inplace=False)
        self.conv = nn.Conv2d(n_in, n_out, size, stride=stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x):
        return self.norm(self.conv(self.relu(x)))


def operation(name, channels):
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return ReluConvNorm(channels, channels, 1 if name == "nor_conv_1x1" else 3)


class Cell(nn.Module):
    def __init__(self, ops, channels):
        super().__init__()
        self.edges = nn.ModuleDict()
        edge = 0
        for to in range(1, 4):
            for source in range(to):
                if ops[edge] != "none":
                    self.edges[f"{to}{source}"] = operation(ops[edge], channels)
                edge += 1

    def forward(self, x):
        nodes = [x]
        for to in range(1, 4):
            terms = [self.edges[f"{to}{s}"](nodes[s]) for s in range(to) if f"{to}{s}" in self.edges]
            nodes.append(sum(terms) if terms else torch.zeros_like(x))
        return nodes[3]


class Reduction(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.a = ReluConvNorm(n_in, n_out, 3, stride=2)
        self.b = ReluConvNorm(n_out, n_out, 3)
        self.side = nn.Sequential(nn.AvgPool2d(2, stride=2), nn.Conv2d(n_in, n_out, 1, bias=False))

    def forward(self, x):
        return self.b(self.a(x)) + self.side(x)


class Network(nn.Module):
    def __init__(self, ops, channels=16, cells=5, classes=10):
        super().__init__()
        layers = [nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
        for level in range(3):
            width = channels << level
            if level:
                layers.append(Reduction(width // 2, width))
            layers += [Cell(ops, width) for _ in range(cells)]
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        return self.classifier(self.layers(x).mean((2, 3)))


def ops_of(index):
    """The official order: digits of base 5 of the edges, as the table lists them."""
    return [OPS[int(digit)] for digit in CELLS[index]]


def weighted(net):
    return [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def grad_norm(net, x, y):
    F.cross_entropy(net(x), y).backward()
    return sum(m.weight.grad.norm().item() for m in weighted(net) if m.weight.grad is not None)


def synflow(net, x, y):
    net = net.double()
    for module in net.modules():  # batch norm is left out
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for value in net.state_dict().values():
            value.abs_()
    net(torch.ones_like(x[:1], dtype=torch.float64)).sum().backward()
    return sum((m.weight * m.weight.grad).abs().sum().item() for m in weighted(net) if m.weight.grad is not None)


def naswot(net, x, y):
    kernel = torch.zeros(len(x), len(x), dtype=torch.float64)

    def hook(_module, inputs, _output):
        code = (inputs[0].flatten(1) > 0).float()
        kernel.add_((code @ code.t() + (1 - code) @ (1 - code).t()).double())

    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(hook)
    with torch.no_grad():
        net(x)
    return torch.linalg.slogdet(kernel)[1].item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--proxy", default="synflow,naswot,grad_norm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--table", required=True, help="nasbench201.csv, for the operations of an index")
    parser.add_argument("cells", nargs="+", type=int)
    args = parser.parse_args()
    with open(args.table) as file:
        CELLS = [line.split(",")[2] for line in file][1:]
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    images, labels = torch.randn(args.batch, 3, 32, 32), torch.randint(10, (args.batch,))
    for name in args.proxy.split(","):
        proxy = {"synflow": synflow, "naswot": naswot, "grad_norm": grad_norm}[name]
        proxy(Network(ops_of(args.cells[0])), images, labels)  # what is set up once
        start = time.perf_counter()
        scores = [proxy(Network(ops_of(cell)), images, labels) for cell in args.cells]
        seconds = time.perf_counter() - start
        print(json.dumps({"proxy": name, "cells_per_s": len(scores) / seconds, "threads": args.threads,
                          "batch": args.batch, "torch": torch.__version__, "scores": scores}), flush=True)
