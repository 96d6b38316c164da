
// The list: what is loaded, in which order it is shown, and the few rows that are in sight. The server sorts and filters
// all names; once all of them are loaded, this does.
const KINDS = new Map(Object.entries({
  image: 'apng avif bmp gif ico jpeg jpg png svg webp',
  audio: 'aac flac m4a mp3 oga ogg opus wav weba',
  video: 'm4v mkv mov mp4 ogv webm',
  pdf: 'pdf',
  text: 'bat c cfg conf cpp cs css csv diff go h hpp htm html ini java js json kt log lua md ndjson patch php pl py ' +
    'rb rs rst sh sql srt swift tex toml ts tsv txt vtt xml yaml yml',
  archive: '7z apk bz2 deb dmg gz iso jar rar rpm tar tgz xz zip zst',
}).flatMap(([kind, ends]) => ends.split(' ').map(end => [end, kind])));
const SHOWN = ['image', 'audio', 'video', 'text'];   // can be previewed

/* What is loaded */

const loaded = new Map();    // name to entry
let view = [];               // the entries shown, in their order
let next = $('more').hidden ? '' : onward($('more').firstChild.search);   // the query of the next page
let begun = !first('.before');   // the first name is loaded
let whole = begun && !next;  // all names of this directory are loaded
let loading = null, loadingAll = false, trouble = '';
let order = 'name', falling = false, sought = '';

const plain = text => text.normalize().toLowerCase();

// As many names as the server gives at once.
function onward(search) {
  const words = new URLSearchParams(search);
  words.delete('limit');
  return words.size ? `?${words}` : '';
}

function entry(name, folder, size, time, more) {
  const end = name.includes('.', 1) ? name.slice(name.lastIndexOf('.') + 1).toLowerCase() : '';
  const kind = folder ? 'folder' : KINDS.get(end) || 'file';
  const href = encode(name) + (folder ? '/' : '') + pass;
  // Digits count as numbers: file-2 comes before file-10.
  const rank = plain(name).replace(/\d+/g, digits => digits.padStart(20, '0'));
  return { name, kind, size: folder ? -1 : size, time, href, rank, plain: plain(base(name)), ...more };
}
const base = path => path.slice(path.lastIndexOf('/') + 1);
const isFolder = entry => entry.kind === 'folder';
const described = line => entry(line.name, line.type === 'folder', line.size, line.mtime, { link: line.link, may: line.may });

const least = (a, b) => a < b ? -1 : a > b ? 1 : 0;
const byName = (a, b) => least(a.rank, b.rank) || least(a.name, b.name);
const sorted = (a, b) => order === 'name' ? byName(a, b) : a[order] - b[order];
const compare = (a, b) => isFolder(b) - isFolder(a) || (falling ? -1 : 1) * sorted(a, b) || byName(a, b);
const matches = entry => entry.plain.includes(sought);

// Sorting what is nearly sorted is quick, so this may be called for every page.
function add(entries) {
  const known = new Set(entries.map(entry => loaded.get(entry.name)).filter(Boolean));
  if (known.size) view = view.filter(entry => !known.has(entry));
  for (const entry of entries) {
    loaded.set(entry.name, entry);
    if (matches(entry)) view.push(entry);
  }
  view.sort(compare);
  show();
}

function remove(entry) {
  loaded.delete(entry.name);
  view = view.filter(other => other !== entry);
  pick([entry], false);
  show();
}

function forget() {
  loaded.clear();
  picked.clear();
  view = [];
}

// After another order or another filter.
let asked = 0;
function arrange() {
  endSearch();
  clearTimeout(asked);
  if (!whole) {
    asked = setTimeout(restart, 150);
    return;
  }
  view = [...loaded.values()].filter(matches).sort(compare);
  show();
}

// Asks for the first names in this order; those of the last one stay until they come.
function restart() {
  loading?.abort();
  loading = null;
  loadingAll = false;
  trouble = '';
  const words = { sort: order === 'time' ? 'mtime' : order, order: falling ? 'desc' : 'asc' };
  if (sought) words.filter = sought;
  next = query(words, '');
  return load(true);
}

let arrived;                 // the names that were asked for last
function load(restarts = false) {
  if (!loading && next) arrived = fetchMore(restarts);
  return arrived;
}

