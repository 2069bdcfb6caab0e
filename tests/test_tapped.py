"""Reading a layer in passing: nothing changes, the user's module least of all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import mse_loss

import metaccord as mc
from metaccord import tapped, tree
from metaccord.losses import cross_entropy
from metaccord.types import Params
from tests import cases, tolerances
from tests.reference.compare import relative_error

ALL = mc.Plan(chunk="all")
BODIES = [name for name in cases.MODELS if name != "tied"]


def drawn(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def built(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().double()


def at(module: nn.Module, params: Params, place: str) -> Callable[[Tensor], Tensor]:
    """Return a part of a network as a function, with its weights out of ``params``."""
    return lambda x: functional_call(module.get_submodule(place), tree.scope(params, place), (x,))


def untouched(module: nn.Module) -> bool:
    """Say whether no part has a hook, private names of PyTorch included."""
    return not any(
        value
        for part in module.modules()
        for name, value in vars(part).items()
        if "hooks" in name and not name.endswith(("_with_kwargs", "_always_called"))
    )


@pytest.mark.parametrize("name", BODIES)
def test_outputs_keep_their_bits_and_features_are_the_bodys(name: str) -> None:
    goal, found = cases.objective(name), cases.episodes(name)
    params, x = goal.trainable(), found.query.inputs[0]
    outputs, features = goal.predict_with_features(params, x)
    assert torch.equal(outputs, goal.predict(params, x))
    assert torch.equal(features, at(goal.model, params, "body")(x))
    assert torch.equal(outputs, at(goal.model, params, "head")(features))


@pytest.mark.parametrize("name", ["batchnorm2d", "batchnorm1d", "plain"])
@pytest.mark.parametrize("chunk", [1, 3, "all"])
def test_tasks_side_by_side(chunk: int, name: str) -> None:
    """Losses to the bit of the same plan; features and gradients of each task by itself."""
    goal, found = cases.objective(name, mc.Plan(chunk=chunk)), cases.episodes(name)
    stack = {k: v + 0.1 * drawn(1, 4, *v.shape) for k, v in goal.trainable().items()}
    stack = {k: v.detach().requires_grad_() for k, v in stack.items()}
    losses, features = goal.losses_with_features(stack, found.query)
    assert torch.equal(losses, goal.losses(stack, found.query))
    for i, one in enumerate(tree.unbind(stack)):
        alone = at(goal.model, one, "body")(found.query.inputs[i])
        assert relative_error(features[i], alone) <= tolerances.CHUNK_F64
    grads = torch.autograd.grad(features.sin().sum(), list(stack.values()), materialize_grads=True)
    by_name = dict(zip(stack, grads, strict=True))
    assert not any(v.any() for k, v in by_name.items() if k.startswith("head"))
    assert all(v.any() for k, v in by_name.items() if k.startswith("body"))


def test_the_users_module_is_not_touched() -> None:
    model = cases.module("batchnorm2d")
    keys, before = set(vars(model.get_submodule("body"))), cases.bits(model.state_dict())
    goal, found = mc.Objective(model, cross_entropy, ALL), cases.episodes("batchnorm2d")
    goal.losses_with_features(tree.expand(goal.trainable(), 4), found.query)
    assert goal.model is model
    assert untouched(model)
    assert set(vars(model.get_submodule("body"))) == keys
    assert cases.same_bits(before, model.state_dict())
    twin = tapped.tapped(model, "body")
    assert not untouched(twin), "the tap is a hook on the copy"
    mine, copied = dict(model.named_parameters()), dict(twin.named_parameters())
    assert all(copied[k] is v for k, v in mine.items()), "which shares all tensors"


def test_hooks_of_the_user_still_run() -> None:
    """What they return is the output, hence the features."""
    model = cases.module("plain")
    model.get_submodule("body").register_forward_hook(lambda m, x, y: 2 * y)
    goal, x = mc.Objective(model, mse_loss, ALL), drawn(0, 5, 3)
    outputs, features = goal.predict_with_features(goal.trainable(), x)
    assert torch.equal(outputs, model(x))
    assert torch.equal(features, model.get_submodule("body")(x))


def test_running_statistics_are_not_updated() -> None:
    """The copy is made of the copy that keeps none."""
    model = built(lambda: mc.models.Conv4(ways=3, hidden=2, size=6, tracked=True))
    before = cases.bits(model.state_dict())
    goal, x = mc.Objective(model, cross_entropy, ALL), drawn(0, 5, 1, 6, 6)
    outputs, features = goal.predict_with_features(goal.trainable(), x)
    assert torch.equal(outputs, goal.predict(goal.trainable(), x))
    assert features.shape[1:] == model.feature_shape
    assert cases.same_bits(before, model.state_dict())


@pytest.mark.parametrize("downsample", ["stride", "pool"])
@pytest.mark.parametrize("spatial", ["mean", "flatten"])
def test_conv4_shows_its_fourth_block_before_pooling(downsample: str, spatial: str) -> None:
    options = {"downsample": downsample, "spatial": spatial}
    model = built(lambda: mc.models.Conv4(ways=3, hidden=2, size=16, **options))
    goal, x = mc.Objective(model, cross_entropy, ALL), drawn(0, 5, 1, 16, 16)
    outputs, features = goal.predict_with_features(goal.trainable(), x)
    assert features.shape == (5, *model.feature_shape)
    body = model.get_submodule("body")
    rest = features if downsample == "stride" else body[3][3](features)
    pooled = rest.mean((2, 3)) if spatial == "mean" else rest.flatten(1)
    assert torch.equal(model.get_submodule("head")(pooled), outputs)
    assert torch.equal(features, body[3][:3](body[:3](x)))


class Dropping(nn.Module):
    """Dropout before, inside and after the body."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Dropout(0.3)
        self.body = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Tanh())
        self.after, self.head = nn.Dropout(0.4), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3] -> [n, 1]."""
        return self.head(self.after(self.body(self.before(x))))


@pytest.mark.parametrize("chunk", [1, "all"])
def test_dropout_draws_the_same_masks(chunk: int) -> None:
    goal = mc.Objective(built(Dropping), mse_loss, mc.Plan(chunk=chunk))
    found, keys = cases.episodes("plain"), torch.tensor([11, -3, 2**61, 0])
    stack = tree.expand(goal.trainable(), 4)
    losses, features = goal.losses_with_features(stack, found.query, keys)
    assert torch.equal(losses, goal.losses(stack, found.query, keys))
    assert (features == 0).float().mean() > 0.3
    still, all_of_it = goal.losses_with_features(stack, found.query)
    assert torch.equal(still, goal.losses(stack, found.query))
    assert all_of_it.all()


def test_features_of_bfloat16_forwards_are_widened() -> None:
    goal = mc.Objective(cases.module("plain").float(), mse_loss, mc.Plan(chunk=1, autocast=True))
    x = drawn(0, 5, 3).float()
    outputs, features = goal.predict_with_features(goal.trainable(), x)
    assert outputs.dtype == features.dtype == torch.float32
    assert torch.equal(features, features.bfloat16().float())
    assert torch.equal(outputs, goal.predict(goal.trainable(), x))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_one_graph_holds_it() -> None:
    """Compiled whole, without breaks: features and their gradients, under ``vmap``."""
    goal, found = cases.objective("batchnorm1d"), cases.episodes("batchnorm1d")
    assert goal.opened is not goal.model  # made before anything is traced

    def both(stack: Params) -> tuple[Tensor, Tensor]:
        losses, features = goal.losses_with_features(stack, found.query)
        return losses.sum(), features

    def gradients(stack: Params) -> tuple[Params, Tensor]:
        return torch.func.grad(both, has_aux=True)(stack)

    torch.compiler.reset()
    stack = tree.expand({k: v.detach() for k, v in goal.trainable().items()}, 4)
    compiled = torch.compile(gradients, fullgraph=True, dynamic=False)(stack)
    for a, b in zip(compiled, gradients(stack), strict=True):
        assert relative_error(a, b) <= tolerances.COMPILED_F64
