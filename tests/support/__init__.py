"""What several test modules use: HTTP/1.1 in plain bytes, written for the tests alone."""
