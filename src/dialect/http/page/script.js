
// The list: what is loaded, in which order it is shown, and the few rows that are in sight.
// Text from outside only ever becomes textContent, a property, or an encoded part of an address.
'use strict';
const $ = id => document.getElementById(id);
const first = selector => document.querySelector(selector);
const every = selector => document.querySelectorAll(selector);
const make = (tag, props, ...kids) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...kids);
  return node;
};
const writable = 'writable' in document.body.dataset;
const linked = document.body.dataset.links === 'all';   // what is uploaded can be linked to
// Not a relative address: those would carry a user's name and secret along, which fetch refuses.
const here = location.origin + location.pathname;
// A signed link is carried on: nothing here can be had without it.
const shown = new URLSearchParams(location.search).get('fw');
const pass = shown ? `?fw=${encodeURIComponent(shown)}` : '';
const encode = path => path.toWellFormed().split('/').map(encodeURIComponent).join('/');
const say = words => { $('said').textContent = words; };

// Makes `nodes` the children of `parent` without touching those that stay, so that focus stays too.
function keep(parent, nodes) {
  const wanted = new Set(nodes);
  for (const node of [...parent.children]) if (!wanted.has(node)) node.remove();
  let at = parent.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
}

/* Words for people */

const count = (number, word) => `${number.toLocaleString('en')} ${word}${number === 1 ? '' : 's'}`;

// As the server writes it: rounded down, so that nothing is ever "1000.0 kB".
function human(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];
  let unit = 0, size = 1;
  while (bytes >= size * 1000 && unit < 6) { size *= 1000; unit++; }
  const tenths = Math.floor(bytes * 10 / size);
  const number = unit && tenths < 1000 ? `${Math.floor(tenths / 10)}.${tenths % 10}` : Math.floor(tenths / 10);
  return `${number} ${units[unit]}`;
}

// Swedes write dates as ISO 8601 does.
function stamp(seconds) {
  const date = new Date(seconds * 1000);
  return isNaN(date) ? '' : date.toLocaleString('sv').slice(0, 16);
}

function ago(seconds) {
  const age = Date.now() / 1000 - seconds;
  if (age < -60 || age >= 604800) return stamp(seconds);
  for (const [span, word] of [[86400, 'day'], [3600, 'hour'], [60, 'minute']]) {
    if (age >= span) return `${count(Math.floor(age / span), word)} ago`;
  }
  return 'just now';
}

// What a refusal says, for people. What a proxy says is a page of its own.
function reason(status, text) {
  const words = (text || '').trim().replace(/^<.*/s, '').slice(0, 300);
  return words ? `${words} (${status})` : `The server answered ${status}.`;
}

const KINDS = new Map(Object.entries({
  image: 'apng avif bmp gif ico jpeg jpg png svg webp',
  audio: 'aac flac m4a mp3 oga ogg opus wav weba',
  video: 'm4v mkv mov mp4 ogv webm',
  text: 'bat c cfg conf cpp cs css csv diff go h hpp htm html ini java js json kt log lua md ndjson patch php pl py ' +
    'rb rs rst sh sql srt swift tex toml ts tsv txt vtt xml yaml yml',
  archive: '7z apk bz2 deb dmg gz iso jar rar rpm tar tgz xz zip zst',
}).flatMap(([kind, ends]) => ends.split(' ').map(end => [end, kind])));
const SHOWN = ['image', 'audio', 'video', 'text'];   // can be looked into

/* What is loaded */

const loaded = new Map();    // name to entry
let view = [];               // the entries shown, in their order
let cursor = '';             // the last name that the server has listed
let more = !$('more').hidden;
let loading = false, loadingAll = false, trouble = '';
let order = 'name', falling = false, sought = '';

const plain = text => text.normalize().toLowerCase();
// Code units that sort as the bytes of the name in UTF-8, which is the server's order.
const rank = name => !/[\ud800-\uffff]/.test(name) ? name : name.replace(/[\ud800-\uffff]/g,
  unit => String.fromCharCode(unit.charCodeAt() + (unit < '\ue000' ? 0x2000 : -0x800)));

