#!/usr/bin/env python3
"""Verifies files of evidence that `guardlock audit prove` wrote, without Guardlock.

Written from docs/evidence.md alone, so that two programs which share no line must agree. Needs Python 3.11 and the
package `cryptography`. A line for each file; exit code 3 if one is not proven. With --trust-root FILE (JSON) the
enclosed approvals are checked, too. LOG_KEY_FILE has the public key of a log in each line.
usage: verify.py [--trust-root FILE] LOG_KEY_FILE FILE...
"""
import base64, collections, contextlib, datetime, functools, hashlib, io, itertools, json, re, struct, sys, zlib  # noqa: E401

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

VERDICTS = ("passed", "modified", "rejected", "dropped", "routed")
# What explains a gap, and how far. Of another kind verify finds nothing here.
GAPS = {"before-era": ""} | dict.fromkeys(("marker", "nothing", "retention"), " (told, not proven)")
OBJECTS = re.compile(  # the fields of the file's objects, in their order; that of format with its value
    "format guardlock evidence v1 record checkpoint entries( approvals)?|index leaf path( names)?|salt (value|bytes)"
    "|format guardlock range certificate v1 range( gaps)? checkpoint leaves digest proof( names)?( approvals)?"
    "|format guardlock range certificate v2 range( gaps)? logs( names)?( approvals)?|checkpoint leaves digest proof"
    "|cluster topic partition (offset|first last)|first last kind"
)
# A field of a leaf is a name and a kind: S a string, H 32 bytes of a hash or a name, T 16 bytes, V the value of a fact,
# else what struct calls it. Several kinds are a tuple, and * is before those of which there is a list.
LEAVES = {
    1: "seq:Q time:q consume:? outcome:B reason:S where:SSI id:T connection:Q principal:H client:H source:H tls:SS"
    " certificate:H policy:S grant:H modules:*SH producer:qhi records:I codec:B bytes:II mac:BTQT rulings:*BBSS runs:*II",
    16: "decision:Q where:SSI route:S base:q records:I leader:i append:q error:h recovered:?",
}
CONTROL = "seq:Q time:q subject:S module:SH who:H outcome:S reason:S revision:S facts:*SV"


def need(condition, message):
    if not condition:
        raise ValueError(message)


def unbase64(text):
    need(base64.b64encode(raw := base64.b64decode(text)).decode() == text, "base64 in another spelling")
    return raw


def parse(log, index, leaf):
    """The fields of a leaf, and its place."""
    need(leaf[:18] == b"guardlock leaf v1\n" and leaf[18] in (*range(1, 17), 20, 21), "no leaf of version 1")
    number, rest = leaf[18], io.BytesIO(leaf[19:])

    def take(kind):
        if kind[0] == "*":
            return [take(kind[1:]) for _ in range(take("I"))]
        if len(kind) > 1:
            return tuple(map(take, kind))
        kind = ("H" if take("?") else "S") if kind == "V" else kind
        form = ">" + (f"{take('I')}s" if kind == "S" else {"H": "32s", "T": "16s", "?": "B"}.get(kind, kind))
        (value,) = struct.unpack(form, rest.read(struct.calcsize(form)))
        need(kind != "?" or value <= 1, "a flag is neither 0 nor 1")
        return value.decode() if kind == "S" else value

    entry = {name: take(form) for name, form in re.findall(r"(\w+):(\S+)", LEAVES.get(number, CONTROL))}
    need(not rest.read(), "bytes behind a leaf")
    return dict(entry, log=log, index=index, kind=2 if number == 9 else number, fact=dict(reversed(entry.get("facts", []))))


def values(entry, key):
    return [v for k, v in entry["facts"] if k == key]


def key_of(line):
    """C2SP signed-note: the public key of a log, by its name and the first bytes of its hash."""
    name, key_hash, key = line.split("+", 2)
    return (name, bytes.fromhex(key_hash)), ed25519.Ed25519PublicKey.from_public_bytes(unbase64(key)[1:])


