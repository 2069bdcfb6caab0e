"""Adapted models on the Hugging Face Hub: the model folder and a page, nothing pickled.

Named as ``huggingface_hub.ModelHubMixin`` names them; needs ``pip install 'metaccord[hub]'``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from metaccord import fs
from metaccord.deploy.folder import CARD, WEIGHTS
from metaccord.deploy.load import load
from metaccord.deploy.predictor import Predictor
from metaccord.errors import DataError, UsageError

_FILES = (CARD, WEIGHTS)


def save_pretrained(made: Predictor, path: str | Path) -> None:
    """Write a model into a new folder as it would be on the Hub: with a page, ``README.md``.

    Args:
        made: The adapted model.
        path: A new or empty folder.

    Raises:
        UsageError: if the folder holds something.
    """
    made.save(path)
    fs.write_atomic(Path(path) / "README.md", page(made).encode())


def push_to_hub(made: Predictor, name: str, *, private: bool = False) -> str:
    """Upload a model to the Hub, as the user that ``huggingface-cli login`` logged in.

    Args:
        made: The adapted model.
        name: ``"user/model"``; created if missing.
        private: Whether a new repository is private.

    Returns:
        The address of the commit.

    Raises:
        UsageError: if the package is missing.
        DataError: if the Hub refuses or cannot be reached.
    """
    hub = _hub()
    with tempfile.TemporaryDirectory() as place:
        save_pretrained(made, Path(place) / "model")
        try:
            hub.create_repo(name, private=private, exist_ok=True)
            found = hub.upload_folder(
                repo_id=name,
                folder_path=str(Path(place) / "model"),
                commit_message="Adapted model",
            )
        except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
            raise _refused(name, error) from error
    return str(found)


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    model: nn.Module | None = None,
    device: str = "cpu",
) -> Predictor:
    """Return a model from a local folder, or else from the Hub, after checking every byte.

    Only the card and the weights are fetched. Its hashes show that a download is whole, not who
    made it.

    Args:
        name: A folder, or ``"user/model"``.
        revision: Branch, tag or commit on the Hub; None: the newest.
        model: Needed if the module is not the library's own.
        device: Where the module goes.

    Raises:
        UsageError: if the package is missing, or there is no model.
        DataError: if the Hub refuses or cannot be reached.
        CheckpointError: if the folder is damaged.
    """
    if Path(name).is_dir():
        return load(name, model=model, device=device)
    hub = _hub()
    try:
        place = hub.snapshot_download(str(name), revision=revision, allow_patterns=list(_FILES))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        raise _refused(str(name), error) from error
    return load(place, model=model, device=device)


def page(made: Predictor) -> str:
    """Return the page of a model: what it is, how far to trust it, how to use and cite it."""
    card, lines = made.card, []
    kind = f"{len(card.classes)} classes" if card.classes else "regression"
    tasks = card.trained.get("tasks", {}).get("class", "own tasks")
    lines += ["---", "library_name: metaccord", "tags:", "- meta-learning", "- few-shot", "---", ""]
    lines += [f"# {kind}, adapted with {card.method}", ""]
    lines += [f"Meta-trained on {tasks}, then {card.made}. Batch normalisation is frozen to the "]
    lines[-1] += "support set, so each example is answered by itself."
    lines += ["", f"Trust: {_measured(card.measured)}", "", "```python"]
    lines += ["import metaccord as mc", "", 'made = mc.deploy.hub.from_pretrained("user/model")']
    lines += ['made.predict("INPUTS")', "```", ""]
    if card.cite:
        lines += ["Please cite:", "", "```bibtex", *card.cite, "```", ""]
    return "\n".join(lines)


def _measured(found: dict[str, Any] | None) -> str:
    if found is None:
        return "nothing was measured."
    tasks = found["protocol"]["tasks"]
    if found["error"] is not None:
        return f"root mean square error {found['error']:.4g} on {tasks} unseen tasks."
    mean, half = 100 * found["accuracy"]["mean"], 100 * found["accuracy"]["half"]
    return (
        f"accuracy {mean:.1f} ± {half:.1f} % on {tasks} unseen tasks (frozen protocol), expected "
        f"calibration error {100 * found['calibrated']['ece']:.1f} %."
    )


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UsageError("the Hub needs a package: pip install 'metaccord[hub]'") from error
    return huggingface_hub


def _refused(name: str, error: Exception) -> DataError:
    said = " ".join(str(error).split())[:200]
    return DataError(
        f"the Hub did not serve {name!r} ({type(error).__name__}: {said}): check the name, the "
        "network, and huggingface-cli login; or give a local folder"
    )
