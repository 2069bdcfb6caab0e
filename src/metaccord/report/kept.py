"""What a report has computed, kept in the folder of the run for the next one."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from metaccord import __version__, fs, jsontree
from metaccord.checkpoint_files import MANIFEST, folder_name
from metaccord.errors import ResourceError
from metaccord.rundir_files import CHECKPOINTS

log = logging.getLogger("metaccord")
FOLDER = "report"


class Kept:
    """Results in ``RUN/report/NAME.json``, each sealed and bound to a checkpoint and a question.

    Args:
        run: Folder of the run.
        step: Meta-step of the checkpoint that the results describe.
    """

    def __init__(self, run: Path, step: int | None) -> None:
        self.run = run
        self.checkpoint = "" if step is None else digest(run, step)

    def get(self, name: str, how: dict[str, Any]) -> dict[str, Any] | None:
        """Return what was kept for this checkpoint and question, or None.

        Args:
            name: Of the part.
            how: The question: all that the result depends on beside run and checkpoint.
        """
        path = self.run / FOLDER / f"{name}.json"
        if not path.exists():
            return None
        try:
            entry = jsontree.unseal(fs.read(path, 1 << 28))
            if entry["how"] != self._how(how):
                return None
            found = entry["found"]
            return found if isinstance(found, dict) else None
        except (OSError, ValueError, KeyError, TypeError, ResourceError) as error:
            log.warning("%s is damaged (%s): it is computed anew", path, error)
            return None

    def put(self, name: str, how: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
        """Keep a result and return it as it will be read; a folder that is read-only is no error.

        Args:
            name: Of the part.
            how: The question.
            found: The answer, a JSON tree.
        """
        document = jsontree.seal({"how": self._how(how), "found": found}, name)
        try:
            fs.make(self.run / FOLDER)
            fs.write_atomic(self.run / FOLDER / f"{name}.json", document)
        except (OSError, ResourceError) as error:
            log.warning("%s is not kept for the next report: %s", name, error)
        answer: dict[str, Any] = jsontree.unseal(document)["found"]
        return answer

    def _how(self, how: dict[str, Any]) -> Any:
        asked = {"how": how, "checkpoint": self.checkpoint, "metaccord": __version__}
        return jsontree.decode(jsontree.encode(asked))


def digest(run: Path, step: int) -> str:
    """Return a hash of what a checkpoint holds; empty without one."""
    with suppress(ResourceError, OSError):
        content = fs.read(run / CHECKPOINTS / folder_name(step) / MANIFEST)
        return hashlib.sha256(content).hexdigest()
    return ""