def open_note(text, keys):
    """C2SP signed-note and tlog-checkpoint: the name, the size and the root of a log that signed them."""
    need(note := re.fullmatch("((.+)\n([1-9][0-9]*)\n(.+)\n)\n(\u2014 .+ .+\n)+", text), "no checkpoint")
    body, origin, size, root, _ = note.groups()
    signed = {(name, unbase64(raw)[:4]): unbase64(raw)[4:] for name, raw in re.findall("\u2014 (.+) (.+)\n", text)}
    need(mine := [key for key in keys if key[0] == origin and key in signed], "this log did not sign it")
    keys[mine[0]].verify(signed[mine[0]], body.encode())
    return origin, int(size), unbase64(root)


def root_of(leaves, others, start, size):
    """The root of a tree by some leaves, and by the hashes of the greatest subtrees without any, from left to right."""
    if not leaves:
        return others.pop(0)
    if size == 1:
        need([i for i, _ in leaves] == [start], "a leaf is at another place")
        return hashlib.sha256(b"\0" + leaves[0][1]).digest()
    left = 1 << (size - 1).bit_length() - 1  # the greatest power of two below the size
    halves = [l for l in leaves if l[0] < start + left], [l for l in leaves if l[0] >= start + left]
    first = root_of(halves[0], others, start, left)
    return hashlib.sha256(b"\1" + first + root_of(halves[1], others, start + left, size - left)).digest()


def from_left(path, index, size):
    """The hashes of an inclusion proof (RFC 9162, 2.1.3), from the leaf up, as root_of takes them."""
    levels = [n for n in range(size.bit_length()) if (index >> n ^ 1) << n < size]  # those with a neighbour
    sides = [(index >> n & 1, unbase64(p)) for n, p in zip(levels, path, strict=True)]
    return [p for left, p in reversed(sides) if left] + [p for left, p in sides if not left]


def unpack(file, part, size):
    """The leaves of one proof, each with its index, and the hashes that lead from them to the root."""
    if "entries" in file:
        return [(part["index"], unbase64(part["leaf"]))], from_left(part["path"], part["index"], size)
    packed, proof = unbase64(part["leaves"]), b"" if part["proof"] is None else unbase64(part["proof"])
    unpacker, leaves, at = zlib.decompressobj(), [], 0
    raw = unpacker.decompress(packed, 1 << 29)
    need(hashlib.sha256(packed).digest() == unbase64(part["digest"]), "not the leaves that it was written with")
    while at < len(raw):
        index, length = struct.unpack_from(">QI", raw, at)
        at += 12 + length
        leaves.append((index, raw[at - length : at]))
    need(unpacker.eof and not unpacker.unused_data and at == len(raw) and leaves == sorted(leaves), "leaves out of their order")
    return leaves, [proof[i : i + 32] for i in range(0, len(proof), 32)]


def names_of(part, entries):
    """The names that a part of a file tells, by their digests. One that is in no leaf would be somebody's claim."""
    known = {v for e in entries for v in [*e.values(), *(v for _, v in e.get("facts", []))] if isinstance(v, bytes)}
    for n in part.get("names", []):
        salt, value = bytes.fromhex(n["salt"]), n.get("value", "").encode() or unbase64(n.get("bytes", ""))
        digest = hashlib.sha256(b"guardlock name v1\n" + salt + value).digest()
        need(len(salt) == 16 and salt.hex() == n["salt"] and digest in known, "a name that is not in its leaf")
        yield digest, value.decode(errors="replace")


def read(file, keys):
    """The entries that are in their logs, the names told of them, and the sizes of the logs by their origins."""
    entries, names, sizes = [], {}, {}
    for part in file.get("entries") or file.get("logs", [file]):
        origin, size, root = open_note(part.get("checkpoint") or file["checkpoint"], keys)
        need("entries" in file or origin > max(sizes, default=""), "a log is there twice, or out of its order")
        leaves, others = unpack(file, part, size)
        need(leaves and root_of(leaves, others, 0, size) == root and not others, "an entry is not in the log")
        entries += [parse(origin, *leaf) for leaf in leaves]
        names.update(names_of(part, entries[-len(leaves) :]))
        sizes[origin] = size
    names.update(names_of(file, entries))
    return sorted(entries, key=lambda e: (e["log"], e["index"])), names, sizes


def known(pairs):
    """An object of the file, of fields that belong together. What the program would not write is left out, and is missed."""
    pairs = [(k, v) for k, v in pairs if k.isalpha() and type(v) is not bool and (v or k not in ("gaps", "names", "approvals"))]
    need(OBJECTS.fullmatch(" ".join(f"{k} {v}" if k == "format" else k for k, v in pairs)), "a field that has no place")
    return dict(pairs)


