"""Computing what a report needs from a checkpoint, part by part, and keeping it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from metaccord import checkpoint, fs, jsontree
from metaccord.diagnostics import measure, paths, plane
from metaccord.errors import MetaccordError, UsageError
from metaccord.evaluate import evaluate
from metaccord.protocol import Protocol
from metaccord.report.costs import costs
from metaccord.report.examples import examples
from metaccord.report.facts import Facts
from metaccord.report.kept import Kept
from metaccord.report.scene import SHOWN_STEPS, Scene, rounded, scene, shown_steps, untrained
from metaccord.report.taskmap import task_map
from metaccord.rundir_files import CHECKPOINTS
from metaccord.scores import Scores
from metaccord.stored import load_state

log = logging.getLogger("metaccord")
Say = Callable[[str], None]
MORE = 60  # test tasks of what is measured beside the result
CURVED = 6  # of them with their curvature
ALONG = 5  # checkpoints along the training at most
RESOLUTION = 21
PARTS = {
    "scores": "adapting test tasks",
    "steps": "taking more inner steps",
    "examples": "adapting examples",
    "map": "comparing tasks",
    "coherence": "measuring trajectories",
    "plane": "looking around two solutions",
    "cost": "counting passes and memory",
}


def measured(
    facts: Facts, protocol: Protocol, say: Say, *, quick: bool = False
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the computed parts of a run and what could not be computed, in sentences.

    Args:
        facts: The run.
        protocol: Of the results.
        say: Called with a line before each computation.
        quick: Take what was kept; compute nothing.
    """
    if facts.step is None or facts.experiment is None:
        return {}, []
    kept, parts, remarks = Kept(facts.path, facts.step), {}, []
    opened: list[Scene] = []
    for name, doing in PARTS.items():
        how = {"protocol": dict(vars(protocol))}
        found = kept.get(name, how)
        if found is None and not quick:
            say(f"{facts.path.name}: {doing} ({list(PARTS).index(name) + 1}/{len(PARTS)})")
            try:
                if not opened:
                    opened.append(scene(facts.path, protocol))
                found = kept.put(name, how, _COMPUTED[name](opened[0], facts.path))
            except (MetaccordError, RuntimeError) as error:
                shown = " ".join(str(error).split())
                log.warning("%s: %s: left out: %s", facts.path, doing, shown)
                remarks.append(f"Left out, {doing} failed: {shown}")
                continue
        if found is not None:
            parts[name] = found
    if quick and len(parts) < len(PARTS):
        remarks.append("Made with --quick: what was not computed before is left out.")
    return parts, remarks


def table(scores: Scores) -> dict[str, Any]:
    """Return scores with the result of every task."""
    found = {**scores.json(), "tasks": {"losses": scores.losses.tolist()}}
    if scores.accuracies is not None:
        found["tasks"]["accuracies"] = scores.accuracies.tolist()
    return found


def _scores(of: Scene, run: Path) -> dict[str, Any]:
    """Return the scores that `metaccord evaluate` kept, or measure."""
    for path in sorted((run / "scores").glob("*.json")):
        with suppress(MetaccordError):
            kept = Scores.read(path)
            now = jsontree.decode(fs.read(path)).get("step") == of.state.step
            whole = kept.summary is None and kept.at[0] == 0
            if now and whole and kept.protocol == of.protocol:
                return table(kept)
    steps = of.protocol.steps or 0
    at = tuple(shown_steps(steps, steps))
    return table(_evaluated(of, of.protocol, at))


def _steps(of: Scene, run: Path) -> dict[str, Any]:
    """Return scores after more inner steps than trained; empty if training took many."""
    del run
    if (of.protocol.steps or 0) >= SHOWN_STEPS:
        return {}
    protocol = replace(of.protocol, steps=SHOWN_STEPS)
    try:
        return table(_evaluated(of, protocol, tuple(range(SHOWN_STEPS + 1))))
    except (MetaccordError, IndexError):
        return {}


def _evaluated(of: Scene, protocol: Protocol, at: tuple[int, ...]) -> Scores:
    return evaluate(of.method, of.objective, of.state, of.experiment.tasks, protocol, at=at)


def _coherence(of: Scene, run: Path) -> dict[str, Any]:
    """Return the trajectory scores of the untrained state and of checkpoints along the way."""
    saved = checkpoint.saved(run / CHECKPOINTS)
    spread = {saved[round(i * (len(saved) - 1) / (ALONG - 1))] for i in range(ALONG)}
    tasks = min(MORE, of.protocol.tasks)
    protocol, curved = replace(of.protocol, tasks=tasks), min(CURVED, tasks)
    points: dict[str, Any] = {}
    for step in sorted({0, *spread}):
        try:
            state = load_state(run, step)[1] if step else untrained(of)
        except MetaccordError as error:
            log.warning("%s; left out", error)
            continue
        try:
            found = _trajectory(of, state, protocol, curved)
        except (UsageError, RuntimeError):  # no second derivative
            curved = 0
            found = _trajectory(of, state, protocol, curved)
        points[str(step)] = {"scores": found}
    return {"how": {"protocol": dict(vars(protocol)), "curvature_tasks": curved}, "points": points}


def _trajectory(of: Scene, state: Any, protocol: Protocol, curved: int) -> dict[str, Any]:
    made = of.experiment
    found = measure(of.method, of.objective, state, made.tasks, protocol, curvature_tasks=curved)
    return found.json()


def _plane(of: Scene, run: Path) -> dict[str, Any]:
    """Return the losses of the first two test tasks over the plane of their solutions."""
    del run
    episodes = of.episodes(2)
    found = plane(
        of.method,
        of.objective,
        of.state,
        episodes,
        resolution=RESOLUTION,
        statistics=of.protocol.statistics,
    )
    shares = paths(of.method, of.objective, of.state, episodes)  # [2, K + 1, 2]
    tracks = shares @ found.points[1:].double().to(shares.device)
    return {
        "x": rounded(found.x),
        "y": rounded(found.y),
        "points": rounded(found.points),
        "paths": rounded(tracks),
        "support": rounded(found.support),
        "query": rounded(found.query),
        "parallel": bool(found.parallel),
    }


def _cost(of: Scene, run: Path) -> dict[str, Any]:
    del run
    sizes = {name: tensor.numel() for name, tensor in of.state.params.items()}
    model = sum(size for name, size in sizes.items() if name.startswith("model."))
    return {**costs(of), "parameters": model, "learned beside": sum(sizes.values()) - model}


def _examples(of: Scene, run: Path) -> dict[str, Any]:
    del run
    return examples(of)


def _map(of: Scene, run: Path) -> dict[str, Any]:
    del run
    return task_map(of)


_COMPUTED: dict[str, Callable[[Scene, Path], dict[str, Any]]] = {
    "scores": _scores,
    "steps": _steps,
    "examples": _examples,
    "map": _map,
    "coherence": _coherence,
    "plane": _plane,
    "cost": _cost,
}
