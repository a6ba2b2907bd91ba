"""Methods that Evidence-Calibrated Clustering is compared with, behind the same interface.

>>> near, linear = NeighbourBradleyTerry(), LinearCapability()
>>> both = AverageCapability([("near", near), ("linear", linear)])
>>> told = WithProbes(both).fit(embeddings, comparisons=votes)
>>> told.rank(new_embeddings, comparisons=probes)
"""

from triskele.evaluate.baselines.average import AverageCapability
from triskele.evaluate.baselines.comparison_clusters import comparison_only
from triskele.evaluate.baselines.embedding_clusters import EmbeddingClusters
from triskele.evaluate.baselines.global_ranking import GlobalBradleyTerry
from triskele.evaluate.baselines.labelled import LabelledBradleyTerry
from triskele.evaluate.baselines.latent_factors import LatentFactorBradleyTerry
from triskele.evaluate.baselines.linear import LinearCapability
from triskele.evaluate.baselines.neighbours import NeighbourBradleyTerry
from triskele.evaluate.baselines.probes import WithProbes

__all__ = [
    "AverageCapability",
    "EmbeddingClusters",
    "GlobalBradleyTerry",
    "LabelledBradleyTerry",
    "LatentFactorBradleyTerry",
    "LinearCapability",
    "NeighbourBradleyTerry",
    "WithProbes",
    "comparison_only",
]
