"""Other libraries' ways of working: old scripts run with only their import changed.

``metaccord.compat.learn2learn``, ``metaccord.compat.higher`` and ``metaccord.compat.torchmeta`` are
written anew from what those libraries do; nothing of theirs is needed. See docs/migrating.md.
"""
