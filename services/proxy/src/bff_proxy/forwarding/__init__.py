"""Byte-transparent HTTP forwarding to the backend."""
