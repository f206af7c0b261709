#!/usr/bin/env python3
"""Verifies files of evidence that `guardlock audit prove` wrote, without Guardlock.

Written from docs/evidence.md alone, so that two programs which share no line must agree. Needs the package
`cryptography`. A line for each file; exit code 3 if one is not proven. With --trust-root FILE (JSON) the enclosed
approvals are checked, too. LOG_KEY_FILE has the public key of a log in each line.
usage: verify.py [--trust-root FILE] LOG_KEY_FILE FILE...
"""
import base64, collections, functools, hashlib, itertools, json, re, struct, sys, zlib  # noqa: E401
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

VERDICTS = ("passed", "modified", "rejected", "dropped", "routed")
GAPS = ("before-era", "marker", "nothing", "retention")
OBJECTS = (  # the fields of the file's objects, in their order
    "format record checkpoint entries approvals", "cluster topic partition offset", "index leaf path names", "salt value bytes",
    "format range gaps checkpoint leaves digest proof names approvals", "cluster topic partition first last", "first last kind",
    "format range gaps logs names approvals", "checkpoint leaves digest proof",
)
# A field of a leaf is a name and a kind: S a string, N a name's digest, V the value of a fact, else what struct calls it;
# * begins a list of what follows.
LEAVES = {
    1: "seq:Q time:q consume:? outcome:B reason:S cluster:S topic:S partition:I id:16s connection:Q principal:N client:N"
    " source:N tls:S suite:S certificate:N policy:S grant:32s modules:*S32s producer:q epoch:h sequence:i records:I codec:B"
    " in:I out:I mac:B mac_epoch:16s nonce:Q mac_value:16s rulings:*BBSS runs:*II",
    16: "decision:Q cluster:S topic:S partition:I route:S base:q records:I leader:i append:q error:h recovered:?",
    0: "seq:Q time:q subject:S module:S digest:32s who:N outcome:S reason:S revision:S facts:*SV",  # 2 to 15
}


def need(condition, message):
    if not condition:
        raise ValueError(message)


def sha256(data):
    return hashlib.sha256(data).digest()


def unbase64(text):
    raw = base64.b64decode(text, validate=True)
    need(base64.b64encode(raw).decode() == text, "base64 with spare bits")
    return raw


def parse(index, leaf):
    magic = b"guardlock leaf v1\n"
    need(leaf.startswith(magic) and 0 < leaf[len(magic)] <= 16, "no leaf of version 1")
    at, kind = len(magic) + 1, leaf[len(magic)]
    entry = {"index": index, "kind": 2 if kind == 9 else kind, "names": set()}

    def take(kind):
        nonlocal at
        if kind == "V":
            return take("N" if take("?") else "S")
        form = ">" + (f"{take('I')}s" if kind == "S" else "32s" if kind == "N" else kind)
        (value,) = struct.unpack_from(form, leaf, at)
        at += struct.calcsize(form)
        need(kind != "?" or leaf[at - 1] <= 1, "a flag is neither 0 nor 1")
        if kind == "N":
            entry["names"].add(value)
        return value.decode() if kind == "S" else value

    for field in LEAVES.get(kind, LEAVES[0]).split():
        name, kind = field.split(":")
        kinds = re.findall(r"\d*[\w?]", kind)
        entry[name] = [tuple(map(take, kinds)) for _ in range(take("I"))] if kind[0] == "*" else take(kind)
    need(at == len(leaf), "bytes behind a leaf")
    entry["where"] = entry.get("cluster"), entry.get("topic"), entry.get("partition")
    entry["fact"] = dict(reversed(entry.get("facts", [])))
    return entry


def key_of(line):
    """C2SP signed-note: the public key of a log, by its name and hash."""
    name, key_hash, key = line.split("+", 2)
    key = unbase64(key)
    need(key[0] == 1 and sha256(name.encode() + b"\n" + key)[:4].hex() == key_hash, "no key of a log")
    return (name, key_hash), ed25519.Ed25519PublicKey.from_public_bytes(key[1:])


def open_note(text, keys):
    """C2SP signed-note: the text up to the empty line, and a line for each signature."""
    body, _, signatures = text.partition("\n\n")
    origin, size, root = body.split("\n")
    for line in signatures.rstrip("\n").split("\n"):
        dash, signer, signature = line.split(" ")
        signature = unbase64(signature)
        key = keys.get((signer, signature[:4].hex()))
        if (dash, signer) == ("\u2014", origin) and key:
            key.verify(signature[4:], body.encode() + b"\n")
            need(str(int(size)) == size, "no size of a log")
            return origin, int(size), unbase64(root)
    raise ValueError("this log did not sign it")


