// The client matrix's cases for clients in JavaScript. README.md, in the directory above, says what each is; the programs
// in other languages hold the same.
'use strict'

const range = (n) => [...Array(n).keys()]
const acked = (outcomes) => outcomes.filter((o) => o === 'ok').length
const same = (a, b) => a.key === b.key && a.value === b.value && a.n === b.n

class Run {
  constructor(adapter, job) {
    this.a = adapter
    this.topics = job.topics
    this.id = job.run
    adapter.run = job.run
  }

  records(name, values, first = 0) {
    return values.map((value, i) => ({ key: `${this.id}/${name}/${first + i}`, value, n: String(first + i) }))
  }

  async stored(topic, name, committed = false) {
    const mine = (await this.a.read(this.topics[topic], committed)).filter((r) => (r.key || '').startsWith(`${this.id}/${name}/`))
    return mine.sort((a, b) => Number(a.key.split('/').pop()) - Number(b.key.split('/').pop()))
  }

  async roundTrip(name, codec, idempotent) {
    const sent = this.records(name, range(20).map((i) => `value ${i} of ${name} ` + 'x'.repeat(100)))
    const outcomes = await this.a.produce(this.topics.plain, sent, codec, idempotent, null)
    const got = await this.stored('plain', name)
    const intact = got.length === sent.length && got.every((r, i) => same(r, sent[i]))
    return { acked: acked(outcomes), read: got.length, intact }
  }

  // The commit is answered before its markers are in every partition, so what it holds may take a moment to be readable.
  async committed(name, n) {
    for (const end = Date.now() + 20000; ; ) {
      const got = (await this.stored('plain', name, true)).length
      if (got >= n || Date.now() > end) return got
    }
  }

  async transaction() {
    const count = {}
    for (const [name, commit] of [['tx-kept', true], ['tx-undone', false]]) {
      await this.a.transact(`${this.id}-tx`, this.topics.plain, this.records(name, Array(10).fill(name)), commit)
      count[name] = await this.committed(name, commit ? 10 : 0)
    }
    return { kept: count['tx-kept'], undone: count['tx-undone'] }
  }

  async poll(members, seen, holds) {
    const end = Date.now() + 90000
    while (!holds()) {
      if (Date.now() > end) throw new Error('the group did not get there in time')
      for (const m of members) {
        for (const r of await m.poll()) if ((r.key || '').startsWith(`${this.id}/group-`)) seen.add(r.key)
      }
    }
  }

  async group() {
    const [group, topic, seen, after] = [`${this.id}-group`, this.topics.plain, new Set(), new Set()]
    const first = await this.a.join(group, topic)
    await this.poll([first], seen, () => first.assignment().length === 3)
    const second = await this.a.join(group, topic)
    const lengths = () => [first.assignment().length, second.assignment().length]
    await this.poll([first, second], seen, () => lengths()[0] > 0 && lengths()[1] > 0 && lengths()[0] + lengths()[1] === 3)
    const covered = !first.assignment().some((p) => second.assignment().includes(p))
    await this.spread('group-a', 30)
    await this.poll([first, second], seen, () => seen.size === 30)
    for (const m of [first, second]) {
      await m.commit()
      await m.close()
    }
    await this.spread('group-b', 3)
    const third = await this.a.join(group, topic)
    const late = () => [...after].filter((k) => k.includes('/group-b/')).length
    await this.poll([third], after, () => late() === 3)
    await third.close()
    return { covered, seen: seen.size, resumed: late(), redelivered: after.size - late() }
  }

  async spread(name, n) {
    const records = this.records(name, Array(n).fill('spread'))
    for (const p of range(3)) await this.a.produce(this.topics.plain, records.filter((_, i) => i % 3 === p), 'none', false, p)
  }

  async seek() {
    await this.a.produce(this.topics.plain, this.records('seek', Array(5).fill('sought')), 'none', false, 0)
    const third = (await this.stored('plain', 'seek'))[2]
    const got = await this.a.firstAt(this.topics.plain, third.partition, third.offset)
    return { offset: got.offset === third.offset, key: got.key === third.key }
  }

  async upper() {
    const sent = this.records('upper', range(5).map((i) => `hello ${i}`))
    const outcomes = await this.a.produce(this.topics.upper, sent, 'none', false, 0)
    return { acked: acked(outcomes), values: (await this.stored('upper', 'upper')).map((r) => r.value) }
  }

  async batches(topic, name, idempotent, batches) {
    const outcomes = []
    let n = 0
    for (const batch of batches) {
      outcomes.push(await this.a.produce(this.topics[topic], this.records(name, batch, n), 'none', idempotent, 0))
      n += batch.length
    }
    return outcomes
  }

  async reject(idempotent) {
    const name = `reject-${idempotent}`
    const outcomes = await this.batches('strict', name, idempotent, [['fine 0'], ['fine 1', 'BAD 2', 'fine 3'], ['fine 4']])
    return { outcomes, values: (await this.stored('strict', name)).map((r) => r.value) }
  }

  async drop(idempotent) {
    const name = `drop-${idempotent}`
    const outcomes = await this.batches('dropping', name, idempotent, [['keep 0', 'drop 1', 'keep 2'], ['drop 3', 'drop 4'], ['keep 5']])
    const got = await this.stored('dropping', name)
    const beforeHole = got.find((r) => r.value === 'keep 2')
    const after = await this.a.firstAt(this.topics.dropping, 0, beforeHole.offset + 1)
    return { acked: acked(outcomes.flat()), values: got.map((r) => r.value), after_hole: after.value }
  }

  cases() {
    const all = {}
    for (const c of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) all['codec/' + c] = () => this.roundTrip('codec-' + c, c, false)
    return {
      ...all,
      idempotent: () => this.roundTrip('idempotent', 'none', true),
      transaction: () => this.transaction(), group: () => this.group(), seek: () => this.seek(), upper: () => this.upper(),
      'reject/plain': () => this.reject(false), 'reject/idempotent': () => this.reject(true),
      'drop/plain': () => this.drop(false), 'drop/idempotent': () => this.drop(true),
    }
  }
}

async function main(Adapter) {
  let input = ''
  for await (const chunk of process.stdin) input += chunk
  const job = JSON.parse(input)
  const run = new Run(new Adapter(job.bootstrap, job.security), job)
  const cases = {}
  for (const [name, run1] of Object.entries(run.cases())) {
    if (job.cases && job.cases.length > 0 && !job.cases.includes(name)) continue
    try {
      cases[name] = await run1()
    } catch (e) {
      console.error(name, e)
      cases[name] = { error: String(e) }
    }
  }
  process.stdout.write(JSON.stringify({ client: run.a.name, cases }), () => process.exit(0))
}

module.exports = { main }
