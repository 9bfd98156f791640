"""The command line: parse, call one function, write one folder.

A command is a line of the table in `commands`, and a file of its own.
"""

from robustsnn.cli.command_line import main as main
from robustsnn.cli.commands import COMMANDS as COMMANDS
