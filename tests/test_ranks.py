"""Tasks spread over real processes give what one process gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import metaccord as mc
from metaccord.axis import TaskAxis
from metaccord.errors import UsageError
from metaccord.interactions import Coherence, CoLearner, GradientAgreement, GradientSharing
from metaccord.methods import maml
from metaccord.ranks import ProcessRanks, largest, spread, total
from metaccord.testing.ranks import ThreadRanks, on_ranks
from tests import cases, tolerances

METHOD = maml(steps=2, lr=0.2)
for part in (GradientSharing(differentiate=True), CoLearner(), Coherence(differentiate=True)):
    METHOD = METHOD.with_interaction(part)
METHOD = METHOD.with_interaction(GradientAgreement())


def stepped(axis: TaskAxis | None, rank: int = 0, world: int = 1) -> dict[str, torch.Tensor]:
    """Two meta-steps, so that there is history; the last gradients and the running means.

    Of even tasks, and of tasks of different sizes, of which each rank slices its own.
    """
    found = {}
    for kind, episodes in (
        ("even", cases.episodes("layernorm")),
        ("uneven", cases.uneven("layernorm")),
    ):
        goal, size = cases.objective("layernorm"), 4 // world
        mine = cases.tree.split(episodes, size)[rank]
        state = mc.initialise(METHOD, goal)
        for _ in range(2):
            step = mc.meta_gradient(METHOD, goal, state, mine, axis)
            params = {k: v - 0.1 * step.grads[k] for k, v in state.params.items()}
            state = state._replace(params=params, running=step.running, step=state.step + 1)
        kept = {f"running.{k}": v.contiguous() for k, v in step.running.items()}
        found |= cases.tree.under({**step.grads, **kept}, kind)
    return found


def main(rank: int, world: int, folder: str) -> None:
    """What each process does."""
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=world)
    found = stepped(TaskAxis(4, ranks=ProcessRanks()), rank, world)
    save_file({k: v.contiguous() for k, v in found.items()}, f"{folder}/{rank}.safetensors")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """All four systems, sums differentiated twice through gloo."""
    code = "import sys; from tests.test_ranks import main; "
    code += "main(int(sys.argv[1]), 2, sys.argv[2])"
    root = Path(__file__).parents[1]
    words = [sys.executable, "-c", code]
    jobs = [subprocess.Popen([*words, str(r), str(tmp_path)], cwd=root) for r in range(2)]
    assert [job.wait(120) for job in jobs] == [0, 0]
    whole = stepped(None)
    for rank in range(2):
        part = load_file(tmp_path / f"{rank}.safetensors")
        assert part.keys() == whole.keys()
        for name, value in whole.items():
            torch.testing.assert_close(part[name], value, rtol=tolerances.TWIN_F64, atol=1e-12)


@pytest.mark.parametrize("exact", [False, True])
def test_the_sum_is_its_own_adjoint_at_any_order(exact: bool) -> None:
    """Derivatives of sum_r (sum_s x_s)^3 by the share of one rank, against one process."""

    def work(ranks: ThreadRanks) -> list[float]:
        x = torch.tensor([float(ranks.rank + 1)], dtype=torch.float64, requires_grad=True)
        y = total(x, ranks, exact)[0] ** 3
        found = []
        for _ in range(3):
            (y,) = torch.autograd.grad(y, x, create_graph=True)
            found.append(y.item())
        return found

    # each rank differentiates its own copy of the same value; the adjoint adds all of them
    one, two = on_ranks(2, work)
    assert one == two == [2 * 27.0, 4 * 18.0, 8 * 6.0]


def test_a_number_of_tasks_that_ranks_do_not_divide_is_refused() -> None:
    def work(ranks: ThreadRanks) -> str:
        with pytest.raises(UsageError) as caught:
            TaskAxis(5, ranks=ranks)
        return str(caught.value)

    expected = "5 tasks cannot be spread evenly over 2 processes: use 4 or 6 tasks"
    assert on_ranks(2, work) == [expected] * 2


def test_rows_are_gathered_in_order_and_given_back() -> None:
    rows = torch.arange(8.0).reshape(4, 2)

    def work(ranks: ThreadRanks) -> bool:
        axis = TaskAxis(4, ranks=ranks)
        mine = axis.mine(rows)
        assert axis.local == len(mine) == 2
        assert torch.equal(axis.gather(mine), rows)
        assert torch.equal(axis.gram(mine), rows @ rows.T)
        assert torch.equal(axis.sum(mine), rows.sum(0).expand(2, 2))
        return torch.equal(axis.mean({"x": mine})["x"], rows.mean(0).expand(2, 2))

    assert on_ranks(2, work) == [True, True]


def test_an_error_of_one_rank_releases_the_other() -> None:
    def work(ranks: ThreadRanks) -> None:
        if ranks.rank == 1:
            raise ValueError("mine")
        ranks.sum(torch.ones(1))

    with pytest.raises(ValueError, match="mine"):
        on_ranks(2, work)


@pytest.mark.parametrize("content", [b"", b"\x00metaccord\xff"])
def test_what_the_first_rank_has_reaches_all(content: bytes) -> None:
    """What the others hold is not used."""
    found = on_ranks(3, lambda ranks: spread(content if ranks.rank == 0 else b"other", ranks))
    assert found == [content] * 3


def test_the_largest_value_of_all() -> None:
    assert largest(-5, None) == -5
    assert on_ranks(3, lambda ranks: largest(7 - 10 * ranks.rank, ranks)) == [7, 7, 7]
    assert on_ranks(3, lambda ranks: largest(10 * ranks.rank - 7, ranks)) == [13, 13, 13]
