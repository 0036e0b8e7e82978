#!/usr/bin/env python3
"""A whole DrNAS search on NAS-Bench-201 in PyTorch: what cellar's search is compared with, seed by seed.

Written from the paper (Chen et al., arXiv:2006.10355, sections 3.1, 3.2, 3.4) with the protocol of cellar's recipes:
each step an architecture half on a batch drawn afresh and a weights half on the next batch of a shuffled epoch, the
last incomplete batch left out; the first half of the training images feeds the weights, the second the architecture;
both are cropped and mirrored. Concentration ELU(eta) + 1, Adam with betas (0.5, 0.999) and L2 on eta; SGD with
momentum, weight decay, clipping, cosine by epoch. Between stages each edge keeps its best operations (the others' eta
becomes 0), and the channels in the mixed operations widen (Net2Wider: weights, momentum and batch-norm statistics
copied from channels drawn at random). In the first epochs of a stage the architecture rests.

Prints a JSON line for each epoch, with the keys of cellar's metrics.jsonl. Neither the test images nor a benchmark
table are read.

  peer_search.py --data cifar-10-batches-bin --stages 4:5:50:10,2:3:50:10     the paper's progressive search
  peer_search.py --data data/cifar10-mini --cells 1 --stages 4:5:20:4,2:3:20:4 --arch-lr 0.003     a small one
"""
import argparse
import json
import math
import pathlib
import resource
import time

import torch
import torch.nn.functional as F

import peer_net


def stage_list(text):
    """K:OPS:EPOCHS:WARMUP,...: 1/K of the channels, operations kept on each edge, epochs, those in which eta rests."""
    stages = [tuple(int(x) for x in part.split(":")) for part in text.split(",")]
    if any(len(s) != 4 or min(s[:3]) < 1 or s[3] < 0 or s[1] > len(peer_net.OPS) for s in stages):
        raise argparse.ArgumentTypeError(f"expected K:OPS:EPOCHS:WARMUP,..., found {text!r}")
    return stages


def options():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", required=True,
                    help="CIFAR-10, binary: a file, or a directory with train.bin or data_batch_*.bin")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--stages", type=stage_list, default="4:5:50:10,2:3:50:10", metavar="K:OPS:EPOCHS:WARMUP,...")
    ap.add_argument("--limit", type=int, default=0, help="use only the first so many training images; 0: all")
    ap.add_argument("--channels", type=int, default=16)
    ap.add_argument("--cells", type=int, default=5, help="N, cells per resolution")
    ap.add_argument("--batch", type=int, default=64)
    ap.add_argument("--lr", type=float, default=0.025)
    ap.add_argument("--lr-min", type=float, default=0.001)
    ap.add_argument("--momentum", type=float, default=0.9)
    ap.add_argument("--weight-decay", type=float, default=3e-4)
    ap.add_argument("--clip", type=float, default=5.0)
    ap.add_argument("--clip-arch", action="store_true", help="eta's gradient counts in the clipped norm")
    ap.add_argument("--arch-lr", type=float, default=3e-4)
    ap.add_argument("--arch-decay", type=float, default=1e-3, help="L2 on eta")
    ap.add_argument("--pad", type=int, default=4)
    ap.add_argument("--no-flip", action="store_true")
    ap.add_argument("--threads", type=int, default=2)
    return ap.parse_args()


