"""The networks: the joint transformer, its parts, and the reader of released weights."""