def root_of(leaves, others, start, size):
    """The root of a tree by some leaves, and by the hashes of the greatest subtrees without any, from left to right."""
    if not leaves:
        return next(others)
    if size == 1:
        return sha256(b"\0" + leaves[0][1])
    left = 1 << (size - 1).bit_length() - 1  # the greatest power of two below the size
    first = root_of([l for l in leaves if l[0] < start + left], others, start, left)
    return sha256(b"\1" + first + root_of([l for l in leaves if l[0] >= start + left], others, start + left, size - left))


def from_left(path, index, size):
    """The hashes of an inclusion proof (RFC 9162, 2.1.3) as root_of takes them."""
    if size == 1:
        need(not path, "a path is too long")
        return []
    *below, top = path
    left = 1 << (size - 1).bit_length() - 1
    return from_left(below, index, left) + [top] if index < left else [top] + from_left(below, index - left, size - left)


def in_log(leaves, others, size, root):
    """The entries of leaves that are in the log at their places."""
    indexes, others = [i for i, _ in leaves], iter(others)
    need(indexes and indexes == sorted(set(indexes)) and 0 <= indexes[0] and indexes[-1] < size, "leaves out of order")
    need(root_of(leaves, others, 0, size) == root and next(others, None) is None, "an entry is not in the log")
    return [parse(*leaf) for leaf in leaves]


def unpack(section):
    """A certificate's leaves of one log, each with its index, and the hashes of its proof."""
    packed, proof, leaves, at = unbase64(section["leaves"]), unbase64(section["proof"] or ""), [], 0
    need(sha256(packed) == unbase64(section["digest"]) and len(proof) % 32 == 0, "not the leaves that it was written with")
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(packed, 1 << 29)
    need(unpacker.eof and not unpacker.unused_data, "leaves that cannot be unpacked")
    while at < len(raw):
        index, length = struct.unpack_from(">QI", raw, at)
        at += 12 + length
        need(at <= len(raw), "a leaf is cut")
        leaves.append((index, raw[at - length : at]))
    return leaves, [proof[i : i + 32] for i in range(0, len(proof), 32)]


def names_of(told, entries):
    """The names that a file tells, by their digests. One that is in no leaf would be somebody's claim."""
    names, known = {}, set().union(*(e["names"] for e in entries))
    for n in told:
        value = n.get("value", "").encode() or unbase64(n.get("bytes", ""))
        need(n["salt"] == n["salt"].lower() and len(n["salt"]) == 32, "a salt")
        digest = sha256(b"guardlock name v1\n" + bytes.fromhex(n["salt"]) + value)
        need(digest in known, "a name that is not in its leaf")
        names[digest] = value.decode(errors="replace")
    return names


def read(file, keys):
    """The entries of all logs, each with its log; the names told of them; the logs' sizes; and the range, or the one offset."""
    if file["format"] in ("guardlock range certificate v1", "guardlock range certificate v2"):
        entries, origins, sizes = [], [], []
        for section in file["logs"] if file["format"].endswith("v2") else [file]:
            origin, size, root = open_note(section["checkpoint"], keys)
            entries += [dict(e, log=origin) for e in in_log(*unpack(section), size, root)]
            origins.append(origin)
            sizes.append(size)
        need(origins == sorted(set(origins)), "a log is there twice, or out of its order")
        return entries, names_of(file.get("names", []), entries), sizes, file["range"]
    need(file["format"] == "guardlock evidence v1", "another format")
    origin, size, root = open_note(file["checkpoint"], keys)
    entries, names, record = [], {}, file["record"]
    for e in file["entries"]:
        path = from_left([unbase64(p) for p in e["path"]], e["index"], size)
        entries += [dict(e, log=origin) for e in in_log([(e["index"], unbase64(e["leaf"]))], path, size, root)]
        names.update(names_of(e.get("names", []), entries[-1:]))
    return sorted(entries, key=lambda e: e["index"]), names, [size], dict(record, first=record["offset"], last=record["offset"])


def known(pairs):
    """An object of the file, whose fields must be those of one kind, in their order."""
    keys = [k for k, _ in pairs]
    need(any(keys == [k for k in of.split() if k in keys] for of in OBJECTS), "a field that is unknown, or out of its order")
    need(all(v for k, v in pairs if k in ("gaps", "names", "approvals", "value", "bytes")), "a field that would be left out")
    return dict(pairs)


