"""Graph networks: equal to dense matrices, second order, one task or many, whole batches only."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

import metaccord as mc
from metaccord import methods
from metaccord.errors import UsageError
from metaccord.losses import cross_entropy
from metaccord.models.geometric import Geometric
from metaccord.models.graph import GCN, SGC, GraphSAGE
from metaccord.tasks.nodes import Nodes
from metaccord.tasks.source import SPLITS
from tests.reference import graphs as dense
from tests.reference.compare import relative_error
from tests.small_graph import FEATURES, HUB, ISOLATED, small_graph, store
from tests.tolerances import CHUNK_F64, GRADCHECK_EPS, TWIN_F64

KINDS = {
    "propagated": (lambda: SGC(FEATURES, hidden=4), dense.sgc),
    "gcn": (lambda: GCN(FEATURES, hidden=4, activation="tanh"), dense.gcn),
    "sage": (lambda: GraphSAGE(FEATURES, hidden=4, activation="tanh"), dense.sage),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    return store(tmp_path_factory.mktemp("graph"))


def source(path: str, form: str, **options) -> Nodes:
    return Nodes(graph=path, form=form, **{"shots": 2, "queries": 3, "dtype": "float64", **options})


def network(form: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = KINDS[form][0]().double()
    with torch.no_grad():
        for leaf in model.parameters():
            leaf.add_(torch.randn_like(leaf) * 0.3)
    return model


def twin(tasks: Nodes, form: str):
    """Return the dense network of all nodes as a function of its parameters."""
    a = dense.adjacency(small_graph())
    matrix = dense.mean(a) if form == "sage" else dense.symmetric(a)
    x = dense.features(small_graph(), sums=tasks.normalise == "sum")
    scale = dense.unit if tasks.normalise == "length" else torch.clone
    return lambda params: KINDS[form][1](matrix, x, params, scale)


def queries(tasks: Nodes, split: str, step: int, count: int) -> torch.Tensor:
    drawn, _ = tasks.nodes(split, step, range(count))
    return torch.from_numpy(drawn[..., tasks.support_shots(split) :].reshape(count, -1))


@pytest.mark.parametrize("normalise", ["length", "sum", "none"])
@pytest.mark.parametrize("form", KINDS)
def test_outputs_are_those_of_dense_matrices(path, form, normalise):
    tasks, model = source(path, form, normalise=normalise), network(form)
    wanted = twin(tasks, form)(dict(model.named_parameters()))
    met = set()
    for split in SPLITS:
        inputs = tasks.episodes(split, 2, range(8)).query.inputs
        for task, nodes in enumerate(queries(tasks, split, 2, 8)):
            assert relative_error(model(**one(inputs, task)), wanted[nodes]) <= TWIN_F64
            met |= set(nodes.tolist())
    assert ISOLATED in met and HUB in met
    assert len(wanted.unique(dim=0)) > 20, "the twin tells nodes apart"


@pytest.mark.parametrize("form", KINDS)
def test_meta_gradients_are_those_of_dense_matrices(path, form):
    """Second order: a gradient step on the support set inside a gradient on the query set."""
    tasks, model = source(path, form), network(form)
    episode = tasks.episodes("train", 0, range(3))
    objective = mc.Objective(model, cross_entropy)
    params = dict(model.named_parameters())
    every = twin(tasks, form)
    drawn = torch.from_numpy(tasks.nodes("train", 0, range(3))[0])
    support, query = drawn[..., :2].flatten(1), drawn[..., 2:].flatten(1)

    def outer(own, predict_support, predict_query, task):
        theta = own
        for _ in range(2):
            loss = cross_entropy(predict_support(theta), episode.support.targets[task])
            grads = torch.autograd.grad(loss, tuple(theta.values()), create_graph=True)
            theta = {k: v - 0.5 * g for (k, v), g in zip(theta.items(), grads, strict=True)}
        return cross_entropy(predict_query(theta), episode.query.targets[task])

    for task in range(3):
        fast = outer(
            params,
            lambda p, t=task: objective.predict(p, one(episode.support.inputs, t)),
            lambda p, t=task: objective.predict(p, one(episode.query.inputs, t)),
            task,
        )
        slow = outer(
            params,
            lambda p, t=task: every(p)[support[t]],
            lambda p, t=task: every(p)[query[t]],
            task,
        )
        found, wanted = (torch.autograd.grad(v, tuple(params.values())) for v in (fast, slow))
        assert relative_error(*(torch.cat([g.flatten() for g in x]) for x in (found, wanted))) <= (
            TWIN_F64
        )


def one(inputs, task):
    return {name: leaf[task] for name, leaf in inputs.items()}


@pytest.mark.parametrize("form", KINDS)
def test_gradients_of_gradients_agree_with_differences(path, form):
    inputs = one(source(path, form).episodes("train", 0, range(1)).support.inputs, 0)
    model = network(form)
    names = [name for name, _ in model.named_parameters()]
    leaves = tuple(p.detach().clone().requires_grad_() for p in model.parameters())

    def outputs(*params):
        return functional_call(model, dict(zip(names, params, strict=True)), (), inputs)

    assert torch.autograd.gradcheck(outputs, leaves, eps=GRADCHECK_EPS)
    assert torch.autograd.gradgradcheck(outputs, leaves, eps=GRADCHECK_EPS)


@pytest.mark.parametrize("form", KINDS)
def test_meta_gradients_do_not_depend_on_the_chunk(path, form):
    tasks = source(path, form)
    found = [meta_gradient(tasks, network(form), chunk) for chunk in (1, 2, "all")]
    for other in found[1:]:
        assert relative_error(other, found[0]) <= CHUNK_F64


def meta_gradient(tasks: Nodes, model: torch.nn.Module, chunk, method=None):
    """Return the mean meta-gradient of four tasks at the model's own weights."""
    objective = mc.Objective(model, cross_entropy, mc.Plan(chunk=chunk))
    method = method or methods.maml(steps=2, lr=0.5)
    state = mc.initialise(method, objective, seed=0)
    own = {f"model.{name}": leaf.detach() for name, leaf in model.named_parameters()}
    state = state._replace(params={**state.params, **own})
    return mc.meta_gradient(method, objective, state, tasks.episodes("train", 0, range(4))).grads


