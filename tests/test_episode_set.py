"""The hash of a set of episodes: equal for equal content, however it was drawn."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import metaccord as mc
from metaccord.episode_set import EpisodeSet, Hashed
from metaccord.errors import DataError, UsageError
from tests import cases, small_graph

PROTOCOL = mc.Protocol(tasks=12, seed=3)
FORMS = ("propagated", "gcn", "sage", "subgraph")


def digest_of(source: mc.tasks.TaskSource, pieces: list[range], count: int = 12) -> str:
    """The hash, the tasks drawn in these pieces."""
    hashed = Hashed(source, replace(PROTOCOL, tasks=count))
    for piece in pieces:
        hashed.add(piece, replace(source, seed=3).episodes("test", 0, piece))
    return hashed.result().digest


@dataclass(frozen=True, kw_only=True)
class Changed(cases.Blobs):
    """The same draws from data in which something is another."""

    what: str = ""

    def episodes(self, split: str, step: int, tasks: range) -> mc.Episode:
        found = cases.Blobs(seed=self.seed).episodes(split, step, tasks)
        support, query, extra = (found.support, found.query, dict(found.extra))
        if self.what == "input":
            query = query._replace(inputs=query.inputs.clone())
            query.inputs.view(len(tasks), -1)[-1, -1] *= 1 + 2**-23
        if self.what == "support":
            support = support._replace(inputs=support.inputs.clone())
            support.inputs.view(len(tasks), -1)[0, 0] *= 1 + 2**-23
        if self.what == "target":
            support = support._replace(targets=support.targets.flip(1))
        if self.what == "type":
            query = query._replace(inputs=query.inputs.double())
        if self.what == "class":
            extra["classes"] = torch.full((len(tasks), 3), 7)
        if self.what == "seeds":
            extra = {name: leaf + 1 for name, leaf in extra.items()}
        return mc.Episode(support, query, extra)


@pytest.mark.parametrize("pieces", [1, 5, 7])
def test_batches_and_their_order_do_not_matter(pieces: int) -> None:
    cuts = [range(i, min(i + pieces, 12)) for i in range(0, 12, pieces)]
    whole = EpisodeSet.of(cases.Blobs(seed=9), PROTOCOL).digest
    assert digest_of(cases.Blobs(), cuts) == whole
    assert digest_of(cases.Blobs(), cuts[::-1]) == whole


@pytest.mark.parametrize("form", FORMS)
def test_nor_do_they_for_neighbourhoods_whose_padding_varies(form: str, tmp_path: Path) -> None:
    source = mc.tasks.Nodes(graph=small_graph.store(tmp_path), shots=1, queries=2, form=form)
    whole = digest_of(source, [range(12)])
    assert digest_of(source, [range(i, i + 1) for i in range(12)]) == whole
    features = small_graph.small_graph()["feat_data"].copy()
    features[:40] *= 2  # of the first nodes
    (tmp_path / "other").mkdir()
    other = replace(source, graph=small_graph.store(tmp_path / "other", feat_data=features))
    assert digest_of(other, [range(12)]) != whole


def piece_of(start: int) -> list[tuple[int, bytes]]:
    """What one process finds for its share of the tasks."""
    hashed = Hashed(cases.Blobs(), PROTOCOL)
    hashed.add(
        range(start, start + 3), cases.Blobs(seed=3).episodes("test", 0, range(start, start + 3))
    )
    return [*hashed.digests.items()]


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_processes_do_not_matter(how: str) -> None:
    context = multiprocessing.get_context(how)
    with ProcessPoolExecutor(2 if how == "fork" else 1, mp_context=context) as pool:
        found = [pair for part in pool.map(piece_of, (9, 0, 6, 3)) for pair in part]
    hashed = Hashed(cases.Blobs(), PROTOCOL)
    hashed.digests.update(found)
    assert hashed.result() == EpisodeSet.of(cases.Blobs(), PROTOCOL)


@pytest.mark.parametrize("what", ["input", "support", "target", "type", "class"])
def test_equal_seeds_and_other_data_give_another_hash(what: str) -> None:
    """One number in its last bit is enough."""
    same, other = (EpisodeSet.of(Changed(what=w), PROTOCOL) for w in ("", what))
    assert same.digest == EpisodeSet.of(cases.Blobs(), PROTOCOL).digest
    assert other.digest != same.digest


def test_seeds_of_mini_batches_are_no_data() -> None:
    assert EpisodeSet.of(Changed(what="seeds"), PROTOCOL).digest == digest_of(
        cases.Blobs(), [range(12)]
    )


@pytest.mark.parametrize("other", [{"seed": 4}, {"split": "validation"}, {"tasks": 11}])
def test_other_draws_have_another_hash(other: dict[str, object]) -> None:
    found = EpisodeSet.of(cases.Blobs(), PROTOCOL)
    assert EpisodeSet.of(cases.Blobs(), replace(PROTOCOL, **other)).digest != found.digest


def test_the_order_of_tasks_and_of_examples_counts() -> None:
    hashed = Hashed(cases.Blobs(), replace(PROTOCOL, tasks=2))
    hashed.add(range(0, 1), cases.Blobs(seed=3).episodes("test", 0, range(1, 2)))
    hashed.add(range(1, 2), cases.Blobs(seed=3).episodes("test", 0, range(0, 1)))
    assert hashed.result().digest != digest_of(cases.Blobs(), [range(2)], 2)


def test_it_says_what_the_tasks_are_like() -> None:
    tasks = mc.tasks.Sinusoid(shots=4, train_shots=9, seed=8)
    found = EpisodeSet.of(tasks, PROTOCOL)
    assert str(found) == f"Sinusoid 4-shot 10-query, episodes {found.digest[:12]}"
    assert {"seed", "train_shots"}.isdisjoint(dict(found.facts))
    assert EpisodeSet.of(tasks, replace(PROTOCOL, split="train")).facts != found.facts
    assert EpisodeSet.from_json(json.loads(json.dumps(found.json()))) == found
    other = EpisodeSet.of(mc.tasks.Sinusoid(shots=5), PROTOCOL)
    assert found.differences(other) == ["shots: 4 or 5"]
    assert found.differences(found) == []
    assert found.differences(EpisodeSet.of(cases.Blobs(), PROTOCOL))[0] == "Sinusoid or Blobs"


def test_a_missing_task_is_no_set() -> None:
    hashed = Hashed(cases.Blobs(), PROTOCOL)
    hashed.add(range(3), cases.Blobs().episodes("test", 0, range(3)))
    with pytest.raises(UsageError, match="9 of 12 tasks are missing"):
        hashed.result()


def test_what_is_no_episode_is_refused() -> None:
    class Broken(cases.Blobs):
        def episodes(self, split: str, step: int, tasks: range) -> mc.Episode:
            return super().episodes(split, step, range(1))

    with pytest.raises(DataError, match="one row per task"):
        EpisodeSet.of(Broken(), PROTOCOL)