def verify(raw, keys, trust):
    file = json.loads(raw, parse_float=int, object_pairs_hook=known)  # int refuses what is no whole number
    need((json.dumps(file, indent=1, ensure_ascii=False) + "\n").encode() == raw, "not as the program writes it")
    entries, names, sizes = read(file, keys)
    r = file.get("range") or dict(file["record"], first=file["record"]["offset"], last=file["record"]["offset"])
    kinds = decided, admissions, eras, authorities, stored = [[e for e in entries if e["kind"] == k] for k in (1, 2, 10, 11, 16)]
    need(sum(map(len, kinds)) == len(entries) and not ("leaves" in file and authorities), "an entry that has no place")

    decisions = {(d["log"], d["seq"]): d for d in decided}
    placed = [(decisions[b["log"], b["decision"]], b) for b in stored]
    for d, b in placed:
        where = (d["where"][0], b["route"], b["where"][2]) if b["route"] else d["where"]
        need(b["where"] == where and b["index"] > d["index"] and not d["consume"], "the answer to another decision")
    need(len({(b["log"], b["decision"], b["route"]) for b in stored}) == len(stored), "a decision was answered twice")
    need(len({(d["log"], d["seq"]) for d, _ in placed}) == len(decided), "a decision without place")
    topics = {d["id"] for d, b in placed if not b["route"]} | {bytes.fromhex(e["fact"].get("topic_id", "")) for e in eras}
    need(len(topics - {b"", bytes(16)}) < 2, "the topic was deleted and made again")
    covered(r, file.get("gaps", []), eras, stored, len(sizes))
    lets = [(a, d["time"]) for d in decided for a in admitted(d, admissions)]
    need(len({id(a) for a, _ in lets}) == len(admissions), "an admission of nothing")

    gaps = "".join(f", but {g['first']} to {g['last']} {g['kind']}{GAPS[g['kind']]}" for g in file.get("gaps", []))
    counts = sum((ruled(d, b, r["first"] - b["base"], r["last"] + 1 - b["base"]) for d, b in placed), collections.Counter())
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    people = [(a["module"][0], a["fact"].get("author"), values(a, "approval")) for a in admissions]
    by = f"by {people}{approved(file.get('approvals', []), lets, trust)}{in_force(authorities, decided)}"
    callers = {names.get(d[n], "redacted") for d in decided for n in ("principal", "client", "source") if any(d[n])}
    return f"every offset from {r['first']} to {r['last']}{gaps}: {verdicts}, {by}, in {sizes}, from {sorted(callers)}"


def covered(r, gaps, eras, stored, logs):
    """Each offset of the range is in one placement or gap; what is before the era is so by an entry of each log."""
    here, facts = (r["cluster"], r["topic"], r["partition"]), [e["fact"] for e in eras]
    places = [b["where"] for b in stored] + [(e["cluster"], e["topic"], int(e["partition"])) for e in facts]
    need(all(place == here for place in places), "an entry of another partition")
    before = [g["last"] for g in gaps if g["kind"] == "before-era"]
    need(len({e["log"] for e in eras}) == len(eras) == logs * bool(before), "an era that the range has no place for, or none")
    need(max(before, default=-1) < min([int(e["offset"]) for e in facts] + [b["base"] for b in stored]), "a gap behind an era")

    at, spans = r["first"], [(g["first"], g["last"]) for g in gaps]
    spans += [(max(b["base"], r["first"]), min(b["base"] + b["records"] - 1, r["last"])) for b in stored]
    for first, last in sorted(spans):
        need(0 <= first == at <= last, f"offset {at} has no decision, or two")
        at = last + 1
    need(stored and at == r["last"] + 1, f"offset {at} has no decision, or is none of the range")


def ruled(d, b, first, end):
    """How many of a placement's records from first to before end got which verdict: of all runs, or of those routed there."""
    runs = [(*d["rulings"][ruling], n) for ruling, n in d["runs"]] or [(d["outcome"], 0, d["reason"], "", d["records"])]
    runs = [run for run in runs if not b["route"] or (run[0], run[3]) == (4, b["route"])]
    need(sum(run[4] for run in runs) >= b["records"], "the decision has fewer records")
    each = itertools.chain(*(itertools.repeat(f"{VERDICTS[verdict]} {reason}".rstrip(), n) for verdict, _, reason, _, n in runs))
    return collections.Counter(itertools.islice(each, max(first, 0), min(end, b["records"])))


