#!/usr/bin/env python3
"""Verifies a file of evidence that `guardlock audit prove` wrote, without Guardlock.

Written from docs/evidence.md alone, so that two programs which share no line must agree. Needs the package
`cryptography`. usage: verify.py LOG_KEY_FILE FILE... A line for each file; exit code 3 if one is not proven.
"""
import base64
import hashlib
import json
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAGIC = b"guardlock leaf v1\n"
NOTHING = bytes(32)


class Unproven(Exception):
    pass


def need(condition, message):
    if not condition:
        raise Unproven(message)


def unbase64(text):
    raw = base64.b64decode(text, validate=True)
    need(base64.b64encode(raw).decode() == text, "base64 with spare bits")
    return raw


class Reader:
    """The fields of a leaf, in order. Integers are big endian; a string has its length before it."""

    def __init__(self, data):
        self.data = data

    def raw(self, n):
        need(n <= len(self.data), "a leaf is too short")
        value, self.data = self.data[:n], self.data[n:]
        return value

    def number(self, code):
        return struct.unpack(">" + code, self.raw(struct.calcsize(code)))[0]

    def text(self):
        return self.raw(self.number("I")).decode()

    def flag(self):
        value = self.number("B")
        need(value < 2, "a flag is neither 0 nor 1")
        return value == 1

    def where(self):
        return self.text(), self.text(), self.number("I")

    def module(self):
        return self.text(), self.raw(32)


def parse(leaf):
    need(leaf.startswith(MAGIC), "no leaf of version 1")
    r = Reader(leaf[len(MAGIC):])
    kind = r.number("B")
    if kind == 1:
        out = decision(r)
    elif kind == 16:
        out = placement(r)
    else:
        need(1 < kind < 16, "unknown kind of leaf")
        out = control(r)
    need(not r.data, "bytes behind a leaf")
    return dict(out, kind=kind)


def decision(r):
    d = dict(seq=r.number("Q"), time=r.number("q"), consume=r.flag(), outcome=r.number("B"), reason=r.text(), where=r.where())
    r.raw(16)  # topic id
    r.number("Q")  # connection
    names = [r.raw(32) for _ in range(3)]
    d["tls"] = r.text(), r.text()
    d["names"] = names + [r.raw(32)]
    d["policy"], d["grant"] = r.text(), r.raw(32)
    d["modules"] = [r.module() for _ in range(r.number("I"))]
    d["producer"] = r.number("q"), r.number("h"), r.number("i")
    d["records"] = r.number("I")
    r.raw(1 + 4 + 4 + 1 + 16 + 8 + 16)  # codec, bytes in and out, MAC
    d["rulings"] = [(r.number("B"), r.number("B"), r.text(), r.text()) for _ in range(r.number("I"))]
    d["runs"] = [(r.number("I"), r.number("I")) for _ in range(r.number("I"))]
    need(all(ruling < len(d["rulings"]) for ruling, _ in d["runs"]), "a run has no ruling")
    return d


def placement(r):
    b = dict(decision=r.number("Q"), where=r.where(), route=r.text(), base=r.number("q"), records=r.number("I"))
    r.raw(4 + 8 + 2)  # leader epoch, append time, error code
    r.flag()
    return dict(b, names=[])


def control(r):
    c = dict(seq=r.number("Q"), time=r.number("q"), subject=r.text(), module=r.module(), names=[r.raw(32)])
    c["outcome"], c["reason"], c["revision"], c["facts"] = r.text(), r.text(), r.text(), []
    for _ in range(r.number("I")):
        key = r.text()
        if r.flag():
            c["names"].append(r.raw(32))
            need(c["names"][-1] != NOTHING, "a fact without a name")
        else:
            c["facts"].append((key, r.text()))
    return c


def open_note(text, key_line):
    """C2SP signed-note: the text up to the empty line, and a line for each signature."""
    name, key_hash, key = key_line.split("+", 2)
    key = unbase64(key)
    need(key[0] == 1 and hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() == key_hash, "no key of a log")
    body, _, signatures = text.partition("\n\n")
    body += "\n"
    for line in signatures.rstrip("\n").split("\n"):
        dash, signer, signature = line.split(" ")
        signature = unbase64(signature)
        if dash == "\u2014" and signer == name and signature[:4].hex() == key_hash:
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], body.encode())
            origin, size, root, end = body.split("\n")
            need(origin == name and end == "" and str(int(size)) == size, "no checkpoint of this log")
            return int(size), unbase64(root)
    raise Unproven("this log did not sign it")


