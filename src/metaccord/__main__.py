"""``python -m metaccord``."""

import sys

from metaccord.cli.main import main

sys.exit(main())
