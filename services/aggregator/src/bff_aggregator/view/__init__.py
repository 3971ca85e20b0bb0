"""A run and its chart in one NDJSON stream."""
