"""Every table and figure of both papers as one command; what each needs, and how it is made."""

from robustsnn.recipes.making import RECIPES as RECIPES
from robustsnn.recipes.making import reproduce as reproduce
