"""The one error that means "what was asked for cannot be done as asked"."""


class UserError(ValueError):
    """The user's input is wrong: one line that names the value, what is allowed and the fix.

    The command line prints the message without a traceback and exits with 2. In Python it is a
    `ValueError`, so that callers may catch it without knowing this package.
    """
