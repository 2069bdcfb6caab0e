"""Every option of the configuration and of the command line refuses what it must not be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch

from metaccord.defaults import default
from metaccord.errors import UsageError
from metaccord.experiment import Experiment
from metaccord.serial import MODELS, build_model, from_tree
from tests.bad import options, verbs
from tests.bad.rows import Refusals
from tests.cli.support import Result, snapshot

CONFIGURATION = {
    name: list(found) for name, found in groupby(options.options(), lambda o: f"{o.kind}.{o.name}")
}
VERBS = [option for option in verbs.options() if option.bad]


@pytest.fixture(scope="module", autouse=True)
def no_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Data sets are not found, as on a new machine; there are a table and a folder of pictures."""
    place = tmp_path_factory.mktemp("furnished")
    options.furnish(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METACCORD_CACHE", str(place / "cache"))
        patch.delenv("METACCORD_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """A good configuration."""
    return default("sinusoid").tree()


def built(option: options.Option, whole: dict[str, Any]) -> Any:
    """Build what has this option from a tree, as from a file or ``--set``."""
    if option.kind == "Experiment":
        return Experiment.from_tree({**whole, option.name: option.value})
    tree = {**options.valid(option.kind), option.name: option.value}
    if option.kind in MODELS:
        with torch.device("meta"):
            return build_model(tree)
    return from_tree(tree)


@pytest.mark.parametrize("name", CONFIGURATION)
def test_bad_values_of_the_configuration(name: str, whole: dict[str, Any]) -> None:
    for option in CONFIGURATION[name]:
        began = time.process_time()
        with pytest.raises(UsageError) as caught:
            built(option, whole)
        message = str(caught.value)
        assert option.name in message, (option.id, message)
        assert ": " in message or " must " in message, (option.id, message)
        assert "\n" not in message
        assert len(message) < 500, (option.id, message)
        assert time.process_time() - began < 2.0, option.id


@pytest.mark.parametrize("kind", sorted({o.kind for o in options.options()} - {"Experiment"}))
def test_the_rest_of_each_tree_is_good(kind: str, whole: dict[str, Any]) -> None:
    """Otherwise the message might be about something else."""
    published = {"CIFARFS", "FC100", "MiniImageNet", "TieredImageNet", "CUB"}
    needs_data = {"Omniglot", "SignDigits", "Nodes", "Method", *published}
    if kind not in needs_data:
        built(options.Option(kind, "class", kind), whole)


@pytest.mark.parametrize("option", VERBS, ids=[f"{o.verb} --{o.name}" for o in VERBS])
def test_bad_values_of_the_verbs(
    option: verbs.Option, metaccord: Callable[..., Result], place: Path
) -> None:
    refusals = Refusals(place)
    for value in option.bad:
        if (option.verb, option.name, value) in verbs.PENDING:
            continue
        result = metaccord(*option.words(value))
        if result.errors:
            refusals.add(result, 2, option.culprits(value))
        else:
            refusals.add_from_the_parser(result, f"--{option.name}")
    assert snapshot(place) == {}