def verify(raw, keys, trust):
    file = json.loads(raw, parse_float=int, object_pairs_hook=known)  # int refuses what is no whole number
    need((json.dumps(file, indent=1, ensure_ascii=False) + "\n").encode() == raw, "not as the program writes it")
    entries, names, sizes, r = read(file, keys)
    kinds = {k: [e for e in entries if e["kind"] == k] for k in (1, 2, 10, 11, 16)}
    decided, admissions, eras, authorities, stored = kinds.values()
    need(sum(map(len, kinds.values())) == len(entries), "an entry that has no place")
    need(not authorities or file["format"] != "guardlock range certificate v1", "an authority that has no place")
    gaps = file.get("gaps", [])
    covered(r, gaps, eras, stored, len(sizes))

    decisions = {(d["log"], d["seq"]): d for d in decided}
    counts, used = collections.Counter(), {}
    topics = {bytes.fromhex(e["fact"].get("topic_id", "")) for e in eras}
    for b in stored:
        d = decisions[b["log"], b["decision"]]
        answers(b, d)
        topics.add(b"" if b["route"] else d["id"])
        for a in admitted(d, admissions):
            used.setdefault((a["log"], a["index"]), (a, set()))[1].add(d["time"])
        counts.update(ruled(d, b, r["first"] - b["base"], r["last"] + 1 - b["base"]))
    need(len({(b["log"], b["decision"], b["route"]) for b in stored}) == len(stored), "a decision was answered twice")
    need(len(topics - {b"", bytes(16)}) < 2, "the topic was deleted and made again")
    need({(b["log"], b["decision"]) for b in stored} == set(decisions) and len(decisions) == len(decided), "a decision without place")
    need(len(used) == len(admissions), "an admission of nothing")

    under = in_force(authorities, decided)
    signed = approved(file.get("approvals", []), used.values(), trust)
    people = [(a["module"], a["fact"].get("author"), values(a, "approval")) for a, _ in used.values()]
    callers = {names.get(d[n], "redacted") for d in decided for n in ("principal", "client", "source") if any(d[n])}
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    but = "".join(f", but {g['first']} to {g['last']} {g['kind']}{' (told, not proven)' * (g['kind'] != GAPS[0])}" for g in gaps)
    by = f"by {people}{signed}{under}, of {' and '.join(map(str, sizes))} entries, from {sorted(callers)}"
    return f"every offset from {r['first']} to {r['last']}{but}: {verdicts}, {by}"


def covered(r, gaps, eras, stored, logs):
    """Each offset of the range is in one placement or gap; what is before the era is so by an entry of each log."""
    here, before = (r["cluster"], r["topic"], r["partition"]), [g for g in gaps if g["kind"] == GAPS[0]]
    need(all(b["where"] == here for b in stored), "the answer of another partition")
    need(len({e["log"] for e in eras}) == len(eras) == logs * bool(before), "an era that the range has no place for, or none")
    for e in (e["fact"] for e in eras):
        need((e["cluster"], e["topic"], int(e["partition"])) == here, "the era of another partition")
        need(max(g["last"] for g in before) < min(int(e["offset"]), *(b["base"] for b in stored)), "a gap not before the era")
    need(all(g["kind"] in GAPS and r["first"] <= g["first"] and g["last"] <= r["last"] for g in gaps), "no gap of the range")

    after, spans = r["first"], [(b["base"], b["base"] + b["records"]) for b in stored]
    for first, end in sorted(spans + [(g["first"], g["last"] + 1) for g in gaps]):
        need(0 <= first <= r["last"] and max(first, r["first"]) < end, "a placement or a gap outside of the range")
        need(max(first, r["first"]) == after, f"offsets from {min(first, after)} on have no decision, or two")
        after = end
    need(stored and after > r["last"], f"offsets from {after} on have no decision")


def answers(b, d):
    need(not d["consume"] and b["index"] > d["index"] and b["where"][0] == d["where"][0], "the answer to another decision")
    need(b["route"] == b["where"][1] if b["route"] else b["where"] == d["where"], "another topic than the decision's")


def in_force(authorities, decided):
    """What the decisions were made under: each authority is the last before one of them, in its log."""
    before = [[a for a in authorities if a["log"] == d["log"] and a["index"] < d["index"]] for d in decided]
    text = f", {before.count([])} of {len(decided)} batches without authority" if [] in before else ""
    for a in authorities:
        marks = [fact for fact in a["facts"] if fact[0] in ("file.role", "file.digest")]
        files = {role: digest for (_, role), (key, digest) in reversed([*zip(marks, marks[1:])]) if key == "file.digest"}
        need(a["outcome"] == "in_force" and any(a is of[-1] for of in before if of), "an authority that was not in force")
        need("configuration" in files, "an authority without configuration")
        text += "".join(f", {role} {files[role]}" for role in ("configuration", "policy", "trust_root") if role in files)
    return text


