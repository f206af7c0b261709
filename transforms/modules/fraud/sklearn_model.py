#!/usr/bin/env python3
"""Makes fraud's model (see model.h) from a classifier of scikit-learn.

    sklearn_model.py CLASSIFIER.joblib FEATURES.json POINTS > model.json

CLASSIFIER.joblib is joblib.dump() of a GradientBoostingClassifier or a
HistGradientBoostingClassifier with two classes; reading such a file runs what is
in it, so take only your own. FEATURES.json is as for model.py. What would not
score as scikit-learn does is refused. As everywhere in the module, what is as
small as 1e-35 is 0.
"""
import json
import sys

import numpy
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier

from model import FORMAT, Refused

LARGEST = sys.float_info.max


def of_float32(threshold):
    """The largest double that, rounded to 32 bits as GradientBoosting does, is <= threshold."""
    below = numpy.float32(threshold)
    if numpy.float64(below) > threshold:
        below = numpy.nextafter(below, numpy.float32(-numpy.inf))
    above = numpy.nextafter(below, numpy.float32(numpy.inf))
    halfway = (numpy.float64(below) + numpy.float64(above)) / 2
    if numpy.float32(halfway) != below:
        halfway = numpy.nextafter(halfway, -numpy.inf)
    return float(halfway)


def tree(nodes, base):
    """A tree of (weight, leaf value or None, split), where children stand behind their
    parents. Each split gets the mean of the leaves below it; base is added to all."""
    made, means = [None] * len(nodes), [0.0] * len(nodes)
    for at in reversed(range(len(nodes))):
        weight, leaf, split = nodes[at]
        if leaf is not None:
            made[at] = means[at] = base + leaf
            continue
        left, right = split[2], split[3]
        if min(left, right) <= at:
            raise Refused("children stand before their parents")
        means[at] = (nodes[left][0] * means[left] + nodes[right][0] * means[right]) / weight
        made[at] = split + [means[at]]
    return made


def boosted_nodes(t, rate):
    """The nodes of a tree of GradientBoostingClassifier."""
    for i in range(t.node_count):
        left, right = int(t.children_left[i]), int(t.children_right[i])
        weight, leaf = float(t.weighted_n_node_samples[i]), left < 0
        split = None if leaf else [int(t.feature[i]), of_float32(t.threshold[i]), left, right, "nan_right"]
        yield weight, rate * float(t.value[i, 0, 0]) if leaf else None, split


def boosted(classifier, features):
    """What GradientBoostingClassifier starts from, and its trees."""
    if classifier.loss != "log_loss" or classifier.init not in (None, "zero"):
        raise Refused("another loss than log_loss, or an estimator to start from")
    if any(f.get("on_missing") != "reject" for f in features):
        raise Refused('the trainer takes no missing values: each feature needs "on_missing": "reject"')
    base = float(classifier._raw_predict_init(numpy.zeros((1, len(features)), numpy.float32))[0, 0])
    return base, [list(boosted_nodes(t[0].tree_, classifier.learning_rate)) for t in classifier.estimators_]


def binned_nodes(nodes):
    """The nodes of a tree of HistGradientBoostingClassifier."""
    for n in nodes:
        if n["is_leaf"]:
            yield float(n["count"]), float(n["value"]), None
            continue
        missing = "nan_left" if n["missing_go_to_left"] else "nan_right"
        threshold = min(float(n["num_threshold"]), LARGEST)
        yield float(n["count"]), None, [int(n["feature_idx"]), threshold, int(n["left"]), int(n["right"]), missing]


def binned(classifier, _):
    """What HistGradientBoostingClassifier starts from, and its trees."""
    if classifier.is_categorical_ is not None:
        raise Refused("categorical features: give the numbers of the categories as numbers")
    base = float(classifier._baseline_prediction[0, 0])
    return base, [list(binned_nodes(t[0].nodes)) for t in classifier._predictors]


def convert(classifier, features, points):
    """The value of "model" for a classifier."""
    kinds = {GradientBoostingClassifier: boosted, HistGradientBoostingClassifier: binned}
    if type(classifier) not in kinds:
        raise Refused(f"a {type(classifier).__name__}")
    if len(classifier.classes_) != 2 or len(features) != classifier.n_features_in_:
        raise Refused("not two classes, or not a feature for each column")
    base, trees = kinds[type(classifier)](classifier, features)
    return {
        "format": FORMAT,
        "points": points,
        "features": features,
        "trees": [tree(nodes, base if i == 0 else 0.0) for i, nodes in enumerate(trees)],
    }


def main():
    import joblib

    path, features, points = sys.argv[1:]
    with open(features) as f:
        model = convert(joblib.load(path), json.load(f), int(points))
    json.dump(model, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    try:
        main()
    except Refused as why:
        sys.exit(f"sklearn_model.py: {why}")
