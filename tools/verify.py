#!/usr/bin/env python3
"""Verifies files of evidence that `guardlock audit prove` wrote, without Guardlock.

Written from docs/evidence.md alone, so that two programs which share no line must agree. Needs the package
`cryptography`. A line for each file; exit code 3 if one is not proven. With --trust-root FILE (JSON) the enclosed
approvals are checked, too.
usage: verify.py [--trust-root FILE] LOG_KEY_FILE FILE...
"""
import base64
import bisect
import hashlib
import json
import re
import struct
import sys
import zlib
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

NOTHING = bytes(32)
VERDICTS = ("passed", "modified", "rejected", "dropped", "routed")


class Unproven(Exception):
    pass


def need(condition, message):
    if not condition:
        raise Unproven(message)


def sha256(data):
    return hashlib.sha256(data).digest()


def unbase64(text):
    raw = base64.b64decode(text, validate=True)
    need(base64.b64encode(raw).decode() == text, "base64 with spare bits")
    return raw


# A field is a name and a kind: ? a flag, s a string, n a name's digest, a number that many bytes, else an integer as struct
# has it, big endian; * begins a list of what follows; f is a fact.
LEAVES = {
    1: "seq Q, time q, consume ?, outcome B, reason s, cluster s, topic s, partition I, id 16, connection Q, principal n, client n, "
       "source n, tls s, suite s, certificate n, policy s, grant 32, modules *s32, producer q, epoch h, sequence i, records I, codec B, "
       "in I, out I, mac B, mac_epoch 16, nonce Q, mac_value 16, rulings *BBss, runs *II",
    16: "decision Q, cluster s, topic s, partition I, route s, base q, records I, leader i, append q, error h, recovered ?",
    0: "seq Q, time q, subject s, module s, digest 32, who n, outcome s, reason s, revision s, facts *f",
}


def parse(leaf):
    magic = b"guardlock leaf v1\n"
    need(leaf.startswith(magic) and 0 < leaf[len(magic)] <= 16, "no leaf of version 1")
    data, out = leaf[len(magic) + 1:], {"kind": leaf[len(magic)], "names": set()}

    def take(kind):
        nonlocal data
        if kind == "f":
            key = take("s")
            return key, take("n" if take("?") else "s")
        size = {"s": 4, "n": 32, "?": 1}.get(kind) or (int(kind) if kind.isdigit() else struct.calcsize(">" + kind))
        need(size <= len(data), "a leaf is too short")
        value, data = data[:size], data[size:]
        if kind == "s":
            size = struct.unpack(">I", value)[0]
            need(size <= len(data), "a leaf is too short")
            value, data = data[:size].decode(), data[size:]
        elif kind == "n":
            out["names"].add(value)
        elif kind == "?":
            need(value in (b"\0", b"\1"), "a flag is neither 0 nor 1")
            value = value == b"\1"
        elif not kind.isdigit():
            value = struct.unpack(">" + kind, value)[0]
        return value

    for field in LEAVES.get(out["kind"], LEAVES[0]).split(", "):
        name, kind = field.split(" ")
        if kind[0] == "*":
            out[name] = [tuple(take(k) for k in re.findall(r"\d+|.", kind[1:])) for _ in range(take("I"))]
        else:
            out[name] = take(kind)
    need(not data and all(r < len(out["rulings"]) for r, _ in out.get("runs", [])), "bytes behind a leaf, or a run without a ruling")
    out["where"] = out.get("cluster"), out.get("topic"), out.get("partition")
    return out


def open_note(text, key_line):
    """C2SP signed-note: the text up to the empty line, and a line for each signature."""
    name, key_hash, key = key_line.split("+", 2)
    key = unbase64(key)
    need(key[0] == 1 and sha256(name.encode() + b"\n" + key)[:4].hex() == key_hash, "no key of a log")
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
    f, s, r = index, size - 1, sha256(b"\0" + leaf)
    for p in path:
        need(s > 0, "a path is too long")
        if f & 1 or f == s:
            r = sha256(b"\1" + p + r)
            while not f & 1 and f:
                f, s = f >> 1, s >> 1
        else:
            r = sha256(b"\1" + r + p)
        f, s = f >> 1, s >> 1
    need(s == 0 and r == root, "an entry is not in the log")


