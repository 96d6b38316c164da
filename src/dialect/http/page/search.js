
// Search under the directory: the recursive listing is read as it comes, until it ends or is stopped.
const FOUND_MAX = 5000;      // finds that are shown
let search = null;

async function startSearch() {
  if (!sought) return $('filter').focus();
  loading?.abort();
  loading = null;
  endSearch();
  const mine = search = new AbortController();
  Object.assign(mine, { runs: true, seen: 0, ended: '', words() {
    const found = count(view.length, 'name');
    return `${found} found among ${this.seen.toLocaleString('en')} under this folder${this.runs ? '; searching' : this.ended}`;
  } });
  [next, trouble, whole] = ['', '', false];
  forget();
  show();
  try {
    for await (const lines of stream(`${here}?recursive${pass.replace('?', '&')}`, mine.signal)) {
      if (search !== mine) return;
      mine.seen += lines.length;
      add(lines.map(described).filter(matches));
      if (loaded.size >= FOUND_MAX) stopSearch('; there are more');
    }
  } catch (error) {
    if (error.name !== 'AbortError') mine.ended = `; the search ended early: ${error.message}`;
  }
  mine.runs = false;
  if (search === mine) tell();
}

function stopSearch(words = '; stopped') {
  search.runs = false;
  search.ended = words;
  search.abort();
  tell();
}

// Back to the directory: what was found is not its list.
function endSearch() {
  search?.abort();
  search = null;
}
