"""Turns a flag off by itself when its requests break their error or latency budget."""
