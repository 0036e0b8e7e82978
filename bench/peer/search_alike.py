#!/usr/bin/env python3
"""Is cellar's search the method, and not only its steps? The same recipe, seed by seed, in cellar and in PyTorch
(peer_search.py, written from the paper), then every cell found, and permutation tests of what the searches came to.

The two share no random numbers, so equal seeds give other searches; what must agree is the distribution over seeds.
Each quantity (losses, accuracies, entropy and gradient norm at the end of each stage, each concentration at the end
of the first stage, where nothing is pruned yet, and the found cells' table accuracies) gets the exact two-sided
permutation test of the difference of means over all splits of the runs into two groups; Holm's correction says
whether any of them is too far off to be chance. The benchmark table is asked after all searches have ended.

  search_alike.py --cellar build/cellar --recipe recipes/demo.yaml --out DIR [--seeds 8]
Runs what DIR does not hold yet, then prints Markdown. PyTorch is that of the Python that runs this script.
"""
import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
EDGES = ["1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"]
OPS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


def options():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--cellar", default="build/cellar")
    ap.add_argument("--recipe", default="recipes/demo.yaml")
    ap.add_argument("--data", default="data/cifar10-mini")
    ap.add_argument("--out", type=pathlib.Path, required=True)
    ap.add_argument("--seeds", type=int, default=8, help="seeds 1 .. this")
    ap.add_argument("--threads", type=int, default=2)
    return ap.parse_args()


def peer_flags(recipe):
    """The peer's flags for a resolved recipe; refuses what the peer cannot do."""
    search, train, data = recipe["search"], recipe["train"], recipe["data"]
    method, space = recipe["method"], recipe["space"]
    fixed = [(search["method"], "drnas"), (search["space"], "nb201"), (method["reg"], "l2"), (method["draws"], 1),
             (train["lr_restart"], False), (train["lr_per_step"], False), (train["nesterov"], False), (data["cutout"], 0),
             (data["split"], "halves"), (data["limit_per_class"], 0), (method["clip"], 0)]  # fmt: skip
    for found, wanted in fixed:
        if found != wanted:
            sys.exit(f"search_alike: the peer does {wanted!r}, the recipe says {found!r}")
    stages = ",".join(f"{s['k']}:{s['ops'] or len(OPS)}:{s['epochs']}:{s['warmup']}" for s in search["stages"])
    flags = {"stages": stages, "limit": data["limit"], "channels": space["c"], "cells": space["n"], "batch": train["batch"],
             "lr": train["lr"], "lr-min": train["lr_min"], "momentum": train["momentum"], "weight-decay": train["weight_decay"],
             "clip": train["clip"], "arch-lr": method["lr"], "arch-decay": method["reg_scale"], "pad": data["pad"]}  # fmt: skip
    text = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return text + ["--clip-arch"] * train["clip_arch"] + ["--no-flip"] * (not data["flip"])


def run_missing(a, recipe):
    """Both sides of a seed in turn, so that neither has the quieter machine."""
    a.out.mkdir(parents=True, exist_ok=True)
    for seed in range(1, a.seeds + 1):
        ours, theirs = a.out / f"cellar-{seed}", a.out / f"peer-{seed}.jsonl"
        if not ours.exists():
            subprocess.run([a.cellar, "--quiet", "search", a.recipe, "--run", str(ours), "--threads", str(a.threads),
                            "--set", f"search.seed={seed}"], check=True)  # fmt: skip
        if not theirs.exists():
            part = theirs.with_suffix(".part")
            with part.open("w") as out:
                subprocess.run([sys.executable, str(HERE / "peer_search.py"), "--data", a.data, "--seed", str(seed), "--threads",
                                str(a.threads), *peer_flags(recipe)], check=True, stdout=out)  # fmt: skip
            part.rename(theirs)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def p_value(x, y):
    """Exact permutation test of the difference of means, two-sided."""
    both, n = x + y, len(x)
    total, seen = sum(both), abs(sum(x) / n - sum(y) / len(y))
    count = far = 0
    for chosen in itertools.combinations(range(len(both)), n):
        part = sum(both[i] for i in chosen)
        count += 1
        far += abs(part / n - (total - part) / len(y)) >= seen - 1e-12
    return far / count


def accuracies(a, genotype):
    text = subprocess.run([a.cellar, "query", genotype, "--json"], check=True, capture_output=True, text=True).stdout
    found = json.loads(text)[0]["accuracy"]
    return [found[f"{name}_test_200"]["value"] for name in ("cifar10", "cifar100", "imagenet16")]


def main():
    a = options()
    shown = subprocess.run([a.cellar, "config", "show", a.recipe, "--json"], check=True, capture_output=True, text=True)
    recipe = json.loads(shown.stdout)
    run_missing(a, recipe)
    sides = {
        "cellar": [read_lines(a.out / f"cellar-{s}" / "metrics.jsonl") for s in range(1, a.seeds + 1)],
        "PyTorch": [read_lines(a.out / f"peer-{s}.jsonl") for s in range(1, a.seeds + 1)],
    }
    ends = list(itertools.accumulate(s["epochs"] for s in recipe["search"]["stages"]))
    for name, runs in sides.items():
        for seed, run in enumerate(runs, 1):
            if len(run) != ends[-1]:
                sys.exit(f"search_alike: {name}, seed {seed}: {len(run)} epochs, expected {ends[-1]}")
    print("| seed | side | cell | C10 | C100 | IN16 |\n|-|-|-|-|-|-|")
    worth = {name: [] for name in sides}
    for seed in range(a.seeds):
        for name, runs in sides.items():
            cell = runs[seed][-1]["genotype"]
            worth[name].append(accuracies(a, cell))
            print(f"| {seed + 1} | {name} | `{cell}` |" + "".join(f" {v:.2f} |" for v in worth[name][-1]))
    rows = []
    for i, name in enumerate(("CIFAR-10", "CIFAR-100", "ImageNet16-120")):
        rows.append((f"{name} test accuracy of the cell", *([w[i] for w in worth[s]] for s in sides)))
    for stage, end in enumerate(ends):
        for key in ("train_loss", "train_acc", "valid_loss", "valid_acc", "entropy", "grad_norm"):
            rows.append((f"{key}, end of stage {stage}", *([run[end - 1][key] for run in sides[s]] for s in sides)))
    for e, edge in enumerate(EDGES):
        for o, op in enumerate(OPS):
            rows.append((f"concentration {edge} {op}, end of stage 0",
                         *([run[ends[0] - 1]["concentration"][e][o] for run in sides[s]] for s in sides)))  # fmt: skip
    tested = [(p_value(x, y), name, x, y) for name, x, y in rows]
    print("\n| quantity | cellar | PyTorch | p |\n|-|-|-|-|")
    for p, name, x, y in tested:
        if not name.startswith("concentration") or p < 0.05:
            print(f"| {name} | {statistics.mean(x):.4f} ± {statistics.stdev(x):.4f} | {statistics.mean(y):.4f} ± "
                  f"{statistics.stdev(y):.4f} | {p:.3f} |")  # fmt: skip
    low = sum(p < 0.05 for p, *_ in tested)
    ordered = sorted(tested)
    print(f"\n{len(tested)} quantities; {low} with p < 0.05 ({0.05 * len(tested):.1f} expected by chance if all were independent);"
          f" smallest p {ordered[0][0]:.4f} ({ordered[0][1]}), after Holm's correction {min(1, ordered[0][0] * len(ordered)):.3f}.")  # fmt: skip


if __name__ == "__main__":
    main()
