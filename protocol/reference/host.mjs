// A host of the Backup Agent Protocol (../PROTOCOL.md) for Node.js 18 or later: list | upload ID | download ID | delete ID | validate
// An archive comes from stdin and goes to stdout. BACKUP_AGENT is the agent's command, a JSON array; BACKUP_AGENT_CONFIG the path of the target's
// `config`. Exit code 0: success; 1: the agent answered with an error; 2: no working agent; 64: wrong usage. The first line of stderr is the error code.
import { spawn } from 'node:child_process';
import { fstatSync, readFileSync } from 'node:fs';
import { PassThrough, pipeline } from 'node:stream';

const LF = 10, MAX_LINE = 65_536, MAX_PAYLOAD = 1 << 20, MAX_DEPTH = 32, FRAME = 256 << 10, WINDOW = 4 << 20, LOG_BYTES = 50 * 8192;
let agent, exited, incoming, limits, isReady, stopped, failed, log = Buffer.alloc(0), lastId = 0, running = 0;
const fault = (code, message, exitCode) => Object.assign(new Error(message), { code, exitCode });
const violation = message => fault(limits ? 'agent_protocol' : 'agent_start_failed', message, 2);
const isDeeper = (value, depth) => value instanceof Object && (depth === 0 || Object.values(value).some(member => isDeeper(member, depth - 1)));
/** Returns the first frame in `held` and its `size`, or undefined while it is incomplete. Throws for an invalid frame (F7). */
function firstFrame(held) {
  const start = held.indexOf(LF) + 1, line = held.subarray(0, start || held.length);
  if (start === 0 && held.length < MAX_LINE) return undefined;
  if (/^\r*\n$/.test(line)) return { size: start };
  let message;
  try { message = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(line)); } catch { /* so it is no object */ }
  const { payload: length = 1 } = message ?? {}, isLength = Number.isInteger(length) && length > 0 && length <= MAX_PAYLOAD;
  const isMessage = message instanceof Object && !Array.isArray(message) && !isDeeper(message, MAX_DEPTH) && start > 0 && start <= MAX_LINE;
  if (!isMessage || !isLength) throw violation(`not a frame: ${JSON.stringify(line.toString('latin1', 0, 200))}`);
  const size = message.payload ? start + length + 1 : start;
  if (held.length >= size && held[size - 1] !== LF) throw violation('no line feed behind a payload');
  return held.length < size ? undefined : { message, size, payload: message.payload && held.subarray(start, size - 1) };
}
async function* frames(input) {
  let held = Buffer.alloc(0);
  for await (const chunk of input) {
    held = Buffer.concat([held, chunk]);
    for (let frame; (frame = firstFrame(held)); held = held.subarray(frame.size)) if (frame.message) yield frame;
  }
}
/** Writes a frame. Returns a promise if the pipe is full, which resolves when it is not. */
function send(message, payload) {
  const line = Buffer.from(`${JSON.stringify({ jsonrpc: '2.0', ...message, payload: payload?.length })}\n`);
  if (line.length > limits?.max_line) throw fault('usage', 'a setting or an ID is too long for a line', 64);
  const frame = payload ? Buffer.concat([line, payload, Buffer.of(LF)]) : line;
  return agent.stdin.write(frame) || new Promise(resolve => { agent.stdin.once('drain', resolve); });
}
/** Returns the result of a request. `on` handles its notifications by method and never waits, so that the host reads all the time (F6). */
async function call(method, params, on = {}) {
  if (stopped) throw stopped;
  const id = running = ++lastId;
  send({ id, method, params });
  for (;;) {
    const { message, payload } = (await incoming.next()).value ?? {};
    if (!message || message.id === null) throw fault('agent_gone', message?.error?.message ?? 'its output has ended', 2);
    if (message.method && message.params?.id === id) on[message.method]?.(message.params, payload);
    if (message.method || message.id !== id) continue;
    running = 0;
    if (message.result) return message.result;
    if (typeof message.error?.data?.code !== 'string') throw violation('a response with neither a result nor an error code');
    throw fault(message.error.data.code, message.error.message, 1);
  }
}
/** Cancels the request. Its response comes after the cleanup (C1), but the host limits its wait for it. */
function cancel(reason) {
  if (running && !stopped) send({ method: 'cancel', params: { id: running, reason } });
  stopped ??= fault('cancelled', reason, 1);
  setTimeout(() => agent.stdout.destroy(violation('a cancel was not answered')), 30_000);
}
const commands = {
  async list(cursor = null) {
    const { backups, next } = await call('backup.list', { target: 't', cursor });
    process.stdout.write(backups.map(({ id }) => `${id}\n`).join(''));
    if (next) await commands.list(next);
  },
  delete: id => call('backup.delete', { target: 't', backup_id: id }),
  validate: () => call('target.validate', { target: 't' }).then(({ checks, suggestion }) => checks.forEach(({ status, error }) => {
    if (status === 'failed') throw fault(error.code, `${error.message}${suggestion ? `; it works with ${JSON.stringify(suggestion)}` : ''}`, 1);
  })),
  async upload(backupId) {
    let credit = 0, sent = 0, isWhole = false, pumping, wake;
    const pump = async id => {
      // Reads one piece ahead of the credit: the end of the source shows only after its last byte, and costs no credit (S6).
      for await (let piece of pipeline(process.stdin, new PassThrough({ highWaterMark: FRAME }), () => {})) {
        for (let part; piece.length > 0; sent += part.length, piece = piece.subarray(part.length)) {
          while (sent >= credit) await new Promise(resolve => { wake = resolve; });
          if (running !== id || stopped) return;
          part = piece.subarray(0, Math.min(credit - sent, limits.max_payload ?? MAX_LINE));
          await send({ method: 'stream.data', params: { id, offset: sent } }, part);
        }
      }
      isWhole = running === id && !stopped;
      if (isWhole) send({ method: 'stream.end', params: { id, length: sent } });
    };
    await call('backup.upload', { target: 't', backup: { id: backupId, name: backupId }, size: fstatSync(0).size || undefined }, {
      'stream.credit': ({ id, up_to }) => {
        if (Number.isInteger(up_to) && up_to > credit) credit = up_to;
        pumping ??= pump(id).catch(error => cancel(`source_failed: ${error.message}`)); // the first credit is the go-ahead (S4)
        wake?.();
      },
    });
    if (!isWhole) throw violation('a success before the end of the stream');
  },
  async download(backupId) {
    let granted = WINDOW, received = 0, length, isWhole = false;
    const check = isRight => { if (!isRight || isWhole) throw violation('a stream out of order or without credit'); };
    const result = await call('backup.download', { target: 't', backup_id: backupId, up_to: WINDOW }, {
      'stream.begin': begin => { check(length === undefined && begin.offset === 0); length = begin.length; },
      'stream.data': ({ id, offset }, payload) => {
        check(payload && offset === received && offset + payload.length <= Math.min(granted, length));
        received += payload.length;
        process.stdout.write(payload, error => {
          if (error) return cancel(`sink_failed: ${error.message}`);
          granted += payload.length; // so with a slow reader of stdout the host holds no more than the window
          return running === id && !stopped && send({ method: 'stream.credit', params: { id, up_to: granted } });
        });
      },
      'stream.end': end => { check(end.length === received && received === length); isWhole = true; },
    });
    if (!isWhole || result.length !== length) throw violation('a success without the whole stream');
  },
};
async function run(name, ...ids) {
  if (!Object.hasOwn(commands, name ?? '') || ids.length !== commands[name].length) throw fault('usage', 'see the top of this file', 64);
  const config = JSON.parse(readFileSync(process.env.BACKUP_AGENT_CONFIG)), [program, ...args] = JSON.parse(process.env.BACKUP_AGENT);
  const isNeeded = variable => /^(PATH|TZ|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|CREDENTIALS_DIRECTORY)$/.test(variable); // K4
  const env = Object.fromEntries(Object.entries(process.env).filter(([variable]) => isNeeded(variable)));
  agent = spawn(program, args, { env, detached: true }); // detached, so that Ctrl-C does not reach the agent (X5)
  exited = new Promise(resolve => agent.on('exit', (code, signal) => resolve(signal ?? code)).on('error', ({ message }) => resolve(message)));
  for (const pipe of [agent.stdin, process.stdout]) pipe.on('error', () => {}); // the next read and the callbacks report them
  agent.stderr.on('data', bytes => { log = Buffer.concat([log, bytes]).subarray(-LOG_BYTES); });
  incoming = frames(agent.stdout);
  setTimeout(() => isReady || agent.stdout.destroy(violation('no handshake within 10 s')), 10_000); // H3
  const { method, params } = (await incoming.next()).value?.message ?? {};
  if (method !== 'hello' || params.protocol !== 'backup-agent' || !params.versions.includes(1)) throw violation('no hello of version 1');
  limits = params.limits ?? {};
  await call('initialize', { protocol: 1, client: { name: 'host.mjs', version: '1' }, log_level: 'warning' });
  isReady = true;
  await call('target.open', { target: 't', config });
  await commands[name](...ids);
  if (await new Promise(resolve => process.stdout.write('', resolve))) throw fault('cancelled', 'sink_failed', 1);
}
const stop = new Promise((_, reject) => ['SIGINT', 'SIGTERM'].forEach(signal => process.on(signal, () => {
  if (running && !stopped) cancel('user'); else reject(fault('cancelled', 'user', 1)); // nothing to wait for, or the user insists
})));
await Promise.race([run(...process.argv.slice(2)), stop]).catch(error => {
  failed = error.exitCode ? error : violation(error instanceof SyntaxError ? 'the settings are not JSON' : error.message); // the message may quote them
});
if (agent) {
  if (lastId) send({ id: ++lastId, method: 'shutdown', params: { mode: 'abort' } });
  agent.stdin.end();
  (async function drain() { if (!(await incoming.next()).done) await drain(); })().catch(() => {});
  setTimeout(() => agent.kill('SIGTERM'), failed?.exitCode === 2 && !agent.stdout.readableEnded ? 0 : 15_000); // F7, X4
  setTimeout(() => agent.kill('SIGKILL'), 20_000);
}
const ending = `end of the agent: ${await exited ?? 'not started'}`, lines = String(log).trimEnd().split('\n').slice(-50);
if (failed) process.stderr.write(`${[failed.code, failed.message, ending, ...lines].join('\n')}\n`);
process.exit(failed?.exitCode ?? 0);
