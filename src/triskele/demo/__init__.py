"""The demonstration: every room of triskele, one after the other, on one machine in minutes.

>>> from triskele.demo import DemoConfig, Scale, Unwatched, run_demo
>>> found = run_demo(DemoConfig(out=Path("demo")), scale=Scale(), watcher=Unwatched())
>>> found.before.share_right, found.after.share_right
"""

from triskele.demo.circle import run_demo
from triskele.demo.config import DemoConfig, Hardware, Scale, Traffic, Training
from triskele.demo.findings import Choices, Findings, Round
from triskele.demo.watching import Unwatched, Watcher

__all__ = [
    "Choices",
    "DemoConfig",
    "Findings",
    "Hardware",
    "Round",
    "Scale",
    "Traffic",
    "Training",
    "Unwatched",
    "Watcher",
    "run_demo",
]
