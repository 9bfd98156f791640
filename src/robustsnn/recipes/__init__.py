"""Recipes: networks that are trained, looked at, and made into an exhibit; those of two papers are a plug-in."""

from robustsnn.recipes.making import named as named
from robustsnn.recipes.making import reproduce as reproduce
from robustsnn.recipes.recipe import Found as Found
from robustsnn.recipes.recipe import Look as Look
from robustsnn.recipes.recipe import Need as Need
from robustsnn.recipes.recipe import Recipe as Recipe
from robustsnn.recipes.recipe import RecipeNetwork as RecipeNetwork
from robustsnn.recipes.recipe import Setting as Setting
