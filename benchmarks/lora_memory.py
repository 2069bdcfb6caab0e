"""What adapting a part of a transformer costs, beside adapting all of it.

    python benchmarks/lora_memory.py --json results/lora/record.json

One second-order meta-step of a BERT classifier, built from a configuration, with random weights.
Counted are the tensors that are meta-learned (each has a row per task) and those that move inside,
the peak of live tensor bytes (an allocator's peak on a GPU), and seconds (on a CPU those of the
processor, so that other programs count little).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import described, version
from torch import nn

import metaccord as mc
from metaccord import tree
from metaccord.keys import seeded
from metaccord.memory import keep_freed, peak_bytes
from metaccord.models import adapters, lora

HEAD = ("network.classifier",)
ATTENTION = ("*.query", "*.value")
SIZES = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
QUICK = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


def bert(sizes: dict[str, int]) -> nn.Module:
    """Return a classifier of three classes with random weights."""
    import transformers

    width = sizes["hidden_size"]
    config = transformers.BertConfig(
        **sizes, intermediate_size=4 * width, vocab_size=1000, max_position_embeddings=64,
        num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with seeded(0):
        return mc.models.Logits(transformers.BertForSequenceClassification(config))


def contestants(plain: nn.Module) -> dict[str, tuple[nn.Module, tuple[str, ...]]]:
    """Return models and what moves inside; the whole first."""
    rank = {"rank": 4, "learn": HEAD}
    small = lora(plain, targets=ATTENTION, **rank)
    return {
        "everything is learned and moves": (plain, ()),
        "everything is learned, the head moves (ANIL)": (plain, HEAD),
        "LoRA of every layer, with the head": (lora(plain, **rank), ()),
        "LoRA of queries and values, with the head": (small, ()),
        "the same learned, the head moves": (small, HEAD),
        "adapters, with the head": (adapters(plain, ("*.output.dense",), 8, learn=HEAD), ()),
    }


def episodes(tasks: int, count: int, length: int) -> mc.Episode:
    """Return random words; their values do not change the cost."""
    generator = torch.Generator().manual_seed(0)

    def batch() -> mc.Batch:
        words = torch.randint(1, 1000, (tasks, count, length), generator=generator)
        return mc.Batch({"input_ids": words}, torch.arange(count).remainder(3).repeat(tasks, 1))

    return mc.Episode(batch(), batch())


def measured(
    model: nn.Module, only: tuple[str, ...], given: mc.Episode, options: argparse.Namespace
) -> dict[str, Any]:
    """Return counts, peak bytes and seconds of one meta-step."""
    plan = mc.Plan(chunk=1, checkpoint=options.checkpoint)
    objective = mc.Objective(model, nn.functional.cross_entropy, plan, device=options.device)
    method = mc.methods.maml(steps=options.steps, lr=0.01)
    method = replace(method, rule=replace(method.rule, only=only))
    state = mc.initialise(method, objective)
    given = tree.to(given, objective.place())

    def step() -> mc.MetaStep:
        return mc.meta_gradient(method, objective, state, given)

    found = step()
    rows = sum(leaf.numel() * leaf.element_size() for leaf in found.rows.values())
    moved = sum(leaf[0].numel() for leaf in found.run.adapted.values())
    del found
    return {
        "learned": sum(leaf.numel() for leaf in tree.scope(state.params, "model").values()),
        "moved": moved,
        "row_bytes": rows,
        "peak_bytes": peak_bytes(step, torch.device(options.device)),
        "seconds": _seconds(step, options.repeats, options.device),
    }


def _seconds(step: Callable[[], object], repeats: int, device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    times = []
    for _ in range(repeats):
        start = clock()
        step()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return sorted(times)[len(times) // 2]


def table(cases: dict[str, dict[str, Any]]) -> str:
    """Return the record as a table in Markdown."""
    lines = [
        "| what | learned | moves inside | rows, MiB | peak, MiB | seconds |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, found in cases.items():
        lines.append(
            f"| {name} | {found['learned']:,} | {found['moved']:,} "
            f"| {found['row_bytes'] / 2**20:.2f} | {found['peak_bytes'] / 2**20:.0f} "
            f"| {found['seconds']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure every contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="inner steps")
    parser.add_argument("--repeats", type=int, default=3, help="the median counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--checkpoint", action="store_true", help="recompute inner steps")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a smoke test: figures mean nothing")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed()
    plain = bert(QUICK if options.quick else SIZES)
    given = episodes(2, 3, 4) if options.quick else episodes(options.tasks, 12, 32)
    record = described(options)
    record["versions"]["transformers"] = version("transformers")
    for name, (model, only) in contestants(plain).items():
        record["cases"][name] = measured(model, only, given, options)
    print(table(record["cases"]))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
