"""Which model for which prompt? From votes to rankings that know what is asked. Seconds, CPU."""

from pathlib import Path

import numpy as np

from triskele.evaluate import BradleyTerry, EvidenceCalibratedClustering, split_queries
from triskele.evaluate.embedding import TfidfEmbedder
from triskele.evaluate.terms import top_terms
from triskele.evaluate.votes import read_votes

# Votes in LMArena's columns, of models that do not exist; made by data/make_votes.py.
votes = read_votes(Path(__file__).parent / "data" / "votes.jsonl")
comparisons, texts = votes.comparisons, votes.texts
print(f"{len(comparisons)} votes on {len(texts)} prompts")

print("\nOne ranking for all prompts:")
board = BradleyTerry().fit(comparisons)
ranking = board.rank()
for model in ranking.order:
    print(
        f"  {ranking.best[model]}–{ranking.worst[model]}  {board.models_[model]:<9}"
        f"{board.theta_[model]:+.2f}  ({board.lower_[model]:+.2f} … {board.upper_[model]:+.2f})"
    )

embeddings = TfidfEmbedder().fit(texts).encode(texts)
ecc = EvidenceCalibratedClustering(n_clusters=5, n_init=10).fit(embeddings, comparisons=comparisons)
print("\nThe kinds of prompts that were found, and who is best at each:")
for terms, profile in zip(top_terms(texts, ecc.labels_, n_terms=4), ecc.profiles_, strict=True):
    print(f"  {ecc.models_[profile.argmax()]:<9}{', '.join(terms)}")

# What that is worth on prompts that were not fitted, and of which no vote is known.
known, new = split_queries(len(texts), test_size=0.2, rng=np.random.default_rng(0))
fitted = EvidenceCalibratedClustering(n_clusters=5, n_init=10)
fitted.fit(embeddings[known], comparisons=comparisons.of_queries(known))
asked = comparisons.of_queries(new)
one = BradleyTerry(intervals=None).fit(comparisons.of_queries(known))
p = one.predict_pairwise(asked.model_a, asked.model_b)
y = asked.outcome
loss = -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))
print("\nLog-loss on new prompts:")
print(f"  one ranking for all  {loss:.4f}")
print(f"  ranked by the prompt {-fitted.score(embeddings[new], comparisons=asked):.4f}")