def values(admission, key):
    return [v for k, v in admission["facts"] if k == key]


def admitted(d, admissions):
    """The latest admissions that let a decision's modules run, and whose grants make that of the decision."""
    lets = [a for a in admissions if a["outcome"] == "allowed" and a["log"] == d["log"] and a["index"] < d["index"]]
    lets = [a for a in lets if "until" not in a["fact"] or int(a["fact"]["until"]) > d["time"]]
    by_grant = [{a["fact"]["grant.digest"]: a for a in lets if (a["module"], a["digest"]) == m} for m in d["modules"]]
    for chosen in itertools.product(*(grants.values() for grants in by_grant)):
        grants = [bytes.fromhex(a["fact"]["grant.digest"]) for a in chosen]
        if not grants or functools.reduce(lambda all, own: sha256(all + own), grants) == d["grant"]:
            return chosen
    raise ValueError("nothing let a module run")


def ruled(d, b, first, end):
    """How many of a placement's records from first to before end got which verdict: of all runs, or of those routed there."""
    runs = [(*d["rulings"][ruling], n) for ruling, n in d["runs"]]  # each verdict, module, reason, route, count
    if b["route"]:
        runs = [run for run in runs if run[0] == 4 and run[3] == b["route"]]
    elif not runs:
        runs = [(d["outcome"], 0, d["reason"], "", d["records"])]
    need(sum(run[4] for run in runs) >= b["records"], "the decision has fewer records")
    at, counts = 0, collections.Counter()
    for verdict, _, reason, _, n in runs:
        counts[f"{VERDICTS[verdict]} {reason}".rstrip()] += max(0, min(at + n, end, b["records"]) - max(at, first))
        at += n
    return +counts


def approved(bundles, admitted, trust):
    """Each bundle is one that is named; by a trust root its signature (DSSE, ECDSA P-256) and its times are checked."""
    named, envelopes = {i for a, _ in admitted for i in values(a, "approval.id")}, collections.defaultdict(list)
    for raw in bundles:
        e = json.loads(unbase64(raw))["dsseEnvelope"]
        payload, kind = base64.b64decode(e["payload"]), e["payloadType"]
        need(sha256(payload).hex() in named, "an approval that no admission names")
        pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
        envelopes[sha256(payload).hex()].append((json.loads(payload), pae, base64.b64decode(e["signatures"][0]["sig"])))
    for a, time in [(a, time) for a, times in admitted for time in (min(times), max(times))] if trust is not None else []:
        ids = zip(values(a, "approval"), values(a, "approval.id"))
        signers = {who for who, i in ids if any(holds(who, a, time, trust, *e) for e in envelopes[i])}
        need(trust.get("threshold", 1) <= len(signers) == len(set(values(a, "approval"))), "an approval does not hold")
    return ", who signed" if trust is not None else ""


def holds(who, a, time, trust, statement, pae, signature):
    p, at = statement["predicate"], time / 1e6
    early = "not_before" in p and datetime.fromisoformat(p["not_before"]).timestamp() > at + 60
    late = datetime.fromisoformat(p["not_after"][:26].rstrip("Z") + "+00:00").timestamp() <= at
    if early or late or statement["subject"][0]["digest"]["sha256"] != a["digest"].hex():
        return False
    for key in (k["key"] for k in trust["approvers"] if k["identity"] == who):
        try:
            load_pem_public_key(key.encode()).verify(signature, pae, ec.ECDSA(SHA256()))
            return True
        except InvalidSignature:
            continue
    return False


def main(args):
    root, rest = (args[1:2], args[2:]) if args[:1] == ["--trust-root"] else ([], args)
    if len(rest) < 2:
        sys.exit(__doc__)
    try:
        trust = json.load(open(root[0])) if root else None
        keys, bad = dict(map(key_of, open(rest[0]).read().split())), 0
    except (OSError, ValueError) as e:
        sys.exit(f"verify.py: log keys and trust root (JSON, as `yq -o=json trust.yaml` makes it) cannot be read: {e}")
    for path in rest[1:]:
        try:
            print(f"{path}: proven: {verify(open(path, 'rb').read(), keys, trust)}")
        except Exception as e:  # whatever cannot be read to its end is not proven
            bad += 1
            print(f"{path}: not proven: {e or type(e).__name__}")
    return 3 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
