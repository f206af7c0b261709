"""librdkafka, through confluent-kafka."""
import time

import confluent_kafka as ck

import scenario
from scenario import Record


def record(m):
    text = lambda b: None if b is None else b.decode()
    return Record(text(m.key()), text(m.value()), tuple((k, text(v)) for k, v in m.headers() or ()), m.partition(), m.offset())


class Member:
    def __init__(self, base, group, topic):
        self.c = ck.Consumer({**base, "group.id": group, "auto.offset.reset": "earliest",
                              "enable.auto.commit": False, "session.timeout.ms": 10000})
        self.c.subscribe([topic])

    def poll(self):
        return [record(m) for m in self.c.consume(200, 0.1) if not m.error()]

    def assignment(self):
        return [tp.partition for tp in self.c.assignment()]

    def commit(self):
        self.c.commit(asynchronous=False)

    def close(self):
        self.c.close()


class Confluent:
    name = f"confluent-kafka {ck.__version__} (librdkafka {ck.libversion()[0]})"
    codecs = set(scenario.CODECS)
    idempotent = transactional = groups = True

    def __init__(self, bootstrap, security):
        self.base = {"bootstrap.servers": bootstrap, **scenario.librdkafka(security)}

    def produce(self, topic, records, codec, idempotent, partition):
        p = ck.Producer({**self.base, "compression.type": codec, "linger.ms": 50,
                         "enable.idempotence": idempotent, "acks": "all", "message.timeout.ms": 20000})
        outcomes = [None] * len(records)
        for i, r in enumerate(records):
            self.send(p, topic, r, partition, lambda err, _, i=i: outcomes.__setitem__(i, err.name() if err else "ok"))
        p.flush(30)
        return outcomes

    @staticmethod
    def send(p, topic, r, partition, done=None):
        where = {} if partition is None else {"partition": partition}
        p.produce(topic, key=r.key, value=r.value, headers=list(r.headers), on_delivery=done, **where)

    def transact(self, txid, topic, records, commit):
        p = ck.Producer({**self.base, "transactional.id": txid, "linger.ms": 5})
        p.init_transactions(30)
        p.begin_transaction()
        for r in records:
            self.send(p, topic, r, None)
        p.flush(30)
        p.commit_transaction(30) if commit else p.abort_transaction(30)

    def reader(self, committed):
        return ck.Consumer({**self.base, "group.id": "none", "enable.auto.commit": False,
                            "enable.partition.eof": True, "auto.offset.reset": "earliest",
                            "isolation.level": "read_committed" if committed else "read_uncommitted"})

    def read(self, topic, committed):
        c = self.reader(committed)
        left = set(c.list_topics(topic, timeout=20).topics[topic].partitions)
        c.assign([ck.TopicPartition(topic, p, ck.OFFSET_BEGINNING) for p in left])
        got, end = [], time.monotonic() + scenario.DEADLINE
        while left:
            if time.monotonic() > end:
                raise TimeoutError(f"no end of {topic}")
            for m in c.consume(500, 0.1):
                if m.error() and m.error().code() == ck.KafkaError._PARTITION_EOF:
                    left.discard(m.partition())
                elif m.error():
                    raise ck.KafkaException(m.error())
                else:
                    got.append(record(m))
        c.close()
        return got

    def first_at(self, topic, partition, offset):
        c = self.reader(False)
        c.assign([ck.TopicPartition(topic, partition, ck.OFFSET_BEGINNING)])
        while c.poll(5) is None:
            pass
        c.seek(ck.TopicPartition(topic, partition, offset))
        while True:
            m = c.poll(scenario.DEADLINE)
            if m is None:
                raise TimeoutError("nothing after seek")
            if m.error():
                c.close()
                return None
            if m.offset() >= offset:
                c.close()
                return record(m)

    def join(self, group, topic):
        return Member(self.base, group, topic)


scenario.main(Confluent)
