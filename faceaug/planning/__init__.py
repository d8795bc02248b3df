"""Planning: how many faces to synthesize in each cell, by a sampling strategy under a budget.

The function `plan` hides the module of the same name; `faceaug.planning.plan` is the function.
"""

from faceaug.planning.budget import Budget
from faceaug.planning.marginals import Marginals
from faceaug.planning.plan import Plan, PlannedCell, plan

__all__ = ["Budget", "Marginals", "Plan", "PlannedCell", "plan"]
