"""Shards, sequences and epochs, diffs: what makes a stream whole. Pure."""
