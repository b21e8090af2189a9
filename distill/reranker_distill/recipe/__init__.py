"""The recipe of a distillation run: its settings, its file, and the recipes that are shipped."""

from reranker_distill.recipe.file import data_file, format_keys, load_recipe, shipped_recipes
from reranker_distill.recipe.recipe import Provenance, Recipe
from reranker_distill.recipe.settings import (
    MAIN_STUDENT,
    Augmentation,
    CandidateMix,
    Data,
    Embedder,
    Gate,
    Likelihood,
    LossName,
    Student,
    StudentVariant,
    Teacher,
)

__all__ = [
    "MAIN_STUDENT",
    "Augmentation",
    "CandidateMix",
    "Data",
    "Embedder",
    "Gate",
    "Likelihood",
    "LossName",
    "Provenance",
    "Recipe",
    "Student",
    "StudentVariant",
    "Teacher",
    "data_file",
    "format_keys",
    "load_recipe",
    "shipped_recipes",
]
