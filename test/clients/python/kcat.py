"""librdkafka, through the command-line program kcat; it can make no transaction that it also aborts."""
import json
import queue
import re
import signal
import subprocess
import tempfile
import threading

import scenario
from scenario import Record

CODES = {"Broker: Broker failed to validate record": "INVALID_RECORD", "Broker: Policy violation": "POLICY_VIOLATION"}


def version():
    return subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout.split("librdkafka ")[1].split()[0]


def record(line):
    m = json.loads(line)
    h = m.get("headers", [])
    return Record(m["key"], m["payload"], tuple(zip(h[::2], h[1::2])), m["partition"], m["offset"])


class Member:
    """A kcat that stays: its output has the records, its errors have the assignments; its end commits."""

    def __init__(self, base, group, topic):
        self.partitions, self.records = [], queue.SimpleQueue()
        self.p = subprocess.Popen([*base, "-G", group, "-u", "-J", "-X", "auto.offset.reset=earliest",
                                   "-X", "session.timeout.ms=10000", topic],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.threads = [threading.Thread(target=f) for f in (self.read_records, self.read_assignments)]
        for t in self.threads:
            t.start()

    def read_records(self):
        for line in self.p.stdout:
            self.records.put(record(line))

    def read_assignments(self):
        for line in self.p.stderr:
            if "rebalanced" in line:
                self.partitions = [int(n) for n in re.findall(r"\[(\d+)\]", line)] if "assigned" in line else []

    def poll(self):
        got = []
        try:
            got.append(self.records.get(timeout=0.1))
            while True:
                got.append(self.records.get_nowait())
        except queue.Empty:
            return got

    def assignment(self):
        return self.partitions

    def commit(self):
        pass

    def close(self):
        self.p.send_signal(signal.SIGINT)
        self.p.wait(30)
        for t in self.threads:
            t.join()


class Kcat:
    name = f"kcat (librdkafka {version()})"
    codecs = set(scenario.CODECS)
    idempotent, transactional, groups = True, False, True

    def __init__(self, bootstrap, security):
        """Settings stand in a file: a password among the arguments would be in the list of processes."""
        self.settings = tempfile.NamedTemporaryFile("w", prefix="kcat-", suffix=".conf")
        for key, value in {"bootstrap.servers": bootstrap, **scenario.librdkafka(security)}.items():
            print(f"{key}={value}", file=self.settings, flush=True)
        self.base = ["kcat", "-F", self.settings.name]

    def run(self, *args, text=None, timeout=60):
        return subprocess.run([*self.base, *args], input=text, capture_output=True, text=True, timeout=timeout)

    def produce(self, topic, records, codec, idempotent, partition):
        """Headers are those of a whole call, so that records that differ in them need one each, where they matter."""
        outcomes = []
        groups = [[r] for r in records] if len({r.headers for r in records}) > 1 and partition is None else [records]
        for group in groups:
            outcomes += self.produce_group(topic, group, codec, idempotent, partition)
        return outcomes

    def produce_group(self, topic, group, codec, idempotent, partition):
        args = ["-P", "-t", topic, "-K", "\t", "-X", f"compression.codec={codec}", "-X", "linger.ms=50", "-X", "acks=all",
                "-X", f"enable.idempotence={'true' if idempotent else 'false'}", "-X", "message.timeout.ms=20000"]
        for k, v in group[0].headers:
            args += ["-H", f"{k}={v}"]
        if partition is not None:
            args += ["-p", str(partition)]
        done = self.run(*args, text="".join(f"{r.key}\t{r.value}\n" for r in group))
        if done.returncode == 0 and "Delivery failed" not in done.stderr:
            return ["ok"] * len(group)
        for text, code in CODES.items():
            if text in done.stderr:
                return [code] * len(group)
        return [done.stderr.strip()] * len(group)

    def read(self, topic, committed):
        done = self.run("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J",
                        "-X", f"isolation.level={'read_committed' if committed else 'read_uncommitted'}")
        done.check_returncode()
        return [record(line) for line in done.stdout.splitlines()]

    def join(self, group, topic):
        return Member(self.base, group, topic)

    def first_at(self, topic, partition, offset):
        done = self.run("-C", "-t", topic, "-p", str(partition), "-o", str(offset), "-c", "1", "-e", "-q", "-J")
        done.check_returncode()
        return record(done.stdout) if done.stdout else None


scenario.main(Kcat)
