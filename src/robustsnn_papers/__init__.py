"""Every table and figure of the two papers, as recipes of `robustsnn reproduce`.

A plug-in like any other: robustsnn finds it among the installed packages, by the entry points `robustsnn.recipe`.
"""
