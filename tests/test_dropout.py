"""Dropout as a pure function of the episode's key: the same draw however it is executed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import mse_loss

import metaccord as mc
from metaccord import keys, tree
from metaccord.errors import UsageError
from metaccord.evaluate import isolated
from metaccord.methods import maml
from metaccord.types import Episode
from metaccord.unroll import dropout_key
from tests import cases, tolerances
from tests.reference import loops
from tests.reference.compare import relative_error

KEYS = torch.tensor([11, -3, 2**61, 0])


class Net(nn.Module):
    """A smooth net that drops features; the masks it saw are kept."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.body, self.drop, self.head = nn.Linear(3, 8), nn.Dropout(p), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3] -> [n, 1]."""
        return self.head(self.drop(torch.tanh(self.body(x))))


def objective(plan: mc.Plan | None = None) -> mc.Objective:
    """The net with weights from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net().double()
    return mc.Objective(net, mse_loss, plan or mc.Plan(chunk="all"))


def episodes(found: Tensor | None = KEYS) -> Episode:
    """Tasks with dropout keys."""
    tasks = cases.episodes("plain")
    return tasks if found is None else tasks._replace(extra={"dropout": found})


def rows(plan: mc.Plan, found: Episode | None = None, steps: int = 2) -> mc.MetaStep:
    """A second-order meta-step."""
    goal, method = objective(plan), maml(steps=steps, lr=0.3)
    return mc.meta_gradient(method, goal, mc.initialise(method, goal), found or episodes())


@pytest.mark.parametrize(
    "plan",
    [mc.Plan(chunk=2), mc.Plan(chunk="all"), mc.Plan(chunk="all", compile=True),
     mc.Plan(chunk=3, checkpoint=True)],
    ids=repr,
)  # fmt: skip
def test_the_same_draw_in_every_plan(plan: mc.Plan) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert relative_error(rows(plan).rows, rows(mc.Plan(chunk=1)).rows) <= tolerances.CHUNK_F64
    assert torch.equal(before, torch.get_rng_state())


def mask(key: Tensor, p: float = 0.5, shape: tuple[int, ...] = (6, 8)) -> Tensor:
    """What a layer of ones becomes."""
    with keys.KeyedDropout(key):
        return F.dropout(torch.ones(shape), p)


def test_draws_differ_by_task_step_and_call() -> None:
    found = episodes()
    by_step = [dropout_key(objective(), found, k) for k in range(3)]
    masks = [mask(key) for step in by_step for key in step]
    with keys.KeyedDropout(KEYS[0]):
        masks += [F.dropout(torch.ones(6, 8)), F.dropout(torch.ones(6, 8))]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert not torch.equal(a, b)
    assert torch.equal(mask(KEYS[0]), mask(KEYS[0]))


def test_means_and_rates_are_kept() -> None:
    """20 000 units: five standard errors of the kept fraction."""
    for p in (0.1, 0.5, 0.9):
        found = mask(KEYS[0], p, (200, 100))
        kept = (found > 0).double().mean().item()
        assert abs(kept - (1 - p)) < 5 * (p * (1 - p) / 20_000) ** 0.5
        torch.testing.assert_close(found[found > 0].unique(), torch.tensor([1 / (1 - p)]))
    assert mask(KEYS[0], 1.0).abs().sum() == 0
    assert torch.equal(mask(KEYS[0], 0.0), torch.ones(6, 8))


def test_rate_and_mode_have_the_defaults_of_torch() -> None:
    with keys.KeyedDropout(KEYS[0]):
        found = F.dropout(torch.ones(40, 50))
    assert found.unique().tolist() == [0.0, 2.0]
    with keys.KeyedDropout(KEYS[0]):
        assert torch.equal(F.dropout(torch.ones(40, 50), 0.5, True), found)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 100, generator=generator, dtype=torch.float64)
    with keys.KeyedDropout(KEYS[1]):
        found = F.alpha_dropout(x, 0.3, True)
    assert abs(found.mean().item()) < 0.05
    assert abs(found.std().item() - 1) < 0.05


@pytest.mark.parametrize(("drop", "spatial"), [(F.dropout1d, 1), (F.dropout2d, 2)])
def test_channels_are_dropped_whole(drop: object, spatial: int) -> None:
    x = torch.ones((50, 20) + (4,) * spatial)
    with keys.KeyedDropout(KEYS[0]):
        found = drop(x, 0.5).flatten(2)
    assert torch.equal(found, found[..., :1].expand_as(found))
    assert 0.4 < (found[..., 0] > 0).float().mean() < 0.6


def test_without_key_or_in_evaluation_mode_it_is_the_identity() -> None:
    """No key in training; never a mask in evaluation, even where the episode brings keys."""
    goal, method = objective(), maml(steps=2, lr=0.3)
    still = mc.Objective(objective().model.eval(), mse_loss, goal.plan)
    state = mc.initialise(method, goal)
    none = mc.meta_gradient(method, goal, state, episodes(None))
    quiet = mc.meta_gradient(method, still, state, episodes())
    assert cases.same_bits(none.rows, quiet.rows)
    assert relative_error(rows(goal.plan).rows, none.rows) > tolerances.CLEARLY_DIFFERENT
    for plan in (mc.Plan(chunk=1), mc.Plan(chunk="all")):
        with_keys, without = (
            isolated(method, goal.planned(plan), state, found)
            for found in (episodes(), episodes(None))
        )
        assert cases.same_bits(with_keys.solution, without.solution)


class Masked(nn.Module):
    """The same net with its mask as an input: dropout written out."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.body, self.head = net.body, net.head

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        """[n, 3], [n, 8] -> [n, 1]."""
        return self.head(torch.tanh(self.body(x)) * kept)


