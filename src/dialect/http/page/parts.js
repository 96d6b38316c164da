
// Large files go in parts, by tus 1.0.0. What the server has said is safe
// is not sent again, also when the page was loaded again meanwhile: the same file then continues where it was.
const PART = 64 << 20;        // so that proxies which allow 100 MB let it pass
const LOOK_MS = 2000;
const TUS = { 'Tus-Resumable': '1.0.0' };

// Where the uploads are that are not complete. A browser may refuse to keep it: then a new page begins again.
const kept = {
  read(key) { try { return localStorage.getItem(key); } catch { return null; } },
  write(key, value) { try { value ? localStorage.setItem(key, value) : localStorage.removeItem(key); } catch { /* as above */ } },
};

async function sendInParts(item, address, headers) {
  const size = item.file.size, key = ['upload', address.split('?')[0], size, item.file.lastModified, Object.keys(headers)].join(' ');
  let at = kept.read(key), safe = -1, most = 0, isOld = !!at;
  const hold = value => { at = value; safe = -1; kept.write(key, value); };
  // A cancelled upload is removed from the server; one of a page that was closed is not.
  const forget = () => { if (at) fetch(at + pass, { method: 'DELETE', headers: TUS }).catch(() => {}); hold(null); };
  item.discard = forget;
  for (let breaks = 0; breaks <= RETRIES; breaks++) {
    const answer = !at ? await transmit(item, 'POST', address, { ...TUS, ...headers, 'Upload-Length': size })
      : safe < 0 ? await transmit(item, 'HEAD', at + pass, TUS) : await sendPart(item, at + pass, safe);
    if (item.state !== 'sending') return {};
    const { status } = answer, place = answer.field('Location');
    if (status === 201 && place) hold(new URL(place, address).href);
    // What was complete before may have been removed or replaced since.
    const isOver = isOld && safe < 0 && answer.field('Upload-Offset') === String(size);
    if (status >= 200 && status < 300) isOld = false;
    const offset = status === 201 ? 0 : Number(answer.field('Upload-Offset') ?? NaN);
    if (isOver) {
      hold(null);
    } else if (status >= 200 && status < 300 && at && offset <= size) {
      safe = offset;
      item.note = '';
      advance(item, safe, safe);
      if (safe > most) [most, breaks] = [safe, 0];
      if (safe === size) {
        kept.write(key, null);
        return answer;
      }
    } else if (at && (status === 404 || status === 410)) {
      hold(null);
    } else if (!status || [408, 423, 429, 500, 502, 503, 504].includes(status) || at && status === 409) {
      safe = -1;
      await pause(item, answer.wait || 2 ** breaks);
      if (item.state !== 'sending') return {};
    } else {
      // A full disk may have room later, and a secret can be given; what else is refused will be refused again.
      if (status < 500 && status !== 401) forget();
      return status < 300 ? { status: 0 } : answer;
    }
  }
  return { status: 0 };
}

// How much of an upload is safe; NaN if nothing is known of it, null if it is gone.
async function safeOf(at) {
  const answer = await fetch(at, { headers: TUS, cache: 'no-store' }).catch(() => null);
  if ([404, 410].includes(answer?.status)) return null;
  return Number(answer?.ok ? answer.headers.get('Upload-Offset') ?? NaN : NaN);
}

// While a part is sent, the server is asked what of it is safe: by GET, because HEAD would end the request that sends it.
async function sendPart(item, at, safe) {
  const looking = setInterval(async () => {
    const now = await safeOf(at);
    if (now > item.safe && item.state === 'sending') advance(item, Math.max(now, item.sent), now);
  }, LOOK_MS);
  const headers = { ...TUS, 'Upload-Offset': safe, 'Content-Type': 'application/offset+octet-stream' };
  const answer = await transmit(item, 'PATCH', at, headers, item.file.slice(safe, safe + PART), upload => {
    upload.onprogress = event => advance(item, safe + event.loaded);
  });
  clearInterval(looking);
  return answer;
}

// Until it is worth to try again: some seconds, or until the device has a network.
async function pause(item, seconds) {
  item.note = navigator.onLine ? 'The connection broke; trying again' : 'Waiting for the network';
  item.rate = 0;
  list();
  await new Promise(done => {
    if (navigator.onLine) setTimeout(done, 1000 * seconds);
    else addEventListener('online', done, { once: true });
    item.wake = done;
  });
}

/* What an earlier page has begun: it is resumed when the same file is chosen again. */

function resumed(path) {
  for (const node of $('unfinished').querySelectorAll('li')) if (node.path === path) node.remove();
  $('unfinished').hidden = !$('unfinished').querySelector('li');
}

async function showUnfinished() {
  let keys = [];
  try { keys = Object.keys(localStorage); } catch { /* nothing is kept */ }
  for (const key of keys.filter(key => key.startsWith(`upload ${here}`))) {
    const [, address, size] = key.split(' '), path = decodeURIComponent(address.slice(here.length)), at = kept.read(key);
    const safe = await safeOf(at + pass);
    if (safe === null || safe === Number(size)) kept.write(key, null);
    if (!(safe < Number(size)) || safe === null || items.some(item => item.path === path)) continue;
    const onclick = () => {
      fetch(at + pass, { method: 'DELETE', headers: TUS }).catch(() => {});
      kept.write(key, null);
      resumed(path);
    };
    const words = `${human(safe)} of ${human(size)} are safe`, button = make('button', { textContent: 'Discard', ariaLabel: `Discard ${path}`, onclick });
    const node = make('li', { path }, make('bdi', { textContent: path }), make('span', { textContent: words }), button);
    $('unfinished').querySelector('ul').append(node);
    $('unfinished').hidden = false;
  }
}
if (writable) showUnfinished();
