"""aiokafka, on an event loop of its own thread."""
import asyncio
import ssl
import threading
import time

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

import scenario
from scenario import Record

# aiokafka knows no code past 72: INVALID_RECORD (87) comes out as its UnknownError.
CODES = {87: "INVALID_RECORD", 44: "POLICY_VIOLATION", -1: "UNKNOWN_SERVER_ERROR"}

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def wait(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)


async def made(cls, *args, **kw):
    c = cls(*args, **kw)
    await c.start()
    return c


def text(b):
    return None if b is None else b.decode()


def record(m):
    return Record(text(m.key), text(m.value), tuple((k, text(v)) for k, v in m.headers), m.partition, m.offset)


async def outcome(future):
    try:
        await future
        return "ok"
    except aiokafka.errors.KafkaError as e:
        return CODES.get(getattr(e, "errno", None), f"{type(e).__name__}: {e}")


class Member:
    def __init__(self, base, group, topic):
        self.c = wait(made(AIOKafkaConsumer, topic, **base, group_id=group, auto_offset_reset="earliest",
                           enable_auto_commit=False, session_timeout_ms=10000, heartbeat_interval_ms=1000))

    def poll(self):
        return [record(m) for batch in wait(self.c.getmany(timeout_ms=100)).values() for m in batch]

    def assignment(self):
        return [tp.partition for tp in self.c.assignment()]

    def commit(self):
        wait(self.c.commit())

    def close(self):
        wait(self.c.stop())


class Aio:
    name = f"aiokafka {aiokafka.__version__}"
    codecs = set(scenario.CODECS)
    idempotent = transactional = groups = True

    def __init__(self, bootstrap, security):
        self.base = {"bootstrap_servers": bootstrap}
        if security:
            self.base.update(security_protocol=security["protocol"], sasl_mechanism=security["mechanism"],
                             sasl_plain_username=security["user"], sasl_plain_password=security["password"])
            if security["protocol"] == "SASL_SSL":
                self.base["ssl_context"] = ssl.create_default_context(cafile=security["ca_file"])

    def produce(self, topic, records, codec, idempotent, partition):
        return wait(self.produce_all(topic, records, codec, idempotent, partition))

    async def produce_all(self, topic, records, codec, idempotent, partition):
        p = await made(AIOKafkaProducer, **self.base, compression_type=None if codec == "none" else codec,
                       linger_ms=50, acks="all", enable_idempotence=idempotent)
        futures = [await self.send(p, topic, r, partition) for r in records]
        outcomes = [await outcome(f) for f in futures]
        await p.stop()
        return outcomes

    @staticmethod
    async def send(p, topic, r, partition):
        return await p.send(topic, key=r.key.encode(), value=r.value.encode(), headers=[(k, v.encode()) for k, v in r.headers],
                            partition=partition)

    def transact(self, txid, topic, records, commit):
        wait(self.transact_all(txid, topic, records, commit))

    async def transact_all(self, txid, topic, records, commit):
        p = await made(AIOKafkaProducer, **self.base, transactional_id=txid)
        await p.begin_transaction()
        for f in [await self.send(p, topic, r, None) for r in records]:
            await f
        await (p.commit_transaction() if commit else p.abort_transaction())
        await p.stop()

    def reader(self, committed):
        return made(AIOKafkaConsumer, **self.base, enable_auto_commit=False, auto_offset_reset="earliest",
                    isolation_level="read_committed" if committed else "read_uncommitted")

    def read(self, topic, committed):
        return wait(self.read_all(topic, committed))

    async def read_all(self, topic, committed):
        c = await self.reader(committed)
        tps = [TopicPartition(topic, p) for p in await partitions(c, topic)]
        c.assign(tps)
        ends = await c.end_offsets(tps)
        await c.seek_to_beginning(*tps)
        got, end = [], time.monotonic() + scenario.DEADLINE
        while [tp for tp in tps if await c.position(tp) < ends[tp]]:
            if time.monotonic() > end:
                raise TimeoutError(f"no end of {topic}")
            got += [record(m) for batch in (await c.getmany(timeout_ms=100)).values() for m in batch]
        await c.stop()
        return got

    def first_at(self, topic, partition, offset):
        return wait(self.first(topic, partition, offset))

    async def first(self, topic, partition, offset):
        c, tp = await self.reader(False), TopicPartition(topic, partition)
        c.assign([tp])
        ends = await c.end_offsets([tp])
        c.seek(tp, offset)
        end = time.monotonic() + scenario.DEADLINE
        got = None
        while got is None and await c.position(tp) < ends[tp]:
            if time.monotonic() > end:
                raise TimeoutError("nothing after seek")
            for batch in (await c.getmany(timeout_ms=100)).values():
                got = record(batch[0])
        await c.stop()
        return got

    def join(self, group, topic):
        return Member(self.base, group, topic)


async def partitions(c, topic):
    """The client learns of a topic that it is not assigned only when asked."""
    c.subscribe([topic]) if c.partitions_for_topic(topic) is None else None
    while not c.partitions_for_topic(topic):
        await asyncio.sleep(0.05)
    c.unsubscribe()
    return sorted(c.partitions_for_topic(topic))


scenario.main(Aio)