async function fetchMore(restarts) {
  const mine = loading = new AbortController();
  tell();
  try {
    const answer = await ask(here + next, { headers: NDJSON, signal: mine.signal });
    const lines = (await answer.text()).split('\n').filter(Boolean).map(line => JSON.parse(line));
    if (restarts) forget();
    begun ||= restarts;
    next = onward(/<\?([^>]*)>;\s*rel="?next/.exec(answer.headers.get('Link'))?.[1]);
    whole = begun && !next && !sought;
    trouble = '';
    loading = null;
    add(lines.map(described));
  } catch (error) {
    if (loading !== mine) return;
    trouble = `More names could not be loaded: ${error.message}`;
    loading = null;
    loadingAll = false;
    show();
  }
}

async function loadAll() {
  loadingAll = true;
  while (next && loadingAll) await load();
  loadingAll = false;
  tell();
}

/* What is shown */

const body = $('rows');
const rows = new Map();      // entry to its row, for the rows that exist
const WHOLE = 300;           // up to this many rows are simply all made
let rowHeight = 40;
let pinned = null;           // the row with the focus exists wherever it is

function act(word, tag, entry, props) {
  const label = `${word} ${entry.name}`;
  return make(tag, { title: word, ariaLabel: label, ...props });
}

function acts(entry) {
  const { href, size } = entry, cell = make('td', {});
  const archive = ARCHIVES && isFolder(entry);
  const address = archive ? query({ archive: 'zip' }, href.split('?')[0]) : href;
  if (may('r', entry) && (archive || size >= 0)) cell.append(act('Download', 'a', entry, { href: address, download: '', className: 'act get' }));
  if (entry.link) cell.append(' ', act('Copy link', 'button', entry, { className: 'act share' }));
  if (may('d', entry)) cell.append(' ', act('Delete', 'button', entry, { className: 'act del' }));
  return cell;
}

function row(entry) {
  const { name, href, kind, size, time, fresh } = entry;
  const link = make('a', { href, className: kind, title: name }, make('bdi', { textContent: name }));
  if (kind === 'pdf') Object.assign(link, { target: '_blank', rel: 'noopener' });
  const node = make('tr', { className: fresh ? 'new' : '' },
    make('th', { scope: 'row' }, link),
    make('td', size < 0 || size === undefined ? {} : { textContent: human(size), title: count(size, 'byte') }),
    make('td', {}, make('time', { title: stamp(time), textContent: ago(time) })), acts(entry));
  if (PICKS) node.prepend(make('td', { className: 'pick' }, make('input', { type: 'checkbox', ariaLabel: `Select ${name}` })));
  node.entry = entry;
  entry.fresh = false;
  mark(node);
  return node;
}

// Takes the place of rows that are not made.
function gap(count) {
  const node = make('tr', { className: 'gap', ariaHidden: 'true' }, make('td', { colSpan: 5 }));
  node.style.height = `${count * rowHeight}px`;
  return node;
}

// The places of the rows in sight, of a screen's worth around them, and of the row with the focus.
function places() {
  const known = body.querySelector('tr:not(.gap)');
  if (known) rowHeight = known.getBoundingClientRect().height;
  const all = view.length <= WHOLE, above = -body.getBoundingClientRect().top;
  const start = all ? 0 : Math.max(0, Math.floor((above - innerHeight) / rowHeight));
  const end = all ? view.length : Math.min(view.length, Math.ceil((above + 2 * innerHeight) / rowHeight));
  const found = Array.from({ length: Math.max(0, end - start) }, (_, step) => start + step);
  const held = pinned ? view.indexOf(pinned) : -1;
  if (held >= 0 && held < start) found.unshift(held);
  if (held >= 0 && held >= end) found.push(held);
  return found;
}

function draw() {
  const nodes = [], kept = new Set();
  let at = 0;
  const skip = to => { if (to > at) nodes.push(gap(to - at)); };
  for (const place of places()) {
    skip(place);
    const entry = view[place];
    const node = rows.get(entry) || row(entry);
    node.ariaRowIndex = place + 2;
    rows.set(entry, node);
    kept.add(entry);
    nodes.push(node);
    at = place + 1;
  }
  skip(view.length);
  for (const entry of rows.keys()) if (!kept.has(entry)) rows.delete(entry);
  keep(body, nodes);
}

function inventory() {
  const folders = view.filter(isFolder).length, files = view.length - folders;
  const bytes = view.reduce((sum, entry) => sum + Math.max(0, entry.size || 0), 0);
  return [folders && count(folders, 'folder'), files && count(files, 'file'), bytes && human(bytes)].filter(Boolean).join(', ');
}

function tell() {
  const names = loaded.size;
  let words = whole ? inventory() : `${count(names, 'name')} ${sought ? 'found' : 'loaded'}`;
  if (whole && sought) words = `${view.length.toLocaleString('en')} of ${count(names, 'name')} found`;
  if (next) words += '; there are more';
  if (loadingAll) words = `Loading: ${count(names, 'name')} so far`;
  // A count that runs is not read aloud.
  $('status').ariaLive = loadingAll || search ? 'off' : 'polite';
  $('status').textContent = trouble || (search ? search.words() : words);
  $('all').hidden = !(next || search?.runs);
  $('all').textContent = loadingAll || search?.runs ? 'Stop' : 'Load all';
  $('more').hidden = !next;
  const nothing = !view.length && !next && !loading && !trouble && !search?.runs;
  $('empty').hidden = !nothing || !!sought;
  $('none').hidden = !nothing || !sought;
  Object.assign(first('table'), { hidden: !view.length, ariaRowCount: next ? -1 : view.length + 1 });
  tellPicked();
}

function show() {
  tell();
  draw();
  showReadme();
  // Observed again, because the end of the list may be in sight still.
  nearEnd.unobserve($('more'));
  nearEnd.observe($('more'));
}

const nearEnd = new IntersectionObserver(seen => {
  if (seen.at(-1).isIntersecting && !trouble) load();
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

// After a change that took the row with the focus away.
function focusNear(place) {
  if (view.length) focusRow(Math.max(0, Math.min(place, view.length - 1)));
  else $('list').focus();
}

function sortBy(head) {
  const word = head.dataset.sort;
  // The largest and the latest are looked for first.
  falling = order === word ? !falling : word !== 'name';
  order = word;
  for (const other of every('[data-sort]')) other.removeAttribute('aria-sort');
  head.ariaSort = falling ? 'descending' : 'ascending';
  if (search) {
    view.sort(compare);
    show();
  } else {
    arrange();
  }
}

function clearFilter() {
  $('filter').value = sought = '';
  arrange();
}