def read_images(path, limit):
    """Records of one label byte and 3072 bytes (R, G, B planes of 32 x 32)."""
    path = pathlib.Path(path)
    files = [path] if path.is_file() else sorted(path.glob("train.bin")) or sorted(path.glob("data_batch_*.bin"))
    if not files:
        raise SystemExit(f"peer_search: {path}: neither train.bin nor data_batch_*.bin is there")
    raw = bytearray(b"".join(file.read_bytes() for file in files))
    if not raw or len(raw) % 3073:
        raise SystemExit(f"peer_search: {path}: {len(raw)} bytes are no multiple of 3073")
    records = torch.frombuffer(raw, dtype=torch.uint8).view(-1, 3073)
    labels, images = records[:, 0].long(), records[:, 1:].reshape(-1, 3, 32, 32)
    scaled = images.double() / 255  # over all training images, limited or not
    mean, std = scaled.mean(dim=(0, 2, 3)), scaled.std(dim=(0, 2, 3), unbiased=False)
    if limit:
        labels, images = labels[:limit], images[:limit]
    return images, labels, mean.float().view(1, 3, 1, 1), std.float().view(1, 3, 1, 1)


class Batches:
    """Random crops of the zero-padded image, mirrored by half, then normalised."""

    def __init__(self, images, labels, mean, std, a):
        self.images, self.labels, self.mean, self.std = F.pad(images, [a.pad] * 4), labels, mean, std
        self.pad, self.flip, self.size = a.pad, not a.no_flip, images.shape[-1]

    def __call__(self, index):
        n, s = len(index), self.size
        offset = torch.randint(2 * self.pad + 1, (2, n, 1))
        along = torch.arange(s)
        rows, columns = offset[0] + along, offset[1] + along
        if self.flip:
            mirrored = torch.rand(n, 1) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        x = self.images[index[:, None, None, None], torch.arange(3)[None, :, None, None], rows[:, None, :, None],
                        columns[:, None, None, :]]
        return (x.float() / 255 - self.mean) / self.std, self.labels[index]


def prune(net, keep):
    """Each edge keeps the live operations with the largest eta."""
    with torch.no_grad():
        live = []
        for row, ops in enumerate(net.live):
            live.append(sorted(ops, key=lambda op: -net.eta[row, op].item())[:keep])
            for op in range(len(peer_net.OPS)):
                if op not in live[row]:
                    net.eta[row, op] = 0
    net.keep(live)