def names_of(entry, leaf):
    told = {}
    for n in entry.get("names", []):
        value = n.get("value", "").encode() or unbase64(n.get("bytes", ""))
        need(n["salt"] == n["salt"].lower() and len(n["salt"]) == 32, "a salt")
        digest = sha256(b"guardlock name v1\n" + bytes.fromhex(n["salt"]) + value)
        need(digest in leaf["names"], "a name that is not in its leaf")
        told[digest] = value.decode(errors="replace")
    return told


def ordered(fields, known):
    need(list(fields) == [k for k in known.split() if k in fields], "a field that is unknown, or out of its order")


def verify(raw, key_line, trust):
    file = json.loads(raw)
    need((json.dumps(file, indent=1, ensure_ascii=False) + "\n").encode() == raw, "not written as the program writes it")
    ordered(file, "format record range gaps checkpoint entries leaves digest proof names approvals")
    size, root = open_note(file["checkpoint"], key_line)
    if file["format"] == "guardlock range certificate v1":
        return certificate(file, size, root, trust)
    need(file["format"] == "guardlock evidence v1", "another format")
    decided, stored, admissions, told = [], [], [], {}
    for e in file["entries"]:
        ordered(e, "index leaf path names")
        leaf = unbase64(e["leaf"])
        in_tree(e["index"], size, root, leaf, [unbase64(p) for p in e["path"]])
        leaf = dict(parse(leaf), index=e["index"])
        told.update(names_of(e, leaf))
        {1: decided, 16: stored, 2: admissions, 9: admissions}[leaf["kind"]].append(leaf)

    need(len(decided) == len(stored) == 1, "it needs one decision and one answer of the broker")
    d, b, at = decided[0], stored[0], file["record"]
    nth = at["offset"] - b["base"]
    answers(b, d, at)
    need(b["base"] >= 0 and 0 <= nth < b["records"], "another offset")
    people = admitted(d, admissions)
    checked = approved(file.get("approvals", []), admissions, d["time"], trust)
    word, reason = verdict(d, b, nth)
    who = [told.get(d[n], "redacted") for n in ("principal", "client", "source") if d[n] != NOTHING]
    return f"{VERDICTS[word]} {reason} by {people}{checked}, entries {d['index']} and {b['index']} of {size}, from {who}"


def answers(b, d, at):
    need(not d["consume"] and b["decision"] == d["seq"] and b["index"] > d["index"], "the answer is to another decision")
    need(b["where"] == (at["cluster"], at["topic"], at["partition"]) and b["where"][0] == d["where"][0], "another partition")
    need(b["route"] == b["where"][1] if b["route"] else b["where"] == d["where"], "another topic than the decision's")


def root_of(leaves, proof, start, size):
    """The root of a tree of which some leaves are known, and the hashes of the greatest subtrees without any."""
    if not leaves or size == 1:
        need(leaves or proof, "the proof is too short")
        return sha256(b"\0" + leaves[0][1]) if leaves else proof.pop()
    half = 1 << (size - 1).bit_length() - 1
    at = bisect.bisect_left(leaves, start + half, key=lambda l: l[0])
    left = root_of(leaves[:at], proof, start, half)
    return sha256(b"\1" + left + root_of(leaves[at:], proof, start + half, size - half))


