"""Evaluate with fewer comparisons: which model is best for which kind of query, and how we know.

>>> votes = sample_comparisons(scores, per_query=7, rng=np.random.default_rng(0))
>>> ecc = EvidenceCalibratedClustering(n_clusters=30).fit(embeddings, comparisons=votes)
>>> ecc.rank(new_embeddings)  # the models of each query, best first
"""

from triskele.evaluate.alignment.check import check_alignment
from triskele.evaluate.bradley_terry.estimator import BradleyTerry
from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.clustering.selection import EvidenceCalibratedClusteringCV
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.onboarding import Onboarding, Question
from triskele.evaluate.routing import CostCurve, choose, cost_curve, expected_wins
from triskele.evaluate.sampling import sample_comparisons, split_probes, split_queries

__all__ = [
    "BradleyTerry",
    "Comparisons",
    "CostCurve",
    "EvidenceCalibratedClustering",
    "EvidenceCalibratedClusteringCV",
    "Onboarding",
    "Question",
    "check_alignment",
    "choose",
    "cost_curve",
    "expected_wins",
    "sample_comparisons",
    "split_probes",
    "split_queries",
]
