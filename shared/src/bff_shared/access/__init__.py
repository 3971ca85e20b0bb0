"""Access apart from data: whose cached data a request may look at, and until when the backend's word for it holds."""
