"""The one exception of this package: its text is what the user reads."""


class StackError(Exception):
    pass
