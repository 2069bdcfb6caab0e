"""The promises, checked on the user's machine: figures beside bounds."""

from metaccord.selftest.outcome import Outcome

__all__ = ["Outcome"]
