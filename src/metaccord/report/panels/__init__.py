"""The sections of a page, each a pure function of what is known."""
