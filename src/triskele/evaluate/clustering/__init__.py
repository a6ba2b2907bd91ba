"""Evidence-calibrated clustering, and the parts that its estimate is made of.

>>> ecc = EvidenceCalibratedClustering(n_clusters=30).fit(embeddings, comparisons=votes)
>>> ecc.calibration_.is_structured  # whether queries differ in which model suits them
>>> ecc.capabilities(new_embeddings, comparisons=probes)
"""

from triskele.evaluate.clustering.calibration import Calibration
from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.clustering.selection import EvidenceCalibratedClusteringCV

__all__ = ["Calibration", "EvidenceCalibratedClustering", "EvidenceCalibratedClusteringCV"]
