
// Uploading: a queue of files, three at a time.
const LANES = 3;
const RETRIES = 5;            // when the server is busy
const NAMES_MAX = 99;         // names that are tried
const LOOK_FIRST = 1 << 20;   // larger files are not sent only to learn that the name is taken
const PARTS_FROM = 8 << 20;   // larger files go in parts
const LINES = 60;             // at most this many files are shown of each group
const items = [];
let busy = 0, forAll = '', asking = Promise.resolve();

const which = (...states) => items.filter(item => states.includes(item.state));
const OVER = ['stored', 'skipped', 'cancelled', 'failed'];
const WORDS = { waiting: 'Waiting', asking: 'Already there', storing: 'Storing…', stored: 'Stored', skipped: 'Skipped', cancelled: 'Cancelled' };

// `file` is null for what cannot be sent; `note` then says why.
function enqueue(path, file, note) {
  // A drop box takes files only.
  if (isInbox) path = base(path);
  items.push({ path, file, note: note || '', state: note ? 'failed' : 'waiting', sent: 0, safe: 0, rate: 0, tries: 0, request: null, node: null });
  $('uploads').hidden = false;
  resumed(path);
  pump();
}

function tally() {
  const number = state => which(state).length, all = count(items.length, 'file'), stored = number('stored');
  const others = ['failed', 'cancelled', 'skipped'].filter(number).map(state => `, ${number(state)} ${state}`);
  return `${stored < items.length ? `${stored} of ` : ''}${all} stored${others.join('')}`;
}

// How long all of it takes, at the rate of now.
function timeLeft() {
  const open = items.filter(item => !OVER.includes(item.state));
  const rate = open.reduce((sum, item) => sum + item.rate, 0), bytes = open.reduce((sum, item) => sum + item.file.size - item.sent, 0);
  return rate > 0 && bytes > 0 ? `; ${left(bytes / rate)}` : '';
}

function pump() {
  while (busy < LANES) {
    const item = items.find(item => item.state === 'waiting');
    if (!item) break;
    busy++;
    item.state = 'sending';
    send(item).catch(error => settle(item, 'failed', error.message)).finally(() => { busy--; pump(); });
  }
  if (!busy) {
    forAll = '';
    if (items.length) say(tally());
  }
  list();
}

function settle(item, state, note) {
  if (OVER.includes(item.state)) return;
  Object.assign(item, { state, note: note || '', request: null, rate: 0 });
  list();
}

async function send(item) {
  let replace = forAll === 'replace';
  for (;;) {
    const answer = await attempt(item, replace);
    if (OVER.includes(item.state)) return;
    if (answer.status >= 200 && answer.status < 300) return stored(item, answer);
    if (answer.status === 412 && !replace && (isInbox || forAll === 'both') && item.tries++ < NAMES_MAX) {
      item.path = another(item.path);
    } else if (answer.status === 412 && !replace) {
      item.state = 'asking';
      list();
      const choice = await question(item);
      if (OVER.includes(item.state)) return;
      if (choice === 'skip') return settle(item, 'skipped');
      item.state = 'sending';
      replace = choice === 'replace';
      if (!replace) item.path = another(item.path);
    } else if ((answer.status === 429 || answer.status === 503) && item.tries++ < RETRIES) {
      item.note = 'The server is busy; trying again';
      list();
      await new Promise(done => setTimeout(done, 1000 * (answer.wait || 1)));
      if (OVER.includes(item.state)) return;
    } else {
      return settle(item, 'failed', answer.status ? reason(answer.status, answer.text) : `${UNREACHABLE} Or the file cannot be read.`);
    }
  }
}

// report.pdf, report (2).pdf, report (3).pdf
const another = path => path.replace(/^(.*?)(?: \((\d+)\))?(\.[^./]+)?$/s, (_, stem, number, end = '') => `${stem} (${Number(number ?? 1) + 1})${end}`);

const taken = address => fetch(address, { method: 'HEAD', cache: 'no-store' }).then(answer => answer.ok, () => false);

async function attempt(item, replace) {
  const address = here + encode(item.path) + pass, inParts = item.file.size >= PARTS_FROM;
  if (!replace && !isInbox && item.file.size >= LOOK_FIRST && await taken(address)) return { status: 412 };
  if (item.state !== 'sending') return {};
  Object.assign(item, { sent: 0, safe: 0, rate: 0, from: 0, then: performance.now(), note: '' });
  list();
  return (inParts ? sendInParts : sendWhole)(item, address, replace ? {} : { 'If-None-Match': '*' });
}