@pytest.mark.parametrize("form", ["gcn", "sage"])
def test_a_batch_may_be_permuted_but_not_cut(path, form):
    model, inputs = (
        network(form),
        one(source(path, form).episodes("train", 0, range(1)).query.inputs, 0),
    )
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    turned = {name: leaf[order] for name, leaf in inputs.items()}
    assert relative_error(model(**turned), model(**inputs)[order]) <= TWIN_F64
    for size in (1, 3, 5):
        with pytest.raises(UsageError, match=f"but {size} of 6 came: set rule.batch=none"):
            model(**{name: leaf[:size] for name, leaf in inputs.items()})


def test_reptile_takes_mini_batches_of_propagated_features_only(path):
    reptile = methods.reptile(steps=3, lr=0.1, batch=3)
    assert meta_gradient(source(path, "propagated"), network("propagated"), "all", reptile)
    with pytest.raises(UsageError, match="but 3 of 4 came"):
        meta_gradient(source(path, "gcn"), network("gcn"), "all", reptile)
    whole = methods.reptile(steps=3, lr=0.1, batch=None)
    permuted = methods.reptile(steps=3, lr=0.1, batch=4)
    found, wanted = (
        meta_gradient(source(path, "gcn"), network("gcn"), 2, m) for m in (permuted, whole)
    )
    assert relative_error(found, wanted) <= TWIN_F64


@pytest.mark.parametrize("model", [SGC, GCN, GraphSAGE])
def test_the_body_gives_what_the_head_reads(path, model):
    form = {SGC: "propagated", GCN: "gcn", GraphSAGE: "sage"}[model]
    built = model(FEATURES, ways=2, hidden=5).double()
    inputs = one(source(path, form).episodes("train", 0, range(1)).query.inputs, 0)
    rows = (
        built.body(*inputs.values())
        if form == "propagated"
        else built.body(inputs["features"], inputs["weights"], inputs["place"])
    )
    assert rows.shape == (6, 5)
    assert torch.equal(built.head(rows), built(**inputs))


def test_inputs_of_another_form_are_refused(path):
    batches = {
        f: one(source(path, f).episodes("train", 0, range(1)).query.inputs, 0)
        for f in ("propagated", "gcn", "sage", "subgraph")
    }
    for model, form, words in (
        (SGC(FEATURES), "gcn", "SGC reads features alone, .*tasks.form=propagated"),
        (SGC(FEATURES + 1), "propagated", "made for rows of 12 numbers, the tasks give 11"),
        (GCN(FEATURES), "propagated", "GCN needs a neighbourhood .*tasks.form=gcn"),
        (GCN(FEATURES), "sage", "made for rows of 11 numbers, the tasks give 22"),
        (GraphSAGE(FEATURES), "gcn", "made for rows of 22 numbers, the tasks give 11"),
        (GraphSAGE(FEATURES), "propagated", "tasks.form=sage"),
        (Geometric(FEATURES, body=torch.nn.Identity()), "propagated", "tasks.form=subgraph"),
    ):
        with pytest.raises(UsageError, match=words):
            model.double()(**batches[form])


