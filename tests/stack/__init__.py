"""Starts, breaks and ends a whole local stack. See README.md; `from tests.stack import Stack`."""

from .errors import StackError
from .stack import Stack

__all__ = ["Stack", "StackError"]