// One request of an item; its status is 0 if there was no answer.
function transmit(item, method, address, headers, body, watch) {
  return new Promise(done => {
    const request = item.request = new XMLHttpRequest(), field = name => request.getResponseHeader(name);
    if (watch) watch(request.upload);
    request.onloadend = () => done({ status: request.status, text: request.responseText, wait: Number(field('Retry-After')), field });
    request.open(method, address);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.send(body);
  });
}

const LOOK_RATE_MS = 400;     // a rate is taken of at least this time
function advance(item, sent, safe = item.safe) {
  const now = performance.now(), time = now - item.then;
  if (time >= LOOK_RATE_MS) {
    const rate = Math.max(0, 1000 * (sent - item.from) / time);
    Object.assign(item, { then: now, from: sent, rate: item.rate ? 0.7 * item.rate + 0.3 * rate : rate });
  }
  Object.assign(item, { sent, safe });
  paint(item);
  list();
}

async function sendWhole(item, address, headers) {
  const answer = await transmit(item, 'PUT', address, headers, item.file, upload => {
    upload.onprogress = event => advance(item, event.loaded);
    // Sent is not stored: the server answers when the file is safe.
    upload.onload = () => { if (item.state === 'sending') { item.state = 'storing'; paint(item); } };
  });
  if (item.state === 'storing') item.state = 'sending';
  return answer;
}

function stored(item, answer) {
  settle(item, 'stored');
  // A drop box gives a name of its own.
  const given = isInbox && (answer.field?.('Location') ?? answer.field?.('Content-Location'));
  item.name = given ? decodeURIComponent(base(given)) : item.path;
  if (isInbox) return;
  const [name, ...rest] = item.path.split('/'), now = Math.floor(Date.now() / 1000);
  if (rest.length && loaded.has(name)) return;
  add([entry(name, rest.length > 0, item.file.size, now, { link: linked || undefined, fresh: true })]);
}

// One question at a time; "for all others" lasts until the queue is empty.
function question(item) {
  const dialog = $('question'), same = dialog.querySelector('input');
  asking = asking.then(() => new Promise(done => {
    if (forAll || OVER.includes(item.state)) return done(forAll);
    dialog.querySelector('bdi').textContent = item.path;
    dialog.returnValue = 'skip';
    same.checked = false;
    dialog.onclose = () => {
      if (same.checked) forAll = dialog.returnValue;
      done(dialog.returnValue);
    };
    dialog.showModal();
  }));
  return asking;
}

function cancel(item) {
  if (OVER.includes(item.state)) return;
  const { request, wake, discard } = item;
  settle(item, 'cancelled');
  request?.abort();
  wake?.();
  discard?.();
}

function retry(item) {
  Object.assign(item, { state: 'waiting', note: '', sent: 0, tries: 0 });
  pump();
}

/* The panel */

function line(item) {
  const name = make('bdi', { textContent: item.path, title: item.path });
  const bar = make('progress', { max: 1, value: 0, className: 'sent', ariaLabel: `Sent of ${item.path}` });
  const safe = make('progress', { max: 1, value: 0, className: 'safe', ariaLabel: `Safe of ${item.path}` });
  const button = make('button', { onclick: () => OVER.includes(item.state) ? retry(item) : cancel(item) });
  return item.node = make('li', {}, name, bar, safe, make('span', {}), button);
}

function paint(item) {
  if (!item.node) return;
  const [name, bar, safe, words, button] = item.node.children, over = OVER.includes(item.state), size = item.file?.size || 0;
  item.node.className = item.state;
  name.textContent = item.path;
  bar.hidden = safe.hidden = over || item.state === 'waiting';
  bar.value = size ? Math.min(1, item.sent / size) : 0;
  safe.value = size ? Math.min(1, item.safe / size) : 0;
  words.textContent = item.note || (item.state === 'stored' ? receipt(item) : WORDS[item.state]) || progress(item, size);
  button.hidden = item.state === 'stored' || !item.file;
  button.textContent = over ? (item.state === 'skipped' ? 'Upload' : 'Retry') : 'Cancel';
  button.ariaLabel = `${button.textContent} ${item.path}`;
}

