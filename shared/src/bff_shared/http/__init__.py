"""HTTP as a server meets it: header fields, CORS, request ids, the context of a request, JSON responses and errors."""
