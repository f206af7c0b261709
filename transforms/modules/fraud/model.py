#!/usr/bin/env python3
"""Makes fraud's model (see model.h) from what LightGBM dumps.

    model.py DUMP.json FEATURES.json POINTS > model.json

DUMP.json is json.dump(booster.dump_model()) of a binary classifier. FEATURES.json is
the list of model.h, one feature for each column of the training set, in order;
the categories of a text are in the order of their numbers. The result is the
value of "model" in fraud's configuration. What would not score as LightGBM
does is refused.
"""
import json
import sys

FORMAT = "guardlock_trees_v1"
MISSING = {"None": "none", "Zero": "zero", "NaN": "nan"}


class Refused(Exception):
    """A model that the module cannot score as its trainer does."""


def sigmoid(objective):
    """The factor in "binary sigmoid:1"; other objectives have other scores."""
    words = objective.split()
    if words[:1] != ["binary"]:
        raise Refused(f"the objective is {objective!r}, not binary")
    return float(next((w[8:] for w in words if w.startswith("sigmoid:")), 1))


def split(node, left, right):
    """One split, of which the children are at these places in the list."""
    categorical = node["decision_type"] == "=="
    if categorical:
        threshold = [int(c) for c in node["threshold"].split("||")]
        missing = "nan_right"
    elif node["decision_type"] == "<=":
        threshold = node["threshold"]
        missing = MISSING[node["missing_type"]]
        if missing != "none":
            missing += "_left" if node["default_left"] else "_right"
    else:
        raise Refused(f"a decision by {node['decision_type']}")
    return [node["split_feature"], threshold, left, right, missing, node["internal_value"]]


def tree(root):
    """A tree as a list in which children stand behind their parents."""
    nodes, waiting = [None], [(0, root)]
    while waiting:
        at, node = waiting.pop()
        if "leaf_const" in node:
            raise Refused("linear trees")
        if "leaf_value" in node:
            nodes[at] = node["leaf_value"]
            continue
        left = len(nodes)
        nodes += [None, None]
        nodes[at] = split(node, left, left + 1)
        waiting += [(left, node["left_child"]), (left + 1, node["right_child"])]
    return nodes


def convert(dump, features, points):
    """The value of "model" for a dump."""
    if dump["num_class"] != 1 or dump["num_tree_per_iteration"] != 1:
        raise Refused("more than two classes")
    if dump.get("average_output"):
        raise Refused("a random forest, which averages its trees")
    if len(features) != dump["max_feature_idx"] + 1:
        raise Refused(f"{len(features)} features for {dump['max_feature_idx'] + 1} columns")
    return {
        "format": FORMAT,
        "points": points,
        "sigmoid": sigmoid(dump["objective"]),
        "features": features,
        "trees": [tree(t["tree_structure"]) for t in dump["tree_info"]],
    }


def main():
    dump, features, points = sys.argv[1:]
    with open(dump) as d, open(features) as f:
        model = convert(json.load(d), json.load(f), int(points))
    json.dump(model, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    try:
        main()
    except Refused as why:
        sys.exit(f"model.py: {why}")
