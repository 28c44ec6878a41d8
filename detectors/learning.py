"""Learns what prompts are for: labelled prompts in, weights out, a pure function of them.

One logistic regression per kind of query set and view of the text, the kind against ordinary
prompts, every source counting the same whatever its size; and one more per source of a kind that has
several. Apart rather than for all together: what ordinary work one kind resembles says nothing about
another, and a set that resembles none keeps its low limit although its relatives have high ones. A
source learned by itself counts only if it recognises another source of its kind: else nothing shows that
the kind was learned and not the source.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from detectors.catalog.purpose import log_ratio
from detectors.errors import require
from detectors.observe.purpose import BUCKETS, MOST_KINDS, STEPS, FeatureReader, PurposeModel
from detectors.observe.words import WordHasher, join

_BATCH = 256
_HALF = BUCKETS // 2
_LARGEST = 127
_REGULARISATION = 1e-5
_EPOCHS = 6
_FULL_WEIGHT = 300  # prompts of a source from which on it counts in full
_TEMPLATE_WEIGHT = 0.15  # of a template among the many of one source


class PromptSet(NamedTuple):
    """Prompts of one source.

    Attributes
    ----------
    source : str
        Data set; what is left out together.
    part : str
        Template or category within it; may be empty.
    kind : str
        Kind of query set; empty for ordinary prompts.
    texts : sequence of str
    """

    source: str
    part: str
    kind: str
    texts: Sequence[str]


class Learner:
    """Labelled prompts, read once, from which weights are learned with any sources left out.

    Parameters
    ----------
    prompts : sequence of PromptSet
        Ordinary prompts and those of query sets; at least one of each.
    text_chars : int
        Characters read of each, as the observer will.

    Raises
    ------
    ConfigError
        Prompts of one label are missing, or there are more kinds and sources of kinds than a model has
        room for.
    """

    def __init__(self, prompts: Sequence[PromptSet], *, text_chars: int = 8192) -> None:
        self.kinds = _kinds(prompts)
        require(
            bool(self.kinds) and any(not one.kind for one in prompts),
            "learn: prompts of query sets and ordinary prompts are both needed",
        )
        require(
            len(self.kinds) <= MOST_KINDS,
            f"learn: {len(self.kinds)} kinds and sources of kinds, but a model has room for {MOST_KINDS}: "
            "give fewer sources",
        )
        rows = [features(one.texts, text_chars) for one in prompts]
        matrix = sparse.vstack(rows, format="csr")
        self._views = matrix[:, :_HALF].tocsr(), matrix[:, _HALF:].tocsr()
        counts = [len(one.texts) for one in prompts]
        self._set = np.repeat(np.arange(len(prompts)), counts)
        self._told = np.diff(matrix.indptr) > 0  # texts without a feature teach nothing
        self._prompts = list(prompts)

    def learn(self, *, without: Collection[str] = ()) -> PurposeModel:
        """Weights for every kind that has a source left.

        Parameters
        ----------
        without : collection of str
            Sources that must not be learned from.
        """
        biases, scales, columns = [], [], []
        for kind in self.kinds:
            bias, weights = self._fit(kind, without)
            if "/" in kind and not self._recognises(kind, bias, weights, without):
                bias, weights = -_NEVER, np.zeros(BUCKETS)
            scale = max(float(np.abs(weights).max()), 1e-9) / _LARGEST
            biases.append(float(f"{bias:.6g}"))
            scales.append(float(f"{scale:.6g}"))
            columns.append(np.rint(weights / scales[-1]).clip(-_LARGEST, _LARGEST).astype(np.int8))
        return PurposeModel(self.kinds, tuple(biases), tuple(scales), np.stack(columns, axis=1).tobytes())

    def _recognises(self, kind: str, bias: float, weights: Any, without: Collection[str]) -> bool:
        """Whether a source learned by itself tells another source of its kind from ordinary prompts."""
        kind, _, source = kind.partition("/")
        halves = np.split(weights, 2)
        for at, one in enumerate(self._prompts):
            if one.kind != kind or one.source == source or one.source in without:
                continue
            rows = np.flatnonzero((self._set == at) & self._told)
            if len(rows):
                both = zip(self._views, halves, strict=True)
                log_odds = bias + sum(view[rows] @ half for view, half in both)
                held = np.clip(log_odds, -_LARGEST / STEPS, _LARGEST / STEPS)  # as a byte holds them
                if float(np.mean([log_ratio(x) for x in held])) >= _RECOGNISED:
                    return True
        return False

    def _fit(self, kind: str, without: Collection[str]) -> tuple[float, Any]:
        # Only fitting needs it, and it takes a second to import.
        from sklearn.linear_model import SGDClassifier

        weight = np.zeros(len(self._prompts))
        kind, _, source = kind.partition("/")
        label = np.array([one.kind == kind and source in ("", one.source) for one in self._prompts])
        sizes = np.bincount(self._set[self._told], minlength=len(self._prompts))
        for at, one in enumerate(self._prompts):
            if (not one.kind or label[at]) and one.source not in without and sizes[at]:
                share = _TEMPLATE_WEIGHT if one.part else min(1.0, (sizes[at] / _FULL_WEIGHT) ** 0.5)
                weight[at] = share / sizes[at]
        for side in (label, ~label):
            total = (weight[side] * sizes[side]).sum()
            if not total:  # no source is left: what cannot be learned has no evidence
                return -_NEVER, np.zeros(BUCKETS)
            weight[side] /= total
        each = weight[self._set] * self._told
        used = np.flatnonzero(each)
        bias, halves = 0.0, []
        for view in self._views:
            model = SGDClassifier(
                loss="log_loss",
                alpha=_REGULARISATION,
                max_iter=_EPOCHS,
                tol=None,
                random_state=0,
                average=True,
            )
            model.fit(view[used], label[self._set[used]], sample_weight=each[used] * len(used) / 2)
            bias += float(model.intercept_[0]) / 2
            halves.append(model.coef_[0] / 2)
        return bias, np.concatenate(halves)


_NEVER = 6.0
_RECOGNISED = 2.0  # mean log-likelihood ratio: seven to one


def _kinds(prompts: Sequence[PromptSet]) -> tuple[str, ...]:
    """Kinds by name, then as "kind/source" the sources of kinds that have several of their own."""
    ordinary = {one.source for one in prompts if not one.kind}
    sources: dict[str, set[str]] = {}
    for one in prompts:
        if one.kind:
            sources.setdefault(one.kind, set()).add(one.source)
    # Sources that also bring ordinary prompts are no query sets of their own: word salad made of them.
    own = {kind: sorted(names - ordinary) for kind, names in sorted(sources.items())}
    return (*own, *(f"{kind}/{name}" for kind, names in own.items() if len(names) > 1 for name in names))


def features(texts: Sequence[str], text_chars: int) -> Any:
    """Features of texts as `PurposeReader` weighs them: sparse, shape (texts, buckets)."""
    return sparse.vstack(list(_batches(texts, text_chars)), format="csr")


def _batches(texts: Sequence[str], text_chars: int) -> Iterator[Any]:
    hasher, reader = WordHasher(b"learning"), FeatureReader()
    for low in range(0, len(texts), _BATCH):
        batch = texts[low : low + _BATCH]
        joined = join([text[:text_chars].encode("utf-8", "surrogatepass") for text in batch])
        found = reader.read(hasher.words(joined), joined)
        value = 1.0 / np.sqrt(np.maximum(found.words, 1))
        yield sparse.csr_matrix((value[found.text], (found.text, found.bucket)), shape=(len(batch), BUCKETS))
