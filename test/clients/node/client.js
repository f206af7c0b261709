// kafkajs. Of itself it knows gzip only; the other codecs are registered as its documents say.
'use strict'
const { readFileSync } = require('fs')
const { Kafka, CompressionTypes, CompressionCodecs, Partitioners, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')
const { main } = require('./scenario')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => lz4.compressFrameSync(encoder.buffer),
  decompress: async (buffer) => lz4.decompressFrameSync(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
})
const codecs = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }

const text = (b) => (b === null || b === undefined ? null : b.toString())
const toRecord = (partition, m) => ({
  key: text(m.key), value: text(m.value), n: text((m.headers || {}).n), partition, offset: Number(m.offset),
})
const pause = (ms) => new Promise((done) => setTimeout(done, ms))

// secured gives kafkajs's settings for how to connect.
function secured(s) {
  if (!s) return {}
  return {
    sasl: { mechanism: s.mechanism.toLowerCase(), username: s.user, password: s.password },
    ...(s.protocol === 'SASL_SSL' ? { ssl: { ca: [readFileSync(s.ca_file)] } } : {}),
  }
}

// consumer starts one that hands records to a list.
async function consumer(kafka, options, topic, fromBeginning) {
  const c = kafka.consumer({ sessionTimeout: 10000, heartbeatInterval: 500, maxWaitTimeInMs: 200, ...options })
  const m = { c, records: [], partitions: [] }
  c.on(c.events.GROUP_JOIN, (e) => { m.partitions = e.payload.memberAssignment[topic] || [] })
  c.on(c.events.REBALANCING, () => { m.partitions = [] })
  await c.connect()
  await c.subscribe({ topic, fromBeginning })
  return m
}

class Adapter {
  constructor(bootstrap, security) {
    this.kafka = new Kafka({
      clientId: 'matrix', brokers: bootstrap.split(','), logLevel: logLevel.NOTHING, retry: { retries: 8 }, ...secured(security),
    })
    this.name = 'kafkajs ' + require('kafkajs/package.json').version
    this.temporary = 0
  }

  messages(records, partition) {
    return records.map((r) => ({ key: r.key, value: r.value, headers: { n: r.n }, ...(partition === null ? {} : { partition }) }))
  }

  async produce(topic, records, codec, idempotent, partition) {
    const p = this.kafka.producer({
      idempotent, createPartitioner: Partitioners.DefaultPartitioner, ...(idempotent ? { maxInFlightRequests: 1 } : {}),
    })
    await p.connect()
    try {
      await p.send({ topic, acks: -1, compression: CompressionTypes[codecs[codec]], messages: this.messages(records, partition) })
      return records.map(() => 'ok')
    } catch (e) { // kafkajs tells one error for the whole call
      const cause = e.cause && e.cause.type ? e.cause : e
      const name = cause.code === 87 ? 'INVALID_RECORD' : cause.type || String(cause)
      return records.map(() => name)
    } finally {
      await p.disconnect()
    }
  }

  async transact(txid, topic, records, commit) {
    const p = this.kafka.producer({
      transactionalId: txid, idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner,
    })
    await p.connect()
    const tx = await p.transaction()
    await tx.send({ topic, messages: this.messages(records, null) })
    await (commit ? tx.commit() : tx.abort())
    await p.disconnect()
  }

  async ends(topic) {
    const admin = this.kafka.admin()
    await admin.connect()
    const ends = await admin.fetchTopicOffsets(topic)
    await admin.disconnect()
    return ends
  }

  // read uses a group of its own, since kafkajs has no other way; where it is comes from every batch, empty ones too.
  async read(topic, committed) {
    const left = new Map((await this.ends(topic)).filter((e) => Number(e.high) > Number(e.low)).map((e) => [e.partition, Number(e.high)]))
    const m = await consumer(this.kafka, {
      groupId: `${this.run}-read-${this.temporary++}`, readUncommitted: !committed }, topic, true)
    const reached = (partition, next) => { if (next >= left.get(partition)) left.delete(partition) }
    m.c.on(m.c.events.END_BATCH_PROCESS, (e) => reached(e.payload.partition, Number(e.payload.lastOffset) + 1))
    await m.c.run({
      autoCommit: false, eachBatchAutoResolve: true,
      eachBatch: async ({ batch }) => {
        for (const r of batch.messages) m.records.push(toRecord(batch.partition, r))
        reached(batch.partition, Number(batch.lastOffset()) + 1)
      },
    })
    await this.until(() => left.size === 0 || this.idle(m, 3000))
    await m.c.disconnect()
    return m.records
  }

  // idle: kafkajs gives no batch to the application where it holds only markers, so that quiet is the end there.
  idle(m, ms) {
    if (m.last !== m.records.length) { m.last = m.records.length; m.since = Date.now() }
    return m.records.length > 0 && Date.now() - m.since > ms
  }

  async until(holds) {
    const end = Date.now() + 90000
    while (!holds()) {
      if (Date.now() > end) throw new Error('it did not get there in time')
      await pause(50)
    }
  }

  async firstAt(topic, partition, offset) {
    const m = await consumer(this.kafka, { groupId: `${this.run}-seek-${this.temporary++}` }, topic, true)
    await m.c.run({ autoCommit: false, eachMessage: async ({ partition: p, message }) => { m.records.push(toRecord(p, message)) } })
    m.c.seek({ topic, partition, offset: String(offset) })
    const sought = () => m.records.find((r) => r.partition === partition && r.offset >= offset)
    await this.until(sought)
    await m.c.disconnect()
    return sought()
  }

  async join(group, topic) {
    const m = await consumer(this.kafka, { groupId: group }, topic, true)
    const next = new Map()
    await m.c.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        m.records.push(toRecord(partition, message))
        next.set(partition, String(Number(message.offset) + 1))
      },
    })
    return {
      poll: async () => { await pause(100); return m.records.splice(0) },
      assignment: () => m.partitions,
      commit: () => m.c.commitOffsets([...next].map(([partition, offset]) => ({ topic, partition, offset }))),
      close: () => m.c.disconnect(),
    }
  }
}

zstd.init().then(() => main(Adapter)).catch((e) => { console.error(e); process.exit(1) })