function entry(name, folder, size, time, link) {
  const end = name.includes('.', 1) ? name.slice(name.lastIndexOf('.') + 1).toLowerCase() : '';
  const kind = folder ? 'folder' : KINDS.get(end) || 'file';
  const href = encode(name) + (folder ? '/' : '') + pass;
  return { name, link, kind, size: folder ? -1 : size, time, href, rank: rank(name), plain: plain(name) };
}

const byName = (a, b) => a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0;
const compare = (a, b) => (falling ? -1 : 1) * (order === 'name' ? byName(a, b) : a[order] - b[order]) || byName(a, b);
const forward = () => order === 'name' && !falling;   // the server's order
const matches = entry => entry.plain.includes(sought);

// Sorting what is nearly sorted is quick, so this may be called for every page.
function add(entries) {
  for (const entry of entries) {
    const old = loaded.get(entry.name);
    if (old && matches(old)) view.splice(view.indexOf(old), 1);
    loaded.set(entry.name, entry);
    if (matches(entry)) view.push(entry);
  }
  view.sort(compare);
  show();
}

function remove(entry) {
  loaded.delete(entry.name);
  view = view.filter(other => other !== entry);
  show();
}

function arrange() {
  view = [...loaded.values()].filter(matches).sort(compare);
  show();
}

// As many names as the server gives at once; its Link field tells whether any are left.
async function load() {
  if (loading || !more) return;
  loading = true;
  tell();
  try {
    const address = `${here}?after=${encodeURIComponent(cursor)}${pass.replace('?', '&')}`;
    const answer = await fetch(address, { headers: { Accept: 'application/x-ndjson' }, cache: 'no-store' });
    const text = await answer.text();
    if (!answer.ok) throw new Error(reason(answer.status, text));
    const lines = text.split('\n').filter(Boolean).map(line => JSON.parse(line));
    more = lines.length > 0 && /rel="?next/.test(answer.headers.get('Link'));
    if (lines.length) cursor = lines.at(-1).name;
    trouble = '';
    loading = false;
    add(lines.map(line => entry(line.name, line.type === 'folder', line.size, line.mtime, line.link)));
  } catch (error) {
    trouble = `More names could not be loaded: ${error.message}`;
    loading = loadingAll = false;
    show();
  }
}

async function loadAll() {
  loadingAll = true;
  while (more && loadingAll) await load();
  loadingAll = false;
  tell();
}

/* What is shown */

const body = $('rows');
const rows = new Map();      // entry to its row, for the rows that exist
const WHOLE = 300;           // up to this many rows are simply all made
let rowHeight = 40;
let pinned = null;           // the row with the focus exists wherever it is

function row(entry) {
  const { name, href, kind, size, time, fresh } = entry;
  const link = make('a', { href, className: kind, title: name }, make('bdi', { textContent: name }));
  const act = make('td', {});
  if (size >= 0) act.append(make('a', { href, download: '', className: 'act get', title: 'Download', ariaLabel: `Download ${name}` }));
  if (entry.link) act.append(' ', make('button', { className: 'act share', title: 'Copy link', ariaLabel: `Copy link to ${name}` }));
  if (writable) act.append(' ', make('button', { className: 'act del', title: 'Delete', ariaLabel: `Delete ${name}` }));
  const node = make('tr', { className: fresh ? 'new' : '' },
    make('th', { scope: 'row' }, link),
    make('td', size < 0 ? {} : { textContent: human(size), title: count(size, 'byte') }),
    make('td', {}, make('time', { title: stamp(time), textContent: ago(time) })), act);
  node.entry = entry;
  entry.fresh = false;
  return node;
}

// Stands for rows that are not made.
function gap(count) {
  const node = make('tr', { className: 'gap', ariaHidden: 'true' }, make('td', { colSpan: 4 }));
  node.style.height = `${count * rowHeight}px`;
  return node;
}

