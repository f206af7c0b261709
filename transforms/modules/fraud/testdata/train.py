#!/usr/bin/env python3
"""Trains models with LightGBM, and writes what they score.

    train.py FOLDER ROWS TREES

FOLDER then holds a case for each kind of model: NAME.model.json and
NAME.rows.jsonl, of which a line is a record and its score.
"""
import json
import pathlib
import sys

import lightgbm
import numpy

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import model

COUNTRIES = ["DE", "FR", "it's", "Ö \"x\" \\", "KP", "IR", "US", "BR", "JP", "CN", "AT", ""]
FEATURES = [
    {"path": "$.amount", "reason": "fraud.amount"},
    {"path": "$.country", "categories": COUNTRIES, "reason": "fraud.country"},
    {"path": "$.card.present", "reason": "fraud.card"},
    {"path": "$.history[0].n"},
    {"path": "$.tiny"},
    {"path": "$.hour", "reason": "fraud.time"},
]
CATEGORICAL = [1, 5]
# How LightGBM treats what is missing, and what else changes a score.
KINDS = {
    "nan": {},
    "zero": {"zero_as_missing": True},
    "none": {"use_missing": False},
    "sigmoid": {"sigmoid": 0.7, "boost_from_average": False},
}


def rows(n, seed):
    """Records and the matrix that they are; NaN is what is missing."""
    r = numpy.random.default_rng(seed)
    x = numpy.empty((n, len(FEATURES)))
    x[:, 0] = numpy.round(r.lognormal(4, 2, n), 2)
    x[:, 1] = r.integers(0, len(COUNTRIES), n)
    x[:, 2] = r.integers(0, 2, n)
    x[:, 3] = r.normal(0, 1e6, n) * (r.random(n) < 0.7)
    x[:, 4] = r.normal(0, 1, n) * 10.0 ** r.integers(-40, 3, n)
    x[:, 5] = r.integers(-1, 24, n)
    x[r.random(x.shape) < 0.1] = numpy.nan
    x[:, 0][r.random(n) < 0.05] = 0
    return x


def labels(x, seed):
    r = numpy.random.default_rng(seed)
    v = numpy.nan_to_num(x)
    raw = numpy.log1p(v[:, 0]) / 4 + (v[:, 1] % 5) / 3 - v[:, 2] + (v[:, 3] > 1000) + numpy.isnan(x[:, 0]) + (v[:, 5] % 7) / 9 - 2
    return (r.random(len(x)) < 1 / (1 + numpy.exp(-raw))).astype(int)


def record(row, unknown):
    """The JSON of a row. Every place that is missing is spelled one way or the other."""
    amount, country, present, n, tiny, hour = (None if numpy.isnan(v) else float(v) for v in row)
    out = {"tiny": tiny}
    if amount is not None:
        out["amount"] = amount
    if present is not None:
        out["card"] = {"present": bool(present)}
    out["country"] = COUNTRIES[int(country)] if country is not None else "unknown" if unknown else None
    out["history"] = [{"n": n}, {"n": 5}] if n is not None else []
    out["hour"] = None if hour is None else int(hour)
    return out


def write(folder, name, made, x, scores, unknown):
    """Writes a model, and what its trainer scores."""
    (folder / f"{name}.model.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
    with open(folder / f"{name}.rows.jsonl", "w") as out:
        for i, row in enumerate(x):
            print(json.dumps({"record": record(row, unknown and i % 2), "score": float(scores[i])}), file=out)


def main():
    folder, n, trees = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, more) in enumerate(KINDS.items()):
        x = rows(20000, seed)
        options = {"objective": "binary", "num_leaves": 15, "min_data_per_group": 10, "cat_smooth": 1, "verbose": -1,
                   "num_threads": 1, "deterministic": True, "seed": 1, **more}
        data = lightgbm.Dataset(x, labels(x, seed), categorical_feature=CATEGORICAL, params=options)
        booster = lightgbm.train(options, data, trees)

        fresh = rows(n, seed + 100)
        scores = booster.predict(fresh)
        made = model.convert(booster.dump_model(), FEATURES, 100)
        write(folder, name, made, fresh, scores, True)


if __name__ == "__main__":
    main()