def test_second_order_is_that_of_the_written_out_masks() -> None:
    """Each inner step and the query loss have masks of their own."""
    goal, found, steps = objective(), episodes(), 2
    step = rows(goal.plan, steps=steps)
    tasks = []
    for index, task in enumerate(cases.twin_tasks(maml(steps=steps), found)):
        masks = [
            mask(dropout_key(goal, found, k)[index], 0.5, (len(data[1]), 8)).double()
            for k, data in enumerate([*task.batches, task.query])
        ]
        given = [((x, kept), y) for (x, y), kept in zip(task.batches, masks, strict=False)]
        tasks.append(loops.Task(given, ((task.query[0], masks[-1]), task.query[1])))
    params = {k: v.detach() for k, v in goal.trainable().items()}
    expected = loops.maml_rows(Masked(goal.model), mse_loss, params, tasks, 0.3)
    found_rows = cases.model_rows(step.rows)
    assert relative_error(found_rows, cases.stacked(expected)) <= tolerances.TWIN_F64


def test_training_draws_anew_at_each_meta_step() -> None:
    source = mc.tasks.Sinusoid()
    found = [source.episodes("train", step, range(3)).extra["dropout"] for step in range(4)]
    assert len(torch.cat(found).unique()) == 12
    assert tree.tasks_in(found[0]) == 3


@pytest.mark.parametrize(
    "model",
    [nn.LSTM(2, 3, num_layers=2, dropout=0.5), nn.MultiheadAttention(4, 2, dropout=0.1)],
    ids=["lstm", "attention"],
)
def test_dropout_inside_fused_modules_is_refused(model):
    with pytest.raises(UsageError, match=r"dropout=0.*nn.Dropout"):
        mc.Objective(model, mc.losses.mse)


def test_attention_called_with_dropout_is_refused():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(4, 4)

        def forward(self, x):
            q = self.mix(x)[None]
            return nn.functional.scaled_dot_product_attention(q, q, q, dropout_p=0.5)[0]

    objective = mc.Objective(Attends(), mc.losses.mse)
    with pytest.raises(UsageError, match=r"dropout_p=0.5"):
        objective.predict(objective.trainable(), torch.randn(3, 4))


@pytest.mark.parametrize("rest", [(None, 0.5), (None, 0.5, True)])
def test_fused_dropout_is_refused_where_it_stands(rest: tuple[object, ...]) -> None:
    """By position, as the last argument or not; a rate of 0 is none."""
    x = torch.ones(1, 2, 4)
    fused = torch.nn.functional.scaled_dot_product_attention
    with keys.KeyedDropout(torch.tensor(1)):
        with pytest.raises(UsageError, match=r"dropout_p=0\.5"):
            fused(x, x, x, *rest)
        with pytest.raises(UsageError, match=r"dropout_p=0\.5"):
            fused(x, x, x, dropout_p=0.5)
        fused(x, x, x, None, 0.0, True)
        fused(x, x, x)
        fused(x, x, x, None)