def widen(net, momentum, k):
    """From the present 1/K of the channels to 1/k: new channels are copies of old ones drawn at random. `momentum` maps
    a parameter to its buffer; the new parameters get theirs."""
    for edge in net.edges():
        for block in edge.convolutions():
            have, want = edge.part, edge.part * edge.k // k
            inputs = torch.cat([torch.arange(have), torch.randint(have, (want - have,))])
            outputs = torch.cat([torch.arange(have), torch.randint(have, (want - have,))])
            old = block.conv.weight
            block.conv = torch.nn.Conv2d(want, want, old.shape[-1], padding=old.shape[-1] // 2, bias=False)
            with torch.no_grad():
                block.conv.weight.copy_(old[outputs][:, inputs])
            if old in momentum:
                momentum[block.conv.weight] = momentum.pop(old)[outputs][:, inputs].clone()
            norm = torch.nn.BatchNorm2d(want, affine=False)
            norm.running_mean.copy_(block.norm.running_mean[outputs])
            norm.running_var.copy_(block.norm.running_var[outputs])
            block.norm = norm
        edge.k, edge.part = k, edge.part * edge.k // k


def make_sgd(net, momentum, a):
    sgd = torch.optim.SGD(net.weights(), lr=a.lr, momentum=a.momentum, weight_decay=a.weight_decay)
    for p, buffer in momentum.items():
        sgd.state[p]["momentum_buffer"] = buffer
    return sgd


def next_stage(net, sgd, k, ops, a):
    momentum = {p: s["momentum_buffer"] for p, s in sgd.state.items() if s.get("momentum_buffer") is not None}
    if ops < len(net.live[0]):
        prune(net, ops)
    if k != net.edges()[0].k:
        widen(net, momentum, k)
    return make_sgd(net, momentum, a)


class Meter:
    def __init__(self):
        self.loss = self.correct = self.images = 0

    def add(self, loss, logits, labels):
        self.loss += loss.item() * len(labels)
        self.correct += (logits.argmax(dim=1) == labels).sum().item()
        self.images += len(labels)

    def result(self):
        return (self.loss / self.images, 100 * self.correct / self.images) if self.images else (None, None)


def entropy(net):
    mean = net.concentration().detach().double()
    if net.mask is not None:
        mean = mean * net.mask
    mean = mean / mean.sum(dim=1, keepdim=True)
    return -torch.special.xlogy(mean, mean).sum(dim=1).mean().item()


def run_epoch(net, sgd, adam, batches, n, a, active):
    train, valid, norms = Meter(), Meter(), []
    parameters = net.weights()
    order = torch.randperm(n[0])
    for begin in range(0, n[0] - a.batch + 1, a.batch):
        if active:
            x, y = batches(n[0] + torch.randperm(n[1])[: a.batch])
            logits = net(x, net.sample())
            loss = F.cross_entropy(logits, y)
            loss.backward()
            adam.step()
            sgd.zero_grad()
            adam.zero_grad()
            valid.add(loss, logits, y)
        x, y = batches(order[begin : begin + a.batch])
        logits = net(x, net.sample())
        loss = F.cross_entropy(logits, y)
        loss.backward()
        clipped = parameters + [net.eta] if a.clip_arch else parameters
        norms.append(torch.nn.utils.clip_grad_norm_(clipped, a.clip if a.clip > 0 else math.inf).item())
        sgd.step()
        sgd.zero_grad()
        adam.zero_grad()
        train.add(loss, logits, y)
        if not math.isfinite(train.loss):
            raise SystemExit("peer_search: the loss is not finite")
    return train, valid, sum(norms) / len(norms)


def main():
    a = options()
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    images, labels, mean, std = read_images(a.data, a.limit)
    n = [len(labels) // 2, len(labels) - len(labels) // 2]
    if min(n) < a.batch:
        raise SystemExit(f"peer_search: {len(labels)} images make no two batches of {a.batch}")
    batches = Batches(images, labels, mean, std, a)
    first_k, first_ops = a.stages[0][:2]
    net = peer_net.Supernet(a.channels, a.cells, first_k, classes=10).train()
    if first_ops < len(peer_net.OPS):
        prune(net, first_ops)
    sgd = make_sgd(net, {}, a)
    adam = torch.optim.Adam([net.eta], lr=a.arch_lr, betas=(0.5, 0.999), weight_decay=a.arch_decay)
    total, epoch = sum(s[2] for s in a.stages), 0
    for stage, (k, ops, epochs, warmup) in enumerate(a.stages):
        if stage:
            sgd = next_stage(net, sgd, k, ops, a)
        for at in range(epochs):
            started = time.perf_counter()
            lr = a.lr_min + (a.lr - a.lr_min) * (1 + math.cos(math.pi * epoch / total)) / 2
            sgd.param_groups[0]["lr"] = lr
            train, valid, norm = run_epoch(net, sgd, adam, batches, n, a, at >= warmup)
            seconds = time.perf_counter() - started
            mask = torch.ones(len(peer_net.EDGES), len(peer_net.OPS)) if net.mask is None else net.mask
            line = {
                "epoch": epoch, "stage": stage, "k": k, "ops_kept": len(net.live[0]),
                "train_loss": train.result()[0], "train_acc": train.result()[1],
                "valid_loss": valid.result()[0], "valid_acc": valid.result()[1],
                "lr": lr, "arch_lr": a.arch_lr if at >= warmup else 0.0, "arch_active": at >= warmup,
                "grad_norm": norm, "entropy": entropy(net), "genotype": net.genotype(),
                "concentration": (net.concentration().detach() * mask).tolist(), "live": mask.int().tolist(),
                "seconds": round(seconds, 3), "images_per_s": round((train.images + valid.images) / seconds, 1),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            }  # fmt: skip
            print(json.dumps(line), flush=True)
            epoch += 1


if __name__ == "__main__":
    main()
