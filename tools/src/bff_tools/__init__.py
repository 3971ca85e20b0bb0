"""Starts the whole stack on one machine: data store, backend, services and nginx as child processes."""

from bff_tools.processes import Child, StartError
from bff_tools.stack import SERVICES, Stack, StackOptions

__all__ = ["SERVICES", "Child", "Stack", "StackOptions", "StartError"]
