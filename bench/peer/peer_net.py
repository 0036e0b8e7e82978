"""NAS-Bench-201 as a supernet in PyTorch, the way search code is usually written: the peer of cellar's engine.

Space: Dong and Yang, arXiv:2001.00326. Mixing weights, partial channels, pruning, widening: Chen et al.,
arXiv:2006.10355. Written from the papers. Batch norm in the search cells has no affine part, elsewhere it has.
"""
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Dirichlet

OPS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
EDGES = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]  # (to, from); rows of the architecture parameters


class ReluConvNorm(nn.Module):
    def __init__(self, n_in, n_out, size, stride, affine):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, size, stride=stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(n_out, affine=affine)

    def forward(self, x):
        return self.norm(self.conv(F.relu(x)))


class Edge(nn.Module):
    """One edge: the live operations on the first 1/k of the channels, weighted and added up; the rest bypasses them."""

    def __init__(self, channels, k):
        super().__init__()
        self.k, self.part = k, channels // k
        self.conv1 = ReluConvNorm(self.part, self.part, 1, 1, affine=False)
        self.conv3 = ReluConvNorm(self.part, self.part, 3, 1, affine=False)

    def operation(self, op, x):
        if op == 0:
            return x * 0.0
        if op == 1:
            return x
        if op == 4:
            return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return self.conv1(x) if op == 2 else self.conv3(x)

    def forward(self, x, weights, live):
        first = x if self.k == 1 else x[:, : self.part]
        terms = (weights[op] * self.operation(op, first) for op in live)
        mixed = next(terms)
        for term in terms:
            mixed = mixed + term
        if len(live) == 1:  # GDAS: the operations that were not drawn take part as their weight, 0
            mixed = mixed + (weights.sum() - weights[live[0]])
        if self.k == 1:
            return mixed
        n, c, h, w = x.shape
        both = torch.cat([mixed, x[:, self.part :]], dim=1)
        return both.view(n, self.k, self.part, h, w).transpose(1, 2).reshape(n, c, h, w)

    def convolutions(self):
        return [self.conv1, self.conv3]


class Cell(nn.Module):
    def __init__(self, channels, k):
        super().__init__()
        self.edges = nn.ModuleList(Edge(channels, k) for _ in EDGES)

    def forward(self, x, weights, live):
        nodes = {0: x}
        for row, (to, source) in enumerate(EDGES):
            y = self.edges[row](nodes[source], weights[row], live[row])
            nodes[to] = nodes[to] + y if to in nodes else y
        return nodes[3]


class Reduction(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.a = ReluConvNorm(n_in, n_out, 3, 2, affine=True)
        self.b = ReluConvNorm(n_out, n_out, 3, 1, affine=True)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x):
        return self.b(self.a(x)) + self.shortcut(F.avg_pool2d(x, 2))


class Supernet(nn.Module):
    """`live`: for each edge the operations that run. `eta`: the architecture parameters, concentration ELU(eta) + 1."""

    def __init__(self, channels, cells, k, classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        body, width = [], channels
        for level in range(3):
            if level:
                body.append(Reduction(width, 2 * width))
                width *= 2
            body += [Cell(width, k) for _ in range(cells)]
        self.body = nn.ModuleList(body)
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        self.eta = nn.Parameter(1e-3 * torch.randn(len(EDGES), len(OPS)))
        self.live = [list(range(len(OPS))) for _ in EDGES]
        self.mask = None

    def weights(self):
        return [p for p in self.parameters() if p is not self.eta]

    def concentration(self):
        return F.elu(self.eta) + 1

    def keep(self, live):
        """Only these operations stay, on each edge; a sample is zeroed elsewhere and scaled back to sum one."""
        self.live = [sorted(row) for row in live]
        self.mask = torch.zeros(len(EDGES), len(OPS))
        for row, ops in enumerate(self.live):
            self.mask[row, ops] = 1

    def sample(self):
        theta = Dirichlet(self.concentration()).rsample()
        if self.mask is None:
            return theta
        theta = theta * self.mask
        return theta / theta.sum(dim=1, keepdim=True)

    def draw_path(self, temperature=10.0):
        """One operation an edge, straight through a Gumbel softmax (GDAS, arXiv:1910.04465); only they run."""
        theta = F.gumbel_softmax(self.eta, temperature, hard=True)
        self.live = [[op] for op in theta.argmax(dim=1).tolist()]
        return theta

    def forward(self, x, theta):
        x = self.stem(x)
        for block in self.body:
            x = block(x, theta, self.live) if isinstance(block, Cell) else block(x)
        x = F.relu(self.norm(x)).mean(dim=(2, 3))
        return self.classifier(x)

    def edges(self):
        return [edge for block in self.body if isinstance(block, Cell) for edge in block.edges]

    def genotype(self):
        mean = self.concentration().detach()
        if self.mask is not None:
            mean = mean * self.mask
        best = mean.argmax(dim=1).tolist()
        nodes = []
        for to in (1, 2, 3):
            rows = [row for row, edge in enumerate(EDGES) if edge[0] == to]
            nodes.append("|" + "".join(f"{OPS[best[row]]}~{EDGES[row][1]}|" for row in rows))
        return "+".join(nodes)
