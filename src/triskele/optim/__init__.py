"""DynMuon for your own training loop, and the pieces it is made of.

>>> from triskele.optim import DynMuon
>>> optimizer = DynMuon.from_model(model, total_steps=10_000)
>>> print(optimizer.describe())
"""

from triskele.optim.dynmuon import DynMuon
from triskele.optim.groups import parameter_groups
from triskele.optim.matrices import MatrixView
from triskele.optim.polar import newton_schulz
from triskele.optim.roles import Assignment, assign_parameters
from triskele.optim.schedule import PowerSchedule
from triskele.optim.spectral import spectral_power

__all__ = [
    "Assignment",
    "DynMuon",
    "MatrixView",
    "PowerSchedule",
    "assign_parameters",
    "newton_schulz",
    "parameter_groups",
    "spectral_power",
]
