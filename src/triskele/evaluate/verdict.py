"""Whether queries differ in which model suits them, in a sentence."""

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering


def gain_sentence(ecc: EvidenceCalibratedClustering) -> str:
    """Return what a fit learned, on queries held out, of its worth over one ranking for all."""
    calibration = ecc.calibration_
    if calibration is None:
        return "Nothing was held out, so it is not known whether clusters predict anything."
    gain, error = calibration.structure, calibration.structure_error
    if gain != gain:
        return (
            "Too few queries were compared to tell whether they differ in which model suits them."
        )
    figure = f"{gain:+.4f} ± {error:.4f} of log-loss per comparison on queries held out"
    if calibration.is_structured:
        return (
            f"Which model is best depends on the query: this beats one ranking for all by {figure}."
        )
    return (
        "The queries do not differ, beyond chance, in which model suits them: one ranking serves "
        f"all ({figure})."
    )
