
// The list: what is loaded, in which order it is shown, and the few rows that are in sight.
// Text from outside only ever becomes textContent, a property, or an encoded part of an address.
'use strict';
const $ = id => document.getElementById(id);
const make = (tag, props, ...kids) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...kids);
  return node;
};
const writable = 'writable' in document.body.dataset;
const limit = document.body.dataset.limit;
// Not a relative address: those would carry a user's name and secret along, which fetch refuses.
const here = location.origin + location.pathname;
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

function stamp(seconds) {
  const date = new Date(seconds * 1000);
  if (isNaN(date)) return '';
  const two = number => String(number).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}`;
}

function ago(seconds) {
  const age = Date.now() / 1000 - seconds;
  if (age < -60 || age >= 604800) return stamp(seconds);
  if (age < 60) return 'just now';
  if (age < 3600) return `${count(Math.floor(age / 60), 'minute')} ago`;
  if (age < 86400) return `${count(Math.floor(age / 3600), 'hour')} ago`;
  return `${count(Math.floor(age / 86400), 'day')} ago`;
}

// What a refusal says, for people.
function reason(status, text) {
  const words = (text || '').trim().slice(0, 300);
  return words ? `${words} (${status})` : `The server answered ${status}.`;
}

const KINDS = new Map(Object.entries({
  image: 'apng avif bmp gif ico jpeg jpg png svg webp',
  audio: 'aac flac m4a mp3 oga ogg opus wav weba',
  video: 'm4v mkv mov mp4 ogv webm',
  text: 'bash bat c cc cfg cmake conf cpp cs css csv diff env go h hpp htm html ini java js json jsonl kt log lua ' +
    'md mjs ndjson patch php pl py rb rs rst sh sql srt svelte swift tex toml ts tsv tsx txt vtt xml yaml yml',
  archive: '7z apk bz2 deb dmg gz iso jar rar rpm tar tgz xz zip zst',
}).flatMap(([kind, ends]) => ends.split(' ').map(end => [end, kind])));
const SHOWN = ['image', 'audio', 'video', 'text'];

/* What is loaded */

const loaded = new Map();    // name to entry
let view = [];               // the entries shown, in their order
let cursor = '';             // the last name that the server has listed
let more = !$('more').hidden;
let loading = false, loadingAll = false, trouble = '';
let order = 'name', falling = false, sought = '';

const plain = text => text.normalize().toLowerCase();
// Code units of names whose order is that of their bytes in UTF-8, which is the server's order.
const rank = name => !/[\ud800-\uffff]/.test(name) ? name : name.replace(/[\ud800-\uffff]/g,
  unit => String.fromCharCode(unit.charCodeAt() + (unit < '\ue000' ? 0x2000 : -0x800)));

function entry(name, folder, size, time) {
  const end = name.includes('.', 1) ? name.slice(name.lastIndexOf('.') + 1).toLowerCase() : '';
  const kind = folder ? 'folder' : KINDS.get(end) || 'file';
  return { name, kind, size: folder ? -1 : size, time, rank: rank(name), plain: plain(name), href: encode(name) + (folder ? '/' : '') };
}

const byName = (a, b) => a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0;
const compare = (a, b) => (falling ? -1 : 1) * (order === 'name' ? byName(a, b) : a[order] - b[order]) || byName(a, b);
const matches = entry => entry.plain.includes(sought);

// Sorting what is nearly sorted is quick, so this may be called for every page.
function add(entries) {
  for (const entry of entries) {
    const old = loaded.get(entry.name);
    if (old) { rows.delete(old); view.splice(view.indexOf(old), view.includes(old) ? 1 : 0); }
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

// Addresses with `after` and `limit`; the Link field tells whether names are left.
async function load() {
  if (loading || !more) return;
  loading = true;
  tell();
  try {
    const address = `${here}?after=${encodeURIComponent(cursor)}&limit=${limit}`;
    const answer = await fetch(address, { headers: { Accept: 'application/x-ndjson' }, cache: 'no-store' });
    const text = await answer.text();
    if (!answer.ok) throw new Error(reason(answer.status, text));
    const lines = text.split('\n').filter(Boolean).map(line => JSON.parse(line));
    more = lines.length > 0 && /rel="?next/.test(answer.headers.get('Link'));
    if (lines.length) cursor = lines.at(-1).name;
    trouble = '';
    loading = false;
    add(lines.map(line => entry(line.name, line.type === 'folder', line.size, line.mtime)));
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
const gaps = [];             // stand for rows that do not
const WHOLE = 300;           // so many rows are simply all made
let rowHeight = 40;
let pinned = null;           // the row with the focus exists wherever it is

function row(entry) {
  const link = make('a', { href: entry.href, className: entry.kind, title: entry.name }, make('bdi', { textContent: entry.name }));
  const act = make('td', {});
  if (entry.kind !== 'folder') act.append(make('a', { href: entry.href, download: '', className: 'act get', title: 'Download', ariaLabel: `Download ${entry.name}` }));
  if (writable) act.append(' ', make('button', { type: 'button', className: 'act del', title: 'Delete', ariaLabel: `Delete ${entry.name}` }));
  const node = make('tr', { className: entry.fresh ? 'new' : '' },
    make('th', { scope: 'row' }, link),
    make('td', entry.size < 0 ? {} : { textContent: human(entry.size), title: count(entry.size, 'byte') }),
    make('td', {}, make('time', { title: stamp(entry.time), textContent: ago(entry.time) })), act);
  node.entry = entry;
  entry.fresh = false;
  return node;
}

function gap(place, height) {
  const node = gaps[place] ??= make('tr', { className: 'gap', ariaHidden: 'true' }, make('td', { colSpan: 4 }));
  node.style.height = `${height}px`;
  return node;
}

// Makes the rows in sight, and a screen's worth around them.
function draw() {
  const whole = view.length <= WHOLE;
  const above = -body.getBoundingClientRect().top;
  const first = whole ? 0 : Math.max(0, Math.floor((above - innerHeight) / rowHeight));
  const last = whole ? view.length : Math.min(view.length, Math.ceil((above + 2 * innerHeight) / rowHeight));
  const places = [];
  for (let place = first; place < last; place++) places.push(place);
  const held = pinned ? view.indexOf(pinned) : -1;
  if (held >= 0 && held < first) places.unshift(held);
  if (held >= 0 && held >= last) places.push(held);
  const nodes = [], kept = new Set();
  let next = 0, holes = 0;
  const skip = to => { if (to > next) nodes.push(gap(holes++, (to - next) * rowHeight)); };
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
  const parts = [folders && count(folders, 'folder'), view.length > folders && count(view.length - folders, 'file'), bytes && human(bytes)];
  let words = parts.filter(Boolean).join(', ');
  if (sought) words = `${count(view.length, 'match').replace('matchs', 'matches')} in ${more ? 'the first ' : ''}${count(names, 'name')}`;
  else if (more) words = `The first ${count(names, 'name')}`;
  if (more && (sought || order !== 'name' || falling)) words += '; the rest is not loaded, so not in this order or search';
  else if (more) words += '; more are not loaded yet';
  $('status').textContent = trouble || (loadingAll ? `Loading: ${count(names, 'name')} so far` : words);
  $('all').hidden = !more;
  $('all').textContent = loadingAll ? 'Stop' : 'Load all';
  $('more').hidden = !more;
  $('empty').hidden = names > 0 || more;
  $('none').hidden = names === 0 || view.length > 0;
  document.querySelector('table').hidden = view.length === 0;
  document.querySelector('table').ariaRowCount = more ? -1 : view.length + 1;
}

function show() {
  tell();
  draw();
}

let due = 0;
const soon = () => { due ||= requestAnimationFrame(() => { due = 0; draw(); }); };
function measure() {
  const node = body.querySelector('tr:not(.gap)');
  if (node) rowHeight = node.getBoundingClientRect().height;
  draw();
}

// Moves the focus to the link of a row, which may not exist yet.
function focusRow(place) {
  if (!view[place]) return;
  pinned = view[place];
  draw();
  rows.get(pinned).querySelector('a').focus();
}

/* Start: the rows that the server wrote become the first entries. */

for (const node of [...body.rows]) {
  const { size, time } = node.dataset;
  cursor = node.querySelector('bdi').textContent;
  loaded.set(cursor, entry(cursor, size === undefined, Number(size), Number(time)));
}
view = [...loaded.values()];
measure();
body.replaceChildren();
show();
measure();

for (const head of document.querySelectorAll('[data-sort]')) {
  const word = head.dataset.sort;
  head.replaceChildren(make('button', { type: 'button' }, head.firstChild));
  head.firstChild.onclick = () => {
    // The largest and the latest are what people look for first.
    falling = order === word ? !falling : word !== 'name';
    order = word;
    for (const other of document.querySelectorAll('[data-sort]')) other.removeAttribute('aria-sort');
    head.ariaSort = falling ? 'descending' : 'ascending';
    arrange();
  };
}
$('filter').oninput = event => { sought = plain(event.target.value); arrange(); };
sought = plain($('filter').value);
if (sought) arrange();
$('all').onclick = () => { if (loadingAll) loadingAll = false; else loadAll(); };
$('more').onclick = event => { event.preventDefault(); load(); };
// Only where more names go to the end of the list do they come by themselves: nothing jumps.
new IntersectionObserver(seen => {
  if (seen.at(-1).isIntersecting && order === 'name' && !falling && !sought && !trouble) load();
}, { rootMargin: '1500px' }).observe($('more'));
addEventListener('scroll', soon, { passive: true });
addEventListener('resize', measure);
setInterval(() => { for (const [entry, node] of rows) node.querySelector('time').textContent = ago(entry.time); }, 60000);
body.addEventListener('focusin', event => { pinned = event.target.closest('tr').entry; });

addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
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
  removal.returnValue = '';
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