def admitted(d, admissions):
    """The latest admissions that let a decision's modules run, and whose grants make that of the decision."""
    lets = [a for a in admissions if a["outcome"] == "allowed" and a["log"] == d["log"] and a["index"] < d["index"]]
    lets = [a for a in lets if "until" not in a["fact"] or int(a["fact"]["until"]) > d["time"]]
    by_grant = [{bytes.fromhex(a["fact"]["grant.digest"]): a for a in lets if a["module"] == m} for m in d["modules"]]
    for grants in itertools.product(*by_grant):
        if not grants or functools.reduce(lambda all, own: hashlib.sha256(all + own).digest(), grants) == d["grant"]:
            return [of[grant] for of, grant in zip(by_grant, grants)]
    raise ValueError("nothing let a module run")


def in_force(authorities, decided):
    """What the decisions were made under: each authority is the last before one of them, in its log."""
    last = [[a for a in authorities if a["log"] == d["log"] and a["index"] < d["index"]][-1:] for d in decided]
    text = f", {last.count([])} of {len(decided)} batches without authority" if [] in last else ""
    for a in authorities:
        marks = [fact for fact in a["facts"] if fact[0] in ("file.role", "file.digest")]
        files = {role: digest for (_, role), (key, digest) in reversed([*zip(marks, marks[1:])]) if key == "file.digest"}
        need([a] in last and a["outcome"] == "in_force" and "configuration" in files, "an authority that was not in force")
        text += "".join(f", {role} {files[role]}" for role in ("configuration", "policy", "trust_root") if role in files)
    return text


def approved(bundles, lets, trust):
    """Each bundle is one that is named. By a trust root its signature (DSSE, ECDSA P-256) and its times are checked."""
    named, signed = {i for a, _ in lets for i in values(a, "approval.id")}, []
    for raw in bundles:
        e = json.loads(unbase64(raw))["dsseEnvelope"]
        payload, kind, signature = base64.b64decode(e["payload"]), e["payloadType"], base64.b64decode(e["signatures"][0]["sig"])
        need(hashlib.sha256(payload).hexdigest() in named, "an approval that no admission names")
        for signer in trust["approvers"] if trust is not None else []:
            with contextlib.suppress(InvalidSignature):
                pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
                serialization.load_pem_public_key(signer["key"].encode()).verify(signature, pae, ec.ECDSA(hashes.SHA256()))
                signed.append((signer["identity"], hashlib.sha256(payload).hexdigest(), json.loads(payload)))
    for a, time in lets if trust is not None else []:
        ids = [*zip(values(a, "approval"), values(a, "approval.id"))]
        signers = {who for who, i, statement in signed if (who, i) in ids and holds(statement, a["module"][1], time / 1e6)}
        need(trust.get("threshold", 1) <= len(signers) == len(set(values(a, "approval"))), "an approval does not hold")
    return ", who signed" if trust is not None else ""


def holds(statement, module, time):
    """An approval is of the module, and for the time, or begins at most a minute later."""
    times = statement["predicate"].get("not_before", "1970-01-01T00:00:00Z"), statement["predicate"]["not_after"]
    begin, end = (datetime.datetime.fromisoformat(t).timestamp() for t in times)
    return begin - 60 <= time < end and statement["subject"][0]["digest"]["sha256"] == module.hex()


if __name__ == "__main__":
    root, rest = (sys.argv[2:3], sys.argv[3:]) if sys.argv[1:2] == ["--trust-root"] else ([], sys.argv[1:])
    if len(rest) < 2:
        sys.exit(__doc__)
    try:
        trust = json.load(open(root[0])) if root else None
        keys, code = dict(map(key_of, open(rest[0]).read().split())), 0
    except (OSError, ValueError) as e:
        sys.exit(f"verify.py: log keys and trust root (JSON, as `yq -o=json trust.yaml` makes it) cannot be read: {e}")
    for path in rest[1:]:
        try:
            print(f"{path}: proven: {verify(open(path, 'rb').read(), keys, trust)}")
        except Exception as e:  # whatever cannot be read to its end is not proven
            code = 3
            print(f"{path}: not proven: {e or type(e).__name__}")
    sys.exit(code)
