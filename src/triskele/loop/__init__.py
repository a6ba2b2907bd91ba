"""The loop: what is said of answers becomes a better choice of models, or nothing changes.

>>> config = CycleConfig(journal=Path("journal"), capability=Path("capability"))
>>> verdict = turn(config, now=time.time(), rng=np.random.default_rng(0))
>>> verdict.published, verdict.reasons
"""

from triskele.loop.cycle import CycleConfig, release, rollback, turn
from triskele.loop.evidence import Evidence
from triskele.loop.fitting import FitConfig
from triskele.loop.harvest import Harvest, harvest
from triskele.loop.judgement import Judgement, JudgementConfig, judged
from triskele.loop.verdict import History, Verdict, history_of, read_verdicts

__all__ = [
    "CycleConfig",
    "Evidence",
    "FitConfig",
    "Harvest",
    "History",
    "Judgement",
    "JudgementConfig",
    "Verdict",
    "harvest",
    "history_of",
    "judged",
    "read_verdicts",
    "release",
    "rollback",
    "turn",
]
