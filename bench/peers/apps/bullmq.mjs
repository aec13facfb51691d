// BullMQ: the worker and the feeder. A finished job is kept, as by default, so that its state can be asked for.
//
// node bullmq.mjs worker | fill COUNT | single COUNT | pace RATE SECONDS | plan COUNT FIRST_MS STEP_MS
//                        | schedulers COUNT FIRST_MS STEP_MS
import { existsSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(`${process.env.BENCH_MODULES}/`)
const { Queue, Worker } = require('bullmq')
const address = new URL(process.env.BENCH_URL)
const connection = { host: address.hostname, port: Number(address.port), maxRetriesPerRequest: null }
const now = () => performance.timeOrigin + performance.now()
const BULK = 1000
const TOGETHER = 100

// The same file as tally.py writes: executions, notes, first and last (s); then number and lateness (ms) of each note.
const HEAD = 32
const EVERY_MS = 5
class Tally {
  constructor () {
    this.count = 0
    this.notes = []
    this.written = 0
    this.first = 0
    this.last = 0
  }

  mark () {
    this.last = now() / 1000
    if (!this.count++) this.start()
  }

  note (number, dueMs) {
    this.notes.push(number, now() - dueMs)
    this.mark()
  }

  start () {
    this.first = this.last
    this.fd = openSync(`${process.env.BENCH_TALLY}/${process.pid}.tally`, 'w')
    setInterval(() => this.write(), EVERY_MS)
  }

  write () {
    const fresh = this.notes.slice(this.written)
    if (fresh.length) writeSync(this.fd, Buffer.from(Float64Array.from(fresh).buffer), 0, null, HEAD + this.written * 8)
    this.written += fresh.length
    const head = Buffer.alloc(HEAD)
    head.writeBigInt64LE(BigInt(this.count), 0)
    head.writeBigInt64LE(BigInt(this.written / 2), 8)
    head.writeDoubleLE(this.first, 16)
    head.writeDoubleLE(this.last, 24)
    writeSync(this.fd, head, 0, HEAD, 0)
  }
}

async function together (count, submit) {
  for (let first = 0; first < count; first += TOGETHER) {
    const numbers = Array.from({ length: Math.min(TOGETHER, count - first) }, (_, at) => first + at)
    await Promise.all(numbers.map(submit))
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const verbs = {
  async fill (queue, count) {
    for (let first = 0; first < count; first += BULK) {
      const size = Math.min(BULK, count - first)
      await queue.addBulk(Array.from({ length: size }, () => ({ name: 'noop', data: {} })))
    }
  },
  async single (queue, count) {
    await together(count, () => queue.add('noop', {}))
  },
  async pace (queue, rate, seconds) {
    const began = performance.now() + 100
    for (let number = 0; number < rate * seconds; number++) {
      const wait = began + number * 1000 / rate - performance.now()
      if (wait > 0) await sleep(wait)
      await queue.add('stamp', { number, due: now() })
    }
  },
  async plan (queue, count, first, step) {
    await together(count, (number) => {
      const due = first + number * step
      return queue.add('stamp', { number, due }, { delay: Math.max(0, Math.round(due - Date.now())) })
    })
  },
  async schedulers (queue, count, first, step) {
    await together(count, (number) => {
      const due = first + number * step
      const rule = { every: 3600000, startDate: due, limit: 1, offset: Math.round(due) % 3600000 }
      return queue.upsertJobScheduler(`s${number}`, rule, { name: 'stamp', data: { number, due } })
    })
  }
}

const [verb, ...words] = process.argv.slice(2)
if (verb === 'worker') {
  const line = process.env.BENCH_LINE // as tally.py waits at it
  if (line) {
    writeFileSync(`${line}.${process.pid}`, '')
    while (!existsSync(line)) await sleep(2)
  }
  const tally = new Tally()
  const work = async (job) => {
    if (job.name === 'noop') tally.mark()
    else tally.note(job.data.number, job.data.due)
  }
  const worker = new Worker('bench', work, { connection, concurrency: Number(process.env.BENCH_CONCURRENCY ?? 100) })
  worker.on('error', (error) => console.error(error))
  process.on('SIGTERM', () => process.exit(0))
} else {
  const queue = new Queue('bench', { connection })
  await queue.waitUntilReady()
  const began = performance.now()
  await verbs[verb](queue, ...words.map(Number))
  console.log(JSON.stringify({ seconds: (performance.now() - began) / 1000, ended_ms: now() }))
  await queue.close()
}
