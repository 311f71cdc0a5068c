"""The commands that are not stages: one page each, imported only when called."""
