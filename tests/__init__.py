"""Tests of metaccord."""
