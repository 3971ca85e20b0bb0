"""A read-through cache in two tiers, this process's memory and Redis.

Knows no HTTP request and no backend: whoever loads a key brings what fills it.
"""