// Makes the rows in sight, and a screen's worth around them.
function draw() {
  const known = body.querySelector('tr:not(.gap)');
  if (known) rowHeight = known.getBoundingClientRect().height;
  const whole = view.length <= WHOLE;
  const above = -body.getBoundingClientRect().top;
  const start = whole ? 0 : Math.max(0, Math.floor((above - innerHeight) / rowHeight));
  const end = whole ? view.length : Math.min(view.length, Math.ceil((above + 2 * innerHeight) / rowHeight));
  const places = [];
  for (let place = start; place < end; place++) places.push(place);
  const held = pinned ? view.indexOf(pinned) : -1;
  if (held >= 0 && held < start) places.unshift(held);
  if (held >= 0 && held >= end) places.push(held);
  const nodes = [], kept = new Set();
  let next = 0;
  const skip = to => { if (to > next) nodes.push(gap(to - next)); };
  for (const place of places) {
    skip(place);
    const entry = view[place];
    const node = rows.get(entry) || row(entry);
    node.ariaRowIndex = place + 2;
    rows.set(entry, node);
    kept.add(entry);
    nodes.push(node);
    next = place + 1;
  }
  skip(view.length);
  for (const entry of rows.keys()) if (!kept.has(entry)) rows.delete(entry);
  keep(body, nodes);
}

function tell() {
  const names = loaded.size, folders = view.filter(entry => entry.size < 0).length;
  const bytes = view.reduce((sum, entry) => sum + Math.max(0, entry.size), 0);
  const files = view.length - folders;
  let words = [folders && count(folders, 'folder'), files && count(files, 'file'), bytes && human(bytes)].filter(Boolean).join(', ');
  if (more || first('.before')) words = `${count(names, 'name')} loaded`;
  if (sought) words = `${view.length.toLocaleString('en')} of ${count(names, 'name')} found`;
  if (more) words += sought || !forward() ? '; there are more, not loaded, so not searched or sorted' : '; there are more';
  // A count that runs is not read aloud.
  $('status').ariaLive = loadingAll ? 'off' : 'polite';
  $('status').textContent = trouble || (loadingAll ? `Loading: ${count(names, 'name')} so far` : words);
  $('all').hidden = !more;
  $('all').textContent = loadingAll ? 'Stop' : 'Load all';
  $('more').hidden = !more;
  $('empty').hidden = names > 0 || more;
  $('none').hidden = names === 0 || view.length > 0;
  Object.assign(first('table'), { hidden: view.length === 0, ariaRowCount: more ? -1 : view.length + 1 });
}

function show() {
  tell();
  draw();
  // Asks again whether the end of the list is in sight.
  nearEnd.unobserve($('more'));
  nearEnd.observe($('more'));
}

// Only where more names go to the end of the list do they come by themselves: nothing jumps.
const nearEnd = new IntersectionObserver(seen => {
  if (seen.at(-1).isIntersecting && forward() && !sought && !trouble) load();
}, { rootMargin: '1500px' });

let due = 0;
const soon = () => { due ||= requestAnimationFrame(() => { due = 0; draw(); }); };

// Moves the focus to the link of a row, which may not exist yet.
function focusRow(place) {
  if (!view[place]) return;
  pinned = view[place];
  draw();
  rows.get(pinned).querySelector('a').focus();
}

/* Start: the rows that the server wrote become the first entries. */

for (const node of [...body.rows]) {
  const { size, time, link } = node.dataset;
  cursor = node.querySelector('bdi').textContent;
  loaded.set(cursor, entry(cursor, size === undefined, Number(size), Number(time), link !== undefined));
}
view = [...loaded.values()];
show();

