"""Feast as a peer: pinned, in an environment of its own."""
