"""kafka-python."""
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

import scenario
from scenario import Record

NAMES = {"InvalidRecordError": "INVALID_RECORD", "PolicyViolationError": "POLICY_VIOLATION"}


def text(b):
    return None if b is None else bytes(b).decode()


def record(m):
    return Record(text(m.key), text(m.value), tuple((k, text(v)) for k, v in m.headers), m.partition, m.offset)


def outcome(future):
    try:
        future.get(30)
        return "ok"
    except kafka.errors.KafkaError as e:
        return NAMES.get(type(e).__name__, type(e).__name__)


class Member:
    def __init__(self, base, group, topic):
        self.c = KafkaConsumer(topic, **base, group_id=group, auto_offset_reset="earliest",
                               enable_auto_commit=False, session_timeout_ms=10000, heartbeat_interval_ms=1000)
        # One that joins before it knows the topic's partitions joins again when it does; cut off by the end of a poll, that
        # second time leaves kafka-python 3.0.12 without partitions for good.
        self.c.partitions_for_topic(topic)

    def poll(self):
        return [record(m) for batch in self.c.poll(100).values() for m in batch]

    def assignment(self):
        return [tp.partition for tp in self.c.assignment()]

    def commit(self):
        self.c.commit()

    def close(self):
        self.c.close()


class KafkaPython:
    name = f"kafka-python {kafka.__version__}"
    codecs = set(scenario.CODECS)
    idempotent = transactional = groups = True

    def __init__(self, bootstrap, security):
        self.base = {"bootstrap_servers": bootstrap.split(",")}
        if security:
            self.base.update(security_protocol=security["protocol"], sasl_mechanism=security["mechanism"],
                             sasl_plain_username=security["user"], sasl_plain_password=security["password"],
                             ssl_cafile=security.get("ca_file"))

    def produce(self, topic, records, codec, idempotent, partition):
        p = KafkaProducer(**self.base, compression_type=None if codec == "none" else codec,
                          linger_ms=50, acks="all", enable_idempotence=idempotent)
        futures = [self.send(p, topic, r, partition) for r in records]
        outcomes = [outcome(f) for f in futures]
        p.close()
        return outcomes

    @staticmethod
    def send(p, topic, r, partition):
        return p.send(topic, key=r.key.encode(), value=r.value.encode(), headers=[(k, v.encode()) for k, v in r.headers],
                      partition=partition)

    def transact(self, txid, topic, records, commit):
        p = KafkaProducer(**self.base, transactional_id=txid)
        p.init_transactions()
        p.begin_transaction()
        for r in records:
            self.send(p, topic, r, None)
        p.flush(30)
        p.commit_transaction() if commit else p.abort_transaction()
        p.close()

    def reader(self, committed):
        return KafkaConsumer(**self.base, enable_auto_commit=False, group_id=None,
                             isolation_level="read_committed" if committed else "read_uncommitted")

    def read(self, topic, committed):
        c = self.reader(committed)
        tps = [TopicPartition(topic, p) for p in c.partitions_for_topic(topic)]
        c.assign(tps)
        ends = c.end_offsets(tps)
        c.seek_to_beginning(*tps)
        got, end = [], time.monotonic() + scenario.DEADLINE
        while any(c.position(tp) < ends[tp] for tp in tps):
            if time.monotonic() > end:
                raise TimeoutError(f"no end of {topic}")
            got += [record(m) for batch in c.poll(100).values() for m in batch]
        c.close()
        return got

    def first_at(self, topic, partition, offset):
        c, tp = self.reader(False), TopicPartition(topic, partition)
        c.assign([tp])
        end_offset = c.end_offsets([tp])[tp]
        c.seek(tp, offset)
        end = time.monotonic() + scenario.DEADLINE
        while c.position(tp) < end_offset:
            if time.monotonic() > end:
                raise TimeoutError("nothing after seek")
            for batch in c.poll(100).values():
                c.close()
                return record(batch[0])
        c.close()
        return None

    def join(self, group, topic):
        return Member(self.base, group, topic)


scenario.main(KafkaPython)