function progress(item, size) {
  const rate = item.rate ? `, ${human(item.rate)}/s, ${left((size - item.sent) / item.rate)}` : '';
  const safe = item.safe ? `, ${human(item.safe)} safe` : '';
  return `${human(Math.min(item.sent, size))} of ${human(size)} sent${safe}${rate}`;
}

function receipt(item) {
  item.at ??= Date.now() / 1000;
  return isInbox ? `Stored as ${item.name}, ${human(item.file.size)}, ${stamp(item.at)}` : item.name === item.path ? 'Stored' : `Stored as ${item.name}`;
}

// Shows what moves or needs the user first, and of a crowd only a part.
let listing = 0;
function list() {
  listing ||= requestAnimationFrame(() => {
    listing = 0;
    const now = which('sending', 'storing', 'asking'), failed = which('failed'), waiting = which('waiting');
    const ended = which('stored', 'skipped', 'cancelled');
    const shown = [...now, ...failed.slice(0, LINES), ...waiting.slice(0, LINES), ...ended.slice(-LINES).reverse()];
    keep($('items'), shown.map(item => item.node || line(item)));
    shown.forEach(paint);
    const open = now.length + waiting.length, hidden = items.length - shown.length;
    $('summary').textContent = tally() + timeLeft() + (hidden ? `; ${hidden} not shown` : '');
    $('again').hidden = !failed.some(item => item.file);
    $('stop').hidden = !open;
    $('clear').hidden = open > 0;
  });
}

$('again').onclick = () => { for (const item of which('failed')) if (item.file) retry(item); };
$('stop').onclick = () => { items.forEach(cancel); };
$('clear').onclick = () => { items.length = 0; $('uploads').hidden = true; $('files').focus(); };

/* Where files come from */

function choose(event) {
  for (const file of event.target.files) enqueue(file.webkitRelativePath || file.name, file);
  event.target.value = '';
}

// A directory without anything in it is made, after those above it.
async function keepEmpty(path) {
  try {
    for (const { index } of `${path}/`.matchAll(/\//g)) {
      await ask(`${here}${encode(path.slice(0, index))}/${pass}`, { method: 'MKCOL' }).catch(error => {
        // It is there already.
        if (error.status !== 405) throw error;
      });
    }
    add([entry(path.split('/')[0], true, -1, Date.now() / 1000, { fresh: true })]);
  } catch (error) {
    enqueue(path, null, `The empty folder is not made: ${error.message}`);
  }
}

// Files within dropped folders; a folder is listed in parts.
async function walk(entry, path) {
  try {
    if (entry.isFile) return enqueue(path, await new Promise((done, failed) => entry.file(done, failed)));
    const reader = entry.createReader();
    for (let empty = true; ; empty = false) {
      const part = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!part.length) return empty ? await keepEmpty(path) : undefined;
      for (const child of part) await walk(child, `${path}/${child.name}`);
    }
  } catch (error) {
    enqueue(path, null, `It cannot be read: ${error.message}`);
  }
}

// Everything must be taken out of the transfer at once: it is empty after the event.
function take(transfer) {
  const found = [...transfer.items].filter(item => item.kind === 'file').map(item => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  for (const [entry, file] of found) {
    if (entry) walk(entry, entry.name);
    else if (file) enqueue(file.name, file);
  }
}

if (writable) {
  document.body.classList.add(isInbox ? 'inbox' : 'writer');
  $('files').onchange = $('folder').onchange = choose;
  const carries = event => event.dataTransfer?.types.includes('Files') && !first('dialog[open]');
  addEventListener('dragenter', event => { if (carries(event)) $('drop').hidden = false; });
  addEventListener('dragleave', event => { if (!event.relatedTarget) $('drop').hidden = true; });
  addEventListener('dragover', event => {
    if (!carries(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
  });
  addEventListener('drop', event => {
    $('drop').hidden = true;
    if (!carries(event)) return;
    event.preventDefault();
    take(event.dataTransfer);
  });
  addEventListener('paste', event => {
    if (!event.clipboardData?.files.length || first('dialog[open]')) return;
    event.preventDefault();
    take(event.clipboardData);
  });
  addEventListener('beforeunload', event => { if (items.some(item => !OVER.includes(item.state))) event.preventDefault(); });
}
