"""Slow twins and closed forms: the oracles of metaccord."""