for (const head of every('[data-sort]')) {
  const word = head.dataset.sort;
  head.replaceChildren(make('button', {}, head.firstChild));
  head.firstChild.onclick = () => {
    // The largest and the latest are what people look for first.
    falling = order === word ? !falling : word !== 'name';
    order = word;
    for (const other of every('[data-sort]')) other.removeAttribute('aria-sort');
    head.ariaSort = falling ? 'descending' : 'ascending';
    arrange();
  };
}
$('filter').oninput = event => { sought = plain(event.target.value); arrange(); };
sought = plain($('filter').value);
if (sought) arrange();
$('all').onclick = () => { if (loadingAll) loadingAll = false; else loadAll(); };
$('more').onclick = event => { event.preventDefault(); load(); };
addEventListener('scroll', soon, { passive: true });
addEventListener('resize', soon);
setInterval(() => { for (const [entry, node] of rows) node.querySelector('time').textContent = ago(entry.time); }, 60000);
body.addEventListener('focusin', event => { pinned = event.target.closest('tr').entry; });

addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || first('dialog[open]')) return;
  const place = body.contains(event.target) ? view.indexOf(event.target.closest('tr').entry) : -1;
  const step = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: view.length - 1 }[event.key];
  if (place >= 0 && step !== undefined) focusRow(step);
  else if (event.target === $('filter') && event.key === 'ArrowDown') focusRow(0);
  else if (event.target === $('filter') && event.key === 'Escape') { $('filter').value = sought = ''; arrange(); }
  else if (event.key === '/' && event.target.type !== 'search') $('filter').focus();
  else return;
  event.preventDefault();
});

body.addEventListener('click', event => {
  const node = event.target.closest('tr'), hit = event.target.closest('a, button');
  if (!hit || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (hit.matches('.del')) askRemoval(node.entry);
  else if (hit.matches('.share')) openShare(node.entry);
  else if (!hit.matches('.get') && SHOWN.includes(node.entry.kind)) openPreview(node.entry);
  else return;
  event.preventDefault();
});

/* Deleting */

const removal = $('removal');
let doomed = null;
function askRemoval(entry) {
  doomed = entry;
  removal.querySelector('bdi').textContent = entry.name;
  removal.querySelector('.error').textContent = '';
  removal.showModal();
}
// The dialog stays until the server has answered, so that a refusal is read where it was asked.
removal.querySelector('[value=delete]').onclick = async event => {
  event.preventDefault();
  const button = event.target;
  button.disabled = true;
  try {
    const answer = await fetch(here + doomed.href, { method: 'DELETE' });
    if (!answer.ok && answer.status !== 404) throw new Error(reason(answer.status, await answer.text()));
    const place = view.indexOf(doomed);
    remove(doomed);
    removal.close();
    say(`${doomed.name} is deleted`);
    if (view.length) focusRow(Math.min(place, view.length - 1));
    else $('list').focus();
  } catch (error) {
    removal.querySelector('.error').textContent = error.message;
  }
  button.disabled = false;
};

/* Signed links */

const share = $('share'), within = selector => share.querySelector(selector);
let shared = null;
function openShare(entry) {
  shared = entry;
  within('bdi').textContent = entry.name;
  for (const note of share.querySelectorAll('[role]')) note.textContent = '';
  within('input').parentNode.hidden = true;
  share.showModal();
}
within('[value=copy]').onclick = async event => {
  event.preventDefault();
  const button = event.target, field = within('input'), address = here + shared.href;
  button.disabled = true;
  within('[role=alert]').textContent = within('[role=status]').textContent = '';
  try {
    const answer = await fetch(address, { method: 'POST', headers: { 'Filewharf-Link': within('select').value } });
    const text = await answer.text();
    if (!answer.ok) throw new Error(reason(answer.status, text));
    const { link, expires } = JSON.parse(text);
    field.value = address + link;
    field.parentNode.hidden = false;
    field.select();
    // Only pages that came over TLS have a clipboard.
    const { clipboard } = navigator;
    const copied = clipboard ? await clipboard.writeText(field.value).then(() => true, () => false) : document.execCommand('copy');
    within('[role=status]').textContent = `${copied ? 'Copied. ' : ''}Valid until ${stamp(expires)}.`;
  } catch (error) {
    within('[role=alert]').textContent = error.message;
  }
  button.disabled = false;
};