def certificate(file, size, root, trust):
    r, packed, proof = file["range"], unbase64(file["leaves"]), unbase64(file["proof"])
    need(sha256(packed) == unbase64(file["digest"]) and len(proof) % 32 == 0, "not the leaves that it was written with")
    unpacked, leaves = zlib.decompressobj(), []
    raw, at = unpacked.decompress(packed, 1 << 29), 0
    need(unpacked.eof and not unpacked.unused_data, "leaves that cannot be unpacked")
    while at < len(raw):
        index, length = struct.unpack_from(">QI", raw, at)
        need((not leaves or index > leaves[-1][0]) and index < size and at + 12 + length <= len(raw), "a leaf out of its order, or cut")
        leaves.append((index, raw[at + 12 : at + 12 + length]))
        at += 12 + length
    hashes = [proof[i : i + 32] for i in range(0, len(proof), 32)][::-1]
    need(leaves and root_of(leaves, hashes, 0, size) == root and not hashes, "its entries are not those of the log")

    decided, stored, admissions, eras, names = {}, [], [], [], set()
    for index, leaf in leaves:
        leaf = dict(parse(leaf), index=index)
        names |= leaf["names"]
        if leaf["kind"] == 1:
            need(leaf["seq"] not in decided, "two decisions with one number")
            decided[leaf["seq"]] = leaf
        else:
            {16: stored, 2: admissions, 9: admissions, 10: eras}[leaf["kind"]].append(leaf)
    names_of(file, {"names": names})
    next_offset, topics, used, seen, counts = r["first"], set(), {}, set(), {}
    need(0 <= r["first"] <= r["last"] and stored, "no range, or no decision")
    told = gaps(file, r, eras, min(b["base"] for b in stored), topics)
    for b in sorted(stored, key=lambda b: b["base"]):
        d, end = decided[b["decision"]], b["base"] + b["records"]
        answers(b, d, r)
        while told and told[0]["first"] == next_offset:
            next_offset = told.pop(0)["last"] + 1
        first = next_offset == r["first"] and not seen
        need(b["base"] <= r["last"] and end > r["first"] and 0 <= b["base"] < end, "a placement outside of the range")
        need(b["base"] <= next_offset if first else b["base"] == next_offset, f"offsets from {min(b['base'], next_offset)} on have no decision, or two")
        need((b["decision"], b["route"]) not in seen, "a decision that was answered already")
        seen.add((b["decision"], b["route"]))
        if not b["route"] and d["id"] != bytes(16):
            topics.add(d["id"])
        for a in chain(d, d["modules"], b"", admissions):
            used.setdefault(a["index"], (a, set()))[1].add(d["time"])
        for nth in range(max(b["base"], r["first"]) - b["base"], min(end, r["last"] + 1) - b["base"]):
            word = verdict(d, b, nth)
            counts[word] = counts.get(word, 0) + 1
        verdict(d, b, b["records"] - 1)
        next_offset = end
    while told and told[0]["first"] == next_offset:
        next_offset = told.pop(0)["last"] + 1
    need(next_offset > r["last"] and not told, f"offsets from {next_offset} on have no decision")
    need(len(topics) < 2 and {s for s, _ in seen} == set(decided) and len(used) == len(admissions), "entries that the range has no place for")

    checked = approved(file.get("approvals", []), admissions, 0, None)
    for a, times in used.values() if trust else ():
        mine = [e for e in file.get("approvals", []) if approval_id(e) in values(a, "approval.id")]
        checked = [approved(mine, [a], t, trust) for t in (min(times), max(times))][0]
    people = [(a["module"], values(a, "approval")) for a, _ in used.values()]
    words = [f"{n} {VERDICTS[w]} {reason}".rstrip() for (w, reason), n in counts.items()]
    gone = "".join(f", but {g['first']} to {g['last']} {g['kind']}" + ("" if g["kind"] == "before-era" else " (told, not proven)") for g in file.get("gaps", []))
    return f"every offset from {r['first']} to {r['last']}{gone}: {', '.join(words)}, by {people}{checked}, of {size} entries"


def gaps(file, r, eras, decided, topics):
    """The gaps by their first offset; what is before the era is so by an entry of the log."""
    begins = [dict(f for f, in reversed(e["facts"])) for e in eras]
    own = [g for g in file.get("gaps", []) if g["kind"] == "before-era"]
    need(len(eras) == (1 if own else 0), "an era that the range has no place for, or none")
    for e in begins:
        need((e["cluster"], e["topic"], int(e["partition"])) == (r["cluster"], r["topic"], r["partition"]), "the era of another partition")
        if e.get("topic_id"):
            topics.add(bytes.fromhex(e["topic_id"]))
    for g in file.get("gaps", []):
        ordered(g, "first last kind")
        need(g["kind"] in ("before-era", "marker", "nothing", "retention") and r["first"] <= g["first"] <= g["last"] <= r["last"], "no gap of the range")
        need(g not in own or g["last"] < min(decided, int(begins[0]["offset"])), "nothing says that it was there before")
    return sorted(file.get("gaps", []), key=lambda g: g["first"])


