
// The selection: entries that are downloaded, moved or deleted together.
const ARCHIVES = 'archives' in $('chosen').dataset;
const PICKS = ARCHIVES || may('d');   // something can be done with a selection
const picked = new Set();
let anchor = null;           // where a range begins
const POST_FROM = 6000;      // a longer query is sent as the body of a form
const POST_MAX = 65536;

function mark(node) {
  const isPicked = picked.has(node.entry), box = node.querySelector('.pick input');
  node.classList.toggle('picked', isPicked);
  if (box) box.checked = isPicked;
}

function pick(entries, isPicked) {
  for (const entry of entries) {
    if (isPicked) picked.add(entry);
    else picked.delete(entry);
    if (rows.has(entry)) mark(rows.get(entry));
  }
  tellPicked();
}

// All between the last entry that was picked and this one.
function pickTo(entry) {
  const [from, to] = [view.indexOf(anchor), view.indexOf(entry)].sort((a, b) => a - b);
  pick(view.slice(Math.max(0, from), to + 1), true);
}

function toggle(entry) {
  anchor = entry;
  pick([entry], !picked.has(entry));
}

function tellPicked() {
  const all = [...picked], bytes = all.reduce((sum, entry) => sum + Math.max(0, entry.size || 0), 0);
  $('chosen').hidden = !all.length;
  $('number').textContent = `${count(all.length, 'name')} selected${bytes ? `, ${human(bytes)}` : ''}`;
  for (const button of every('#chosen .get')) button.hidden = !(ARCHIVES && all.every(entry => may('r', entry)));
  $('rename').hidden = !(all.length === 1 && may('dr', all[0]) && writable);
  $('move').hidden = !(all.every(entry => may('r', entry)) && writable);
  $('delete').hidden = !all.every(entry => may('d', entry));
  const box = $('every');
  if (box) Object.assign(box, { checked: all.length > 0 && all.length === view.length, indeterminate: all.length > 0 && all.length < view.length });
}

// The archive of the selection. It is asked for once before the download, so that a refusal is shown here.
async function download(format) {
  const names = [...picked].map(entry => ['name', entry.name]), selected = new URLSearchParams(names);
  const address = query({ archive: format });
  if (`${selected}`.length > POST_MAX) throw new Error('These are too many names for one archive: select less, or the folder that they are in.');
  if (`${selected}`.length > POST_FROM) {
    const form = make('form', { method: 'post', action: address }, ...names.map(([name, value]) => make('input', { type: 'hidden', name, value })));
    document.body.append(form);
    form.submit();
    form.remove();
    return;
  }
  const whole = `${address}&${selected}`;
  const stop = new AbortController();
  await ask(whole, { signal: stop.signal });
  stop.abort();
  make('a', { href: whole, download: '' }).click();
}

function startSelecting() {
  if (!PICKS) return;
  document.body.classList.add('picks');
  first('thead tr').prepend(make('td', { className: 'pick' }, make('input', { type: 'checkbox', id: 'every', ariaLabel: 'Select all names that are loaded' })));
  $('every').onchange = event => pick(view, event.target.checked);
  $('none-chosen').onclick = () => { pick([...picked], false); focusNear(0); };
  for (const button of every('#chosen .get')) {
    button.onclick = () => download(button.value).catch(error => { $('number').textContent = error.message; });
  }
  $('rename').onclick = () => askName([...picked][0]);
  $('move').onclick = () => openMove([...picked]);
  $('delete').onclick = () => askRemoval([...picked]);
}

// A click with a key or beside the link selects; true if it did.
function clicked(event, entry) {
  if (!PICKS) return false;
  const box = event.target.matches('.pick input'), keyed = event.ctrlKey || event.metaKey;
  if (event.shiftKey) pickTo(entry);
  else if (box || keyed) toggle(entry);
  else if (event.target.closest('a, button')) return false;
  else {
    pick([...picked], false);
    toggle(entry);
  }
  // The box has its state already.
  if (!box) event.preventDefault();
  else mark(event.target.closest('tr'));
  return true;
}