def in_tree(index, size, root, leaf, path):
    """RFC 9162, 2.1.3.2."""
    need(0 <= index < size, "an entry behind the checkpoint")
    f, s, r = index, size - 1, hashlib.sha256(b"\0" + leaf).digest()
    for p in path:
        need(s > 0, "a path is too long")
        if f & 1 or f == s:
            r = hashlib.sha256(b"\1" + p + r).digest()
            while not f & 1 and f:
                f, s = f >> 1, s >> 1
        else:
            r = hashlib.sha256(b"\1" + r + p).digest()
        f, s = f >> 1, s >> 1
    need(s == 0 and r == root, "an entry is not in the log")


def names_of(entry, leaf):
    told = {}
    for n in entry.get("names", []):
        value = n.get("value", "").encode() or unbase64(n.get("bytes", ""))
        need(n["salt"] == n["salt"].lower() and len(n["salt"]) == 32, "a salt")
        digest = hashlib.sha256(b"guardlock name v1\n" + bytes.fromhex(n["salt"]) + value).digest()
        need(digest in leaf["names"], "a name that is not in its leaf")
        told[digest] = value.decode(errors="replace")
    return told


def verify(raw, key_line):
    file = json.loads(raw)
    need((json.dumps(file, indent=1, ensure_ascii=False) + "\n").encode() == raw, "not written as the program writes it")
    need(file["format"] == "guardlock evidence v1", "another format")
    size, root = open_note(file["checkpoint"], key_line)
    decided, stored, admissions, told = [], [], [], {}
    for e in file["entries"]:
        leaf = unbase64(e["leaf"])
        in_tree(e["index"], size, root, leaf, [unbase64(p) for p in e["path"]])
        leaf = dict(parse(leaf), index=e["index"])
        told.update(names_of(e, leaf))
        {1: decided, 16: stored, 2: admissions, 9: admissions}[leaf["kind"]].append(leaf)

    need(len(decided) == len(stored) == 1, "it needs one decision and one answer of the broker")
    d, b, at = decided[0], stored[0], file["record"]
    nth = at["offset"] - b["base"]
    need(not d["consume"] and b["decision"] == d["seq"] and b["index"] > d["index"], "the answer is to another decision")
    need(b["where"] == (at["cluster"], at["topic"], at["partition"]) and b["where"][0] == d["where"][0], "another partition")
    need(b["base"] >= 0 and 0 <= nth < b["records"], "another offset")
    need(b["route"] == b["where"][1] if b["route"] else b["where"] == d["where"], "another topic than the decision's")
    return size, d, b, verdict(d, b, nth), admitted(d, admissions), [told.get(n, "redacted") for n in d["names"] if n != NOTHING]


def verdict(d, b, nth):
    for ruling, count in d["runs"]:
        verdict_, _, reason, route = d["rulings"][ruling]
        if b["route"] and (verdict_ != 4 or route != b["route"]):
            continue
        if nth < count:
            return verdict_, reason
        nth -= count
    need(not d["runs"] and not b["route"] and nth < d["records"], "the decision has no such record")
    return d["outcome"], d["reason"]


def admitted(d, admissions):
    need(len(admissions) == len(d["modules"]), "not as many admissions as modules")
    grant, people = b"", []
    for m in d["modules"]:
        a = next((a for a in admissions if a["module"] == m), None)
        need(a and a["outcome"] == "allowed" and a["index"] < d["index"], "a module was not let run")
        facts = dict(reversed(a["facts"]))
        need("until" not in facts or int(facts["until"]) > d["time"], "an admission had ended")
        own = bytes.fromhex(facts["grant.digest"])
        grant = hashlib.sha256(grant + own).digest() if grant else own
        people.append((m[0], facts.get("author"), [v for k, v in a["facts"] if k == "approval"]))
    need(not people or grant == d["grant"], "another grant")
    return people


def main():
    key, bad = open(sys.argv[1]).read().strip(), 0
    words = ("passed", "modified", "rejected", "dropped", "routed")
    for path in sys.argv[2:]:
        try:
            size, d, b, (word, reason), people, names = verify(open(path, "rb").read(), key)
            print(f"{path}: proven: {words[word]} {reason} by {people} for {d['where']}, entries {d['index']} and {b['index']} of {size}, from {names}")
        except (Unproven, InvalidSignature, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as e:
            bad += 1
            print(f"{path}: not proven: {e or type(e).__name__}")
    return 3 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
