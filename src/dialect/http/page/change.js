
// Changes of what is there: new folder, rename, move, copy, delete.
const COUNT_MAX = 10000;     // names that are counted before a deletion
const dirOf = entry => here + encode(entry.name).replace(/[^/]*$/, '');
const addressOf = entry => here + entry.href;
// Destination names the new place of what is moved or copied; nothing is replaced there.
const onto = address => ({ Destination: address, Overwrite: 'F' });

/* New folder, and another name */

const naming = $('naming'), nameField = naming.querySelector('input');
let named = null;            // the entry that gets another name; null for a new folder

function askName(entry) {
  named = entry ?? null;
  const name = entry ? base(entry.name) : '', dot = isFolder(entry ?? {}) ? -1 : name.lastIndexOf('.');
  $('named').textContent = entry ? 'Rename' : 'New folder';
  naming.querySelector('.main').textContent = entry ? 'Rename' : 'Create';
  naming.querySelector('.error').textContent = '';
  nameField.value = name;
  naming.showModal();
  nameField.setSelectionRange(0, dot > 0 ? dot : name.length);
}

async function giveName(name) {
  if (!name || name.includes('/') || /^\.\.?$/.test(name)) throw new Error('This cannot be a name.');
  if (!named) {
    await ask(here + encode(name) + '/' + pass, { method: 'MKCOL' });
    settled(entry(name, true, -1, Date.now() / 1000, { link: linked || undefined }));
  } else if (name !== base(named.name)) {
    const slash = isFolder(named) ? '/' : '';
    await ask(addressOf(named), { method: 'MOVE', headers: onto(dirOf(named) + encode(name) + slash) });
    const path = named.name.slice(0, named.name.length - base(named.name).length) + name;
    remove(named);
    settled(entry(path, isFolder(named), named.size, named.time, { link: named.link, may: named.may }));
  }
}

function settled(made) {
  made.fresh = true;
  add([made]);
  naming.onclose = () => { naming.onclose = null; focusRow(view.indexOf(made)); };
}

naming.querySelector('form').onsubmit = event => {
  event.preventDefault();
  during(naming, naming.querySelector('.main'), () => giveName(nameField.value).catch(error => {
    if (error.status === 405 && !named) throw new Error('That name is taken.');
    throw error;
  }));
};

/* Move and copy: the target is chosen by walking through the directories */

const moving = $('moving');
let movers = [], target = here;

function openMove(entries) {
  movers = entries;
  moving.querySelector('h2 bdi').textContent = entries.length === 1 ? base(entries[0].name) : count(entries.length, 'name');
  moving.querySelector('[value=move]').hidden = !entries.every(entry => may('d', entry));
  moving.showModal();
  offerCopies();
  walkTo(here);
}

// Not every server copies.
async function offerCopies() {
  const answer = await fetch(here, { method: 'OPTIONS' }).catch(() => null);
  moving.querySelector('[value=copy]').hidden = !/\bCOPY\b/.test(answer?.headers.get('Allow'));
}

async function walkTo(dir) {
  target = dir;
  const path = decodeURIComponent(dir.slice(summit.length));
  moving.querySelector('.error').textContent = '';
  moving.querySelector('p bdi').textContent = `/${path}`;
  const step = (words, address) => make('li', {}, make('button', { type: 'button', textContent: words, onclick: () => walkTo(address) }));
  const list = dir === summit ? [] : [step('‹ Up', new URL('..', dir).href)];
  moving.querySelector('ul').replaceChildren(...list);
  try {
    for await (const lines of stream(query({ sort: 'name' }, dir))) {
      if (target !== dir) return;
      const folders = lines.filter(line => line.type === 'folder' && !movers.some(entry => addressOf(entry).split('?')[0] === dir + encode(line.name) + '/'));
      moving.querySelector('ul').append(...folders.map(line => step(line.name, dir + encode(line.name) + '/')));
    }
  } catch (error) {
    moving.querySelector('.error').textContent = error.message;
  }
}

async function moveAll(method) {
  const refused = [];
  for (const entry of movers) {
    const name = base(entry.name), slash = isFolder(entry) ? '/' : '';
    try {
      await ask(addressOf(entry), { method, headers: onto(target + encode(name) + slash) });
      if (method === 'MOVE') remove(entry);
      if (target === here) add([Object.assign({}, entry, { fresh: true })]);
    } catch (error) {
      refused.push(`${name}: ${error.message}`);
    }
  }
  if (refused.length) throw new Error(refused.slice(0, 5).join('\n'));
  say(`${count(movers.length, 'name')} ${method === 'MOVE' ? 'moved' : 'copied'}`);
}

for (const button of moving.querySelectorAll('[value=move], [value=copy]')) {
  button.onclick = event => {
    event.preventDefault();
    during(moving, button, () => moveAll(button.value.toUpperCase()));
  };
}

/* Deleting */

const removal = $('removal');
let doomed = [], counting = null;

function askRemoval(entries) {
  doomed = entries;
  removal.querySelector('bdi').textContent = entries.length === 1 ? base(entries[0].name) : count(entries.length, 'name');
  removal.querySelector('.error').textContent = '';
  removal.showModal();
  countDoomed();
}

// Says how many files are in the directories that are to be deleted.
async function countDoomed() {
  const mine = counting = new AbortController(), folders = doomed.filter(isFolder), note = removal.querySelector('p');
  const button = removal.querySelector('[value=delete]');
  let files = doomed.length - folders.length, seen = 0;
  note.textContent = 'This cannot be undone.';
  if (!folders.length) return;
  button.disabled = true;
  note.textContent = 'Counting what is in it…';
  try {
    for (const folder of folders) {
      for await (const lines of stream(query({ recursive: '' }, here + folder.href.split('?')[0]), mine.signal)) {
        seen += lines.length;
        files += lines.filter(line => line.type === 'file').length;
        if (seen > COUNT_MAX) break;
      }
    }
    const words = seen > COUNT_MAX ? `More than ${count(files, 'file')}` : files ? count(files, 'file') : 'No file';
    note.textContent = `${words} will be deleted. This cannot be undone.`;
  } catch (error) {
    if (error.name === 'AbortError') return;
    note.textContent = 'All that is in it will be deleted; it could not be counted. This cannot be undone.';
  }
  if (counting === mine) button.disabled = false;
}

async function removeAll() {
  const place = view.indexOf(doomed[0]), all = count(doomed.length, 'name');
  while (doomed.length) {
    const [entry] = doomed, headers = isFolder(entry) ? { Depth: 'infinity' } : {};
    await ask(addressOf(entry), { method: 'DELETE', headers }).catch(error => {
      if (error.status !== 404) throw Object.assign(error, { message: `${base(entry.name)}: ${error.message}` });
    });
    remove(entry);
    doomed.shift();
  }
  say(`${all} deleted`);
  removal.onclose = () => { removal.onclose = null; focusNear(place); };
}

removal.querySelector('[value=delete]').onclick = event => {
  event.preventDefault();
  during(removal, event.target, removeAll);
};
removal.addEventListener('close', () => {
  counting?.abort();
  removal.querySelector('[value=delete]').disabled = false;
});
$('new').onclick = () => askName();
for (const button of every('dialog [type=button][value=close]')) button.onclick = () => button.closest('dialog').close();
