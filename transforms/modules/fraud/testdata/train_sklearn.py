#!/usr/bin/env python3
"""Trains models with scikit-learn, and writes what they score, as train.py does.

    train_sklearn.py FOLDER ROWS TREES
"""
import pathlib
import sys

import numpy
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

import train
import sklearn_model


def rows(n, seed, missing):
    """The rows of train.py, without what the module takes for 0, and, for a trainer that
    takes no missing values, without those."""
    x = train.rows(n, seed)
    x[numpy.abs(x) <= 1e-35] = 0
    return x if missing else numpy.nan_to_num(x)


def put_edges(x, made):
    """Puts amounts at the thresholds of a model, and one step above, where a trainer that
    rounds numbers and a module that does not could go two ways."""
    edges = [n[1] for t in made["trees"] for n in t if isinstance(n, list) and n[0] == 0]
    for i, edge in enumerate(edges[: len(x) // 4]):
        x[2 * i, 0], x[2 * i + 1, 0] = edge, numpy.nextafter(edge, numpy.inf)


def main():
    folder, n, trees = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    needed = [{**f, "on_missing": "reject"} for f in train.FEATURES]
    kinds = {
        "boosted": (GradientBoostingClassifier(n_estimators=trees, max_depth=4, random_state=1), False, needed),
        "boosted-zero": (GradientBoostingClassifier(n_estimators=trees, max_leaf_nodes=12, init="zero", subsample=0.5, random_state=1), False, needed),
        "binned": (HistGradientBoostingClassifier(max_iter=trees, max_leaf_nodes=15, categorical_features=None, random_state=1), True, train.FEATURES),
    }
    for seed, (name, (classifier, missing, features)) in enumerate(kinds.items()):
        x = rows(20000, seed, missing)
        classifier.fit(x, train.labels(x, seed))
        fresh = rows(n, seed + 100, missing)
        made = sklearn_model.convert(classifier, features, 100)
        put_edges(fresh, made)
        train.write(folder, name, made, fresh, classifier.predict_proba(fresh)[:, 1], missing)


if __name__ == "__main__":
    main()
