const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
const fs = require('fs');
if (!isMainThread) {
  let sum = 0;
  for (let i = 0; i < 1e5; i++) sum += i % workerData.n;
  const shared = new Int32Array(workerData.shared);
  for (let i = 0; i < 1000; i++) Atomics.add(shared, 0, 1);
  if (workerData.n === 2) Atomics.wait(shared, 1, 0);
  parentPort.on('message', m => { parentPort.postMessage(m + sum); parentPort.close(); });
  parentPort.postMessage('up');
  return;
}
const { spawn, execFileSync, fork, spawnSync } = require('child_process');
const crypto = require('crypto');
const path = require('path');
const zlib = require('zlib');
if (process.argv[2] === 'child') {
  process.on('message', m => { process.send(m * 2); if (m === 3) process.disconnect(); });
  return;
}
const say = (...a) => console.log(...a);
async function workers() {
  const shared = new SharedArrayBuffer(8);
  const all = [];
  for (let n = 1; n <= 4; n++) {
    all.push(new Promise((resolve, reject) => {
      const w = new Worker(__filename, { workerData: { n, shared } });
      const got = [];
      w.on('message', m => { got.push(m); if (m === 'up') w.postMessage(n); });
      w.on('error', reject);
      w.on('exit', code => resolve([n, ...got, code]));
    }));
  }
  setTimeout(() => { const s = new Int32Array(shared); Atomics.store(s, 1, 1); Atomics.notify(s, 1); }, 100);
  say('workers', JSON.stringify(await Promise.all(all)), new Int32Array(shared)[0]);
}
async function children() {
  say('exec', execFileSync('echo', ['sync']).toString().trim(), spawnSync('sh', ['-c', 'exit 9']).status);
  const cat = spawn('cat'); let out = '';
  cat.stdout.on('data', d => out += d); cat.stdin.end('through cat');
  say('cat', await new Promise(r => cat.on('close', (c, s) => r([c, s, out]))));
  const sleeper = spawn('sleep', ['100']);
  setTimeout(() => sleeper.kill('SIGTERM'), 50);
  say('killed', await new Promise(r => sleeper.on('exit', (c, s) => r([c, s]))));
  const none = spawn('/nonexistent/program');
  say('none', await new Promise(r => none.on('error', e => r(e.code))));
  const child = fork(__filename, ['child']); const got = [];
  child.on('message', m => got.push(m)); [1, 2, 3].forEach(n => child.send(n));
  say('ipc', await new Promise(r => child.on('exit', c => r([c, got.join()]))));
  const d = spawn('sh', ['-c', 'sleep 0.1; echo detached >d'], { detached: true, stdio: 'ignore' });
  say('detached', await new Promise(r => d.on('exit', c => r([c, fs.readFileSync('d', 'utf8').trim()]))));
}
async function timers() {
  const order = [];
  await new Promise(done => {
    setTimeout(() => { order.push('t20'); }, 40);
    setTimeout(() => order.push('t1'), 1);
    setImmediate(() => order.push('immediate'));
    process.nextTick(() => order.push('tick'));
    Promise.resolve().then(() => order.push('micro'));
    let n = 0; const i = setInterval(() => { order.push('i'); if (++n === 3) { clearInterval(i); done(); } }, 30);
  });
  say('timers', order.filter(x => x === 'i').length, order.includes('t20'), order[0], order[1]);
  const t = process.hrtime.bigint(); await new Promise(r => setTimeout(r, 60));
  say('slept', process.hrtime.bigint() - t >= 59000000n);
}
async function signals() {
  const alive = setInterval(() => {}, 1000); // Handlers alone keep no process.
  for (const s of ['SIGUSR2', 'SIGHUP', 'SIGWINCH']) {
    const came = new Promise(r => process.once(s, (name, n) => r([name, n])));
    process.kill(process.pid, s); say('signal', await came);
  }
  try { process.kill(process.pid, 0); say('alive'); process.kill(2147483, 0); } catch (e) { say(e.code); }
  clearInterval(alive);
}
async function files() {
  const p = fs.promises;
  await p.mkdir('a/b/c', { recursive: true });
  await p.writeFile('a/f', 'content'); await p.appendFile('a/f', ' more');
  await p.copyFile('a/f', 'a/g'); await p.rename('a/g', 'a/b/g'); await p.symlink('f', 'a/l'); await p.link('a/f', 'a/h');
  say('fs', await p.readFile('a/l', 'utf8'), (await p.stat('a/f')).nlink, (await p.lstat('a/l')).isSymbolicLink());
  say((await p.readdir('a', { withFileTypes: true })).map(e => e.name + (e.isDirectory() ? '/' : '')).sort().join());
  const stream = fs.createWriteStream('big'); for (let i = 0; i < 200; i++) stream.write(Buffer.alloc(10000, i & 255));
  await new Promise(r => stream.end(r));
  const hash = crypto.createHash('sha256');
  for await (const chunk of fs.createReadStream('big')) hash.update(chunk);
  say('stream', fs.statSync('big').size, hash.digest('hex'));
  fs.ftruncateSync(fs.openSync('big', 'r+'), 10); say(fs.statSync('big').size, fs.existsSync('none'));
  fs.rmSync('a', { recursive: true }); say(fs.existsSync('a'));
  try { fs.readFileSync('a/x'); } catch (e) { say(e.code, e.syscall); }
  say(zlib.gunzipSync(zlib.gzipSync('x'.repeat(1000))).length);
}
async function crypt() {
  say(crypto.createHmac('md5', 'k').update('x').digest('hex'), crypto.randomBytes(16).length);
  const scrypt = await new Promise((r, j) => crypto.scrypt('p', 's', 32, (e, k) => e ? j(e) : r(k.toString('hex')))); say(scrypt);
  const { publicKey, privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 1024 });
  const sig = crypto.sign('sha256', Buffer.from('m'), privateKey); say(crypto.verify('sha256', Buffer.from('m'), publicKey, sig));
  const all = await Promise.all([1, 2, 3, 4, 5, 6].map(n => new Promise(r => crypto.pbkdf2('p' + n, 's', 2000, 16, 'sha512', (e, k) => r(k.toString('hex'))))));
  say(all.join());
}
async function net() {
  const http = require('http');
  const server = http.createServer((q, s) => { let b = ''; q.on('data', d => b += d); q.on('end', () => s.end('got ' + b.length)); });
  await new Promise(r => server.listen('sock', r));
  const ask = n => new Promise(r => { const q = http.request({ socketPath: 'sock', method: 'POST' }, s => { let b = ''; s.on('data', d => b += d); s.on('end', () => r(b)); }); q.end('x'.repeat(n)); });
  say((await Promise.all([10, 100000, 5].map(ask))).join()); server.close();
}
(async () => {
  await workers(); await children(); await timers(); await signals(); await files(); await crypt(); await net();
  process.on('exit', c => say('exit', c)); process.exitCode = 3;
})();
