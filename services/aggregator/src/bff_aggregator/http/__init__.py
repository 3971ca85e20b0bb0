"""What charts and runs need of HTTP: conditional requests, content codings, cache headers, deadlines, bounded sending.

Knows no chart and no run.
"""
