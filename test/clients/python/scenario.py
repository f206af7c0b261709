"""The client matrix's cases, over an adapter that hides which client does the work. README.md says what each case is.

An adapter is made of a bootstrap address and a security, which is None or a dict of protocol, mechanism, user, password and
ca_file, and has:
  name                                      what the report calls it
  codecs                                    the set of codecs that it can write
  idempotent, transactional, groups         whether it can
  produce(topic, records, codec, idempotent, partition) -> outcomes, one a record: "ok" or the error's name
  transact(txid, topic, records, commit)    one transaction
  read(topic, committed)                    every record from the start to the end as it is now
  first_at(topic, partition, offset)        the first record that a consumer gets that seeks there, None at the end
  join(group, topic)                        a member: poll(), assignment(), commit(), close()
A record is a Record; partition None leaves the choice to the client.
"""
import json
import sys
import time
import traceback
from collections import namedtuple

Record = namedtuple("Record", "key value headers partition offset", defaults=((), None, None))
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
UNSUPPORTED = {"unsupported": True}
DEADLINE = 90  # seconds, for whatever waits


def librdkafka(security):
    """A security as settings of librdkafka."""
    if security is None:
        return {}
    all_settings = {"security.protocol": security["protocol"], "sasl.mechanism": security["mechanism"],
                    "sasl.username": security["user"], "sasl.password": security["password"],
                    "ssl.ca.location": security.get("ca_file")}
    return {k: v for k, v in all_settings.items() if v}


