"""Where the real data lies: METACCORD_DATA, or a folder shared/data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

_NAMED = os.environ.get("METACCORD_DATA")
_ROOT = Path(_NAMED) if _NAMED else Path(__file__).parents[2] / "shared" / "data"
FOLDER = _ROOT if (_ROOT / "omniglot" / "omniglot28.npz").is_file() else None
