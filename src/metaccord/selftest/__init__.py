"""The promises, checked on the user's machine: figures beside bounds."""

from metaccord.selftest.outcome import Cases, Outcome

__all__ = ["Cases", "Outcome"]
