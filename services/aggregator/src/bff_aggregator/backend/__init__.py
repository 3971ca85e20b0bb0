"""Everything that knows the backend's paths and its JSON: calls, their priorities, readers, field aliases."""