class Run:
    """One run of one client: its adapter, its topics and the prefix that marks its records."""

    def __init__(self, adapter, job):
        self.a, self.topics, self.id = adapter, job["topics"], job["run"]

    def records(self, name, values):
        return [Record(f"{self.id}/{name}/{i}", v, (("n", str(i)),)) for i, v in enumerate(values)]

    def stored(self, topic, name, committed=False):
        """What a topic holds of one case, in order of production."""
        mine = [r for r in self.a.read(self.topics[topic], committed) if (r.key or "").startswith(f"{self.id}/{name}/")]
        return sorted(mine, key=lambda r: int(r.key.rsplit("/", 1)[1]))

    def round_trip(self, name, codec, idempotent):
        sent = self.records(name, [f"value {i} of {name} " + "x" * 100 for i in range(20)])
        outcomes = self.a.produce(self.topics["plain"], sent, codec, idempotent, None)
        got = self.stored("plain", name)
        same = [(r.key, r.value, tuple(r.headers)) for r in got] == [(r.key, r.value, tuple(r.headers)) for r in sent]
        return {"acked": outcomes.count("ok"), "read": len(got), "intact": same}

    def codec(self, codec):
        return self.round_trip("codec-" + codec, codec, False) if codec in self.a.codecs else UNSUPPORTED

    def idempotence(self):
        return self.round_trip("idempotent", "none", True) if self.a.idempotent else UNSUPPORTED

    def committed(self, name, n):
        """The commit is answered before its markers are in every partition: what it holds may take a moment to be readable."""
        end = time.monotonic() + 20
        while True:
            got = len(self.stored("plain", name, True))
            if got >= n or time.monotonic() > end:
                return got

    def transaction(self):
        if not self.a.transactional:
            return UNSUPPORTED
        topic, txid = self.topics["plain"], self.id + "-tx"
        self.a.transact(txid, topic, self.records("tx-kept", ["kept"] * 10), True)
        self.a.transact(txid, topic, self.records("tx-undone", ["undone"] * 10), False)
        return {"kept": self.committed("tx-kept", 10), "undone": len(self.stored("plain", "tx-undone", True))}

    def group(self):
        if not self.a.groups:
            return UNSUPPORTED
        topic, group = self.topics["plain"], self.id + "-group"
        pace = Pace(self.id + "/group-")
        first = self.a.join(group, topic)
        pace.until([first], lambda: len(first.assignment()) == 3)
        second = self.a.join(group, topic)
        both = [first, second]
        pace.until(both, lambda: first.assignment() and second.assignment()
                   and len(first.assignment()) + len(second.assignment()) == 3)
        covered = not set(first.assignment()) & set(second.assignment())
        self.produce_spread("group-a", 30)
        pace.until(both, lambda: len(pace.seen) == 30)
        for m in both:
            m.commit()
            m.close()
        self.produce_spread("group-b", 3)
        after = Pace(self.id + "/group-")
        third = self.a.join(group, topic)
        after.until([third], lambda: len([k for k in after.seen if "/group-b/" in k]) == 3)
        third.close()
        return {"covered": covered, "seen": len(pace.seen), "resumed": 3, "redelivered": len(after.seen) - 3}

    def produce_spread(self, name, n):
        records = self.records(name, ["spread"] * n)
        for p in range(3):
            self.a.produce(self.topics["plain"], records[p::3], "none", False, p)

    def seek(self):
        records = self.records("seek", ["sought"] * 5)
        self.a.produce(self.topics["plain"], records, "none", False, 0)
        third = self.stored("plain", "seek")[2]
        got = self.a.first_at(self.topics["plain"], third.partition, third.offset)
        return {"offset": got.offset == third.offset, "key": got.key == third.key}

    def upper(self):
        sent = self.records("upper", [f"hello {i}" for i in range(5)])
        outcomes = self.a.produce(self.topics["upper"], sent, "none", False, 0)
        return {"acked": outcomes.count("ok"), "values": [r.value for r in self.stored("upper", "upper")]}

    def reject(self, idempotent):
        if idempotent and not self.a.idempotent:
            return UNSUPPORTED
        name, outcomes, n = "reject-%d" % idempotent, [], 0
        for batch in (["fine 0"], ["fine 1", "BAD 2", "fine 3"], ["fine 4"]):
            sent = self.records(name, [None] * n + batch)[n:]
            outcomes.append(self.a.produce(self.topics["strict"], sent, "none", idempotent, 0))
            n += len(batch)
        return {"outcomes": outcomes, "values": [r.value for r in self.stored("strict", name)]}

    def drop(self, idempotent):
        if idempotent and not self.a.idempotent:
            return UNSUPPORTED
        name, acked, n = "drop-%d" % idempotent, 0, 0
        for batch in (["keep 0", "drop 1", "keep 2"], ["drop 3", "drop 4"], ["keep 5"]):
            sent = self.records(name, [None] * n + batch)[n:]
            acked += self.a.produce(self.topics["dropping"], sent, "none", idempotent, 0).count("ok")
            n += len(batch)
        got = self.stored("dropping", name)
        before_hole = next(r for r in got if r.value == "keep 2")
        after = self.a.first_at(self.topics["dropping"], 0, before_hole.offset + 1)
        return {"acked": acked, "values": [r.value for r in got], "after_hole": after and after.value}

    def cases(self):
        all_cases = {"codec/" + c: lambda c=c: self.codec(c) for c in CODECS}
        all_cases.update({
            "idempotent": self.idempotence, "transaction": self.transaction, "group": self.group, "seek": self.seek,
            "upper": self.upper, "reject/plain": lambda: self.reject(False), "reject/idempotent": lambda: self.reject(True),
            "drop/plain": lambda: self.drop(False), "drop/idempotent": lambda: self.drop(True),
        })
        return all_cases


class Pace:
    """Polls members until a condition holds, and keeps the keys that went by."""

    def __init__(self, prefix):
        self.prefix, self.seen = prefix, set()

    def until(self, members, holds):
        end = time.monotonic() + DEADLINE
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError("the group did not get there")
            for m in members:
                self.seen.update(r.key for r in m.poll() if (r.key or "").startswith(self.prefix))


def main(adapter):
    """Reads the job from standard input, runs its cases, prints the report."""
    job = json.load(sys.stdin)
    run = Run(adapter(job["bootstrap"], job.get("security")), job)
    report = {}
    for name, case in run.cases().items():
        if job.get("cases") and name not in job["cases"]:
            continue
        try:
            report[name] = case()
        except Exception as e:  # the report says it, and the driver fails on it
            traceback.print_exc()
            report[name] = {"error": f"{type(e).__name__}: {e}"}
    json.dump({"client": run.a.name, "cases": report}, sys.stdout)