class Body(torch.nn.Module):
    """GCNConv twice, with the weights of our GCN."""

    def __init__(self, ours: GCN) -> None:
        from torch_geometric.nn import GCNConv

        super().__init__()
        self.layers = torch.nn.ModuleList([GCNConv(FEATURES, 4), GCNConv(4, 4)]).double()
        with torch.no_grad():
            for layer, own in zip(self.layers, (ours.body.first, ours.body.second), strict=True):
                layer.lin.weight.copy_(own.weight)
                layer.bias.copy_(own.bias)

    def forward(self, x, edge_index):
        for layer in self.layers:
            x = torch.tanh(layer(x, edge_index))
        return x


RENAMED = {
    "body.network.layers.0.lin.weight": "body.first.weight",
    "body.network.layers.0.bias": "body.first.bias",
    "body.network.layers.1.lin.weight": "body.second.weight",
    "body.network.layers.1.bias": "body.second.bias",
    "head.weight": "head.weight",
    "head.bias": "head.bias",
}


def geometric(ours: GCN) -> Geometric:
    model = Geometric(FEATURES, hidden=4, body=Body(ours)).double()
    model.head.load_state_dict(ours.head.state_dict())
    return model


@pytest.mark.parametrize("setting", ["transductive", "induced"])
def test_a_body_of_torch_geometric_has_the_meta_gradient_of_ours(path, setting):
    pytest.importorskip("torch_geometric")
    ours = network("gcn")
    wanted = meta_gradient(source(path, "gcn", setting=setting, normalise="sum"), ours, 1)
    around = source(path, "subgraph", hops=3, setting=setting, normalise="sum")
    found = meta_gradient(around, geometric(ours), 1)
    renamed = {f"model.{RENAMED[k.removeprefix('model.')]}": v for k, v in found.items()}
    assert relative_error(renamed, wanted) <= 1e-10
    first = meta_gradient(around, geometric(ours), 1, methods.fomaml(steps=2, lr=0.5))
    assert relative_error(first, found) > 1e-3, "second order differs from first order here"


@pytest.mark.parametrize("name", ["GCN", "GraphSAGE", "GAT", "GIN"])
def test_networks_of_torch_geometric_run_by_name(path, name):
    pytest.importorskip("torch_geometric")
    torch.manual_seed(0)
    model = Geometric(FEATURES, hidden=4, body=name).double()
    tasks = source(path, "subgraph", hops=3)
    assert meta_gradient(tasks, model, 1)
    inputs = one(tasks.episodes("train", 0, range(1)).query.inputs, 0)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    turned = {k: leaf[order] for k, leaf in inputs.items()}
    assert relative_error(model(**turned), model(**inputs)[order]) <= TWIN_F64
    with pytest.raises(UsageError, match=r"one task at a time: set plan\.chunk=1"):
        meta_gradient(tasks, model, 2)
    with pytest.raises(UsageError, match="3 of 6 came"):
        model(**{k: leaf[:3] for k, leaf in inputs.items()})


def test_a_name_needs_torch_geometric_and_must_be_known(monkeypatch):
    with pytest.raises(UsageError, match="did you mean 'GAT'"):
        Geometric(3, body="GATT")
    monkeypatch.setitem(__import__("sys").modules, "torch_geometric.nn.models", None)
    with pytest.raises(UsageError, match=r"pip install 'metaccord\[graph\]'"):
        Geometric(3, body="GAT")


def test_a_body_must_give_one_row_per_node(path):
    class Mean(torch.nn.Module):
        def forward(self, x, edge_index):
            return x.mean(0, keepdim=True)

    inputs = one(source(path, "subgraph").episodes("train", 0, range(1)).query.inputs, 0)
    with pytest.raises(UsageError, match=r"returned \(1, 11\) for \d+ nodes: it must return one"):
        Geometric(FEATURES, hidden=FEATURES, body=Mean()).double()(**inputs)