def chain(d, modules, grant, admissions):
    """The admissions that let a decision's modules run, the latest first; their grants make that of the decision."""
    if not modules:
        need(not d["modules"] or grant == d["grant"], "another grant")
        return []
    tried = set()
    for a in reversed(admissions):
        facts = dict(f for f, in reversed(a["facts"]))
        own = bytes.fromhex(facts.get("grant.digest", ""))
        lets = (a["module"], a["digest"], a["outcome"]) == (*modules[0], "allowed") and a["index"] < d["index"]
        if lets and own not in tried and int(facts.get("until", 1 << 62)) > d["time"]:
            tried.add(own)
            try:
                return [a] + chain(d, modules[1:], sha256(grant + own) if grant else own, admissions)
            except Unproven:
                continue
    raise Unproven("nothing let a module run")


def verdict(d, b, nth):
    for ruling, count in d["runs"]:
        word, _, reason, route = d["rulings"][ruling]
        if b["route"] and (word != 4 or route != b["route"]):
            continue
        if nth < count:
            return word, reason
        nth -= count
    need(not d["runs"] and not b["route"] and nth < d["records"], "the decision has no such record")
    return d["outcome"], d["reason"]


def admitted(d, admissions):
    need(len(admissions) == len(d["modules"]), "not as many admissions as modules")
    grant, people = b"", []
    for m in d["modules"]:
        a = next((a for a in admissions if (a["module"], a["digest"]) == m), None)
        need(a and a["outcome"] == "allowed" and a["index"] < d["index"], "a module was not let run")
        facts = dict(f for f, in reversed(a["facts"]))
        need("until" not in facts or int(facts["until"]) > d["time"], "an admission had ended")
        own = bytes.fromhex(facts["grant.digest"])
        grant = sha256(grant + own) if grant else own
        people.append((m[0], facts.get("author"), values(a, "approval")))
    need(not people or grant == d["grant"], "another grant")
    return people


def values(a, key):
    return [v for (k, v), in a["facts"] if k == key]


def approval_id(raw):
    return sha256(base64.b64decode(json.loads(unbase64(raw))["dsseEnvelope"]["payload"])).hex()


def approved(bundles, admissions, time, trust):
    """Each bundle is one that is named; by a trust root its signature (DSSE, ECDSA P-256) and its times are checked."""
    named, envelopes = [i for a in admissions for i in values(a, "approval.id")], {}
    for raw in bundles:
        e = json.loads(unbase64(raw))["dsseEnvelope"]
        payload = base64.b64decode(e["payload"])
        need(sha256(payload).hex() in named, "an approval that no admission names")
        pae = b"DSSEv1 %d %s %d %s" % (len(e["payloadType"]), e["payloadType"].encode(), len(payload), payload)
        envelopes.setdefault(sha256(payload).hex(), []).append((json.loads(payload), pae, base64.b64decode(e["signatures"][0]["sig"])))
    if not trust:
        return ""
    for a in admissions:
        signers = {who for who, i in zip(values(a, "approval"), values(a, "approval.id")) if any(holds(who, a, time, trust, *e) for e in envelopes.get(i, []))}
        need(len(signers) >= trust.get("threshold", 1) and signers == set(values(a, "approval")), "an approval does not hold")
    return ", who signed"


def holds(who, a, time, trust, statement, pae, signature):
    p, at = statement["predicate"], time / 1e6
    early = "not_before" in p and datetime.fromisoformat(p["not_before"]).timestamp() > at + 60
    if early or datetime.fromisoformat(p["not_after"][:26].rstrip("Z") + "+00:00").timestamp() <= at or statement["subject"][0]["digest"]["sha256"] != a["digest"].hex():
        return False
    for key in (k["key"] for k in trust["approvers"] if k["identity"] == who):
        try:
            load_pem_public_key(key.encode()).verify(signature, pae, ECDSA(SHA256()))
            return True
        except InvalidSignature:
            continue
    return False


def main(args):
    trust = json.load(open(args[1])) if args[:1] == ["--trust-root"] else None
    key, *files = args[2:] if trust else args
    key, bad = open(key).read().strip(), 0
    for path in files:
        try:
            print(f"{path}: proven: {verify(open(path, 'rb').read(), key, trust)}")
        except (Unproven, InvalidSignature, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, struct.error, zlib.error) as e:
            bad += 1
            print(f"{path}: not proven: {e or type(e).__name__}")
    return 3 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
