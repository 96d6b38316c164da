
// Previews of images, sound, film, and the beginning of texts; and the README of the directory.
const preview = $('preview'), stage = preview.querySelector('.stage');
const TEXT_MAX = 65536;
let watched = null;

function openPreview(entry) {
  watched = entry;
  preview.querySelector('bdi').textContent = entry.name;
  preview.querySelector('[download]').href = entry.href;
  for (const button of preview.querySelectorAll('[value]')) button.disabled = !neighbour(Number(button.value));
  const address = addressOf(entry);
  const onerror = () => { if (watched === entry) stage.replaceChildren('This browser cannot show it.'); };
  silence();
  if (entry.kind === 'image') stage.append(make('img', { alt: entry.name, onerror, src: address }));
  else if (entry.kind === 'text') showText(entry, stage);
  else stage.append(make(entry.kind, { controls: true, preload: 'metadata', ariaLabel: entry.name, onerror, src: address }));
  if (!preview.open) {
    // The button Back closes it.
    history.pushState({ preview: true }, '');
    preview.showModal();
  }
  // A button that has just been disabled must not keep the focus.
  if (document.activeElement.disabled) preview.querySelector('[autofocus]').focus();
}

// The beginning of a text. An empty file has no first byte to ask for.
async function beginning(entry) {
  if (!entry.size) return '';
  const answer = await ask(addressOf(entry), { headers: { Range: `bytes=0-${TEXT_MAX - 1}` } });
  // A letter that was cut through at the end is left out.
  const text = new TextDecoder().decode(await answer.arrayBuffer(), { stream: true });
  const cut = answer.status === 206 && Number(answer.headers.get('Content-Range').split('/')[1]) > TEXT_MAX;
  return text + (cut ? `\n\n… the first 64 KiB of ${human(entry.size)}` : '');
}

async function showText(entry, parent) {
  const pre = make('pre', { tabIndex: 0, ariaLabel: entry.name, role: 'group' });
  parent.append(pre);
  pre.textContent = await beginning(entry).catch(error => error.message);
}

// Ends what is playing and what is being fetched for it.
function silence() {
  for (const media of stage.querySelectorAll('audio, video')) {
    media.onerror = null;
    media.removeAttribute('src');
    media.load();
  }
  stage.replaceChildren();
}

function neighbour(step) {
  let place = view.indexOf(watched) + step;
  while (view[place] && !SHOWN.includes(view[place].kind)) place += step;
  return view[place];
}

for (const button of preview.querySelectorAll('[value]')) button.onclick = () => openPreview(neighbour(Number(button.value)));
preview.addEventListener('keydown', event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  // Players have their own use for arrows.
  if (!step || event.target.matches('audio, video, pre') || !neighbour(step)) return;
  event.preventDefault();
  openPreview(neighbour(step));
});
preview.addEventListener('click', event => { if (event.target === preview) preview.close(); });
preview.addEventListener('close', () => {
  // The next one was opened before this was reported.
  if (preview.open) return;
  const place = view.indexOf(watched);
  watched = null;
  silence();
  if (history.state?.preview) history.back();
  focusRow(place);
});
addEventListener('popstate', () => { if (preview.open) preview.close(); });
// The page was loaded again while a preview was open.
if (history.state?.preview) history.replaceState(null, '');

function showReadme() {
  const section = $('readme'), found = search ? null : view.find(entry => /^readme(\.(md|txt|rst))?$/.test(entry.plain) && may('r', entry));
  if (!section.hidden || !found || isFolder(found)) return;
  section.hidden = false;
  section.querySelector('bdi').textContent = found.name;
  showText(found, section);
}
