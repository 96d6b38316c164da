
// What all of the page uses: elements, words for people, requests, and what the caller may do.
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
const data = document.body.dataset;
// The letters of the rights in this directory; a name with other rights has its own.
const MAY = data.may;
const may = (letters, entry) => [...letters].every(letter => (entry?.may ?? MAY).includes(letter));
const writable = may('c') || may('w'), isInbox = writable && !may('l');
const linked = data.links === 'all';   // what is uploaded can be linked to
// Not a relative address: those would carry a user's name and secret along, which fetch refuses.
const here = location.origin + location.pathname;
// The highest directory that the page leads to.
const summit = first('nav a') ? location.origin + first('nav a').pathname : here;
// A signed link is carried on: nothing here can be had without it.
const shown = new URLSearchParams(location.search).get('fw');
const pass = shown ? `?fw=${encodeURIComponent(shown)}` : '';
const encode = path => path.toWellFormed().split('/').map(encodeURIComponent).join('/');
const say = words => { $('said').textContent = words; };

// The address of a directory with a query; the signed link comes last.
function query(words, dir = here) {
  const query = new URLSearchParams(words);
  if (shown) query.set('fw', shown);
  return `${dir}?${query}`;
}

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

// The Swedish form of dates is that of ISO 8601.
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

const left = seconds => seconds < 60 ? `${Math.ceil(seconds)} s left`
  : seconds < 5400 ? `${Math.ceil(seconds / 60)} min left` : `${Math.ceil(seconds / 3600)} h left`;

const UNREACHABLE = 'The server cannot be reached, or the connection broke.';
// What a status means where the answer has no words of the server: it is that of a proxy.
const STATUSES = {
  401: 'A login is needed; load the page again.',
  403: 'This is not permitted here.',
  404: 'It is not there any more.',
  405: 'The server, or a proxy before it, does not permit this.',
  408: 'The connection was too slow.',
  412: 'That name is taken.',
  413: 'A proxy before the server does not let requests of this size pass. Ask its operator to raise the limit.',
  414: 'The address is too long for a proxy before the server.',
  429: 'The server is busy. Try again in a moment.',
  502: 'A proxy cannot reach the server. It may be starting again.',
  503: 'The server is busy or starting again. Try again in a moment.',
  504: 'A proxy waited too long for the server.',
  507: 'There is no space left.',
};

// What a refusal says, for people. What a proxy says is a page of its own.
function reason(status, text) {
  const words = (text || '').trim().replace(/^<.*/s, '').slice(0, 300) || STATUSES[status];
  return words ? `${words} (${status})` : `The server answered ${status}.`;
}

// A request that must succeed.
async function ask(address, options) {
  const answer = await fetch(address, { cache: 'no-store', ...options }).catch(error => {
    throw error.name === 'AbortError' ? error : new Error(UNREACHABLE);
  });
  if (answer.ok) return answer;
  throw Object.assign(new Error(reason(answer.status, await answer.text())), { status: answer.status });
}

const NDJSON = { Accept: 'application/x-ndjson' };
// The objects of a listing as they come, some at a time.
async function* stream(address, signal) {
  const reader = (await ask(address, { headers: NDJSON, signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? '')).split('\n');
    rest = lines.pop();
    yield lines.filter(Boolean).map(line => JSON.parse(line));
    if (done) return;
  }
}

// Does what a dialog asks for. A refusal is read where it was asked, so the dialog stays until the work is done.
async function during(dialog, button, work) {
  const error = dialog.querySelector('.error');
  error.textContent = '';
  button.disabled = true;
  try {
    await work();
    dialog.close();
  } catch (refused) {
    error.textContent = refused.message;
  }
  button.disabled = false;
}
