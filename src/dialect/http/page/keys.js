
// Start: the rows that the server wrote become the first entries. Keys and clicks of the list.
for (const node of [...body.rows]) {
  const { size, time, link, may } = node.dataset, name = node.querySelector('bdi').textContent;
  loaded.set(name, entry(name, !!node.querySelector('.folder'), size && Number(size), Number(time), { link: link !== undefined, may }));
}
view = [...loaded.values()];
startSelecting();
show();

for (const head of every('[data-sort]')) {
  head.replaceChildren(make('button', { onclick: () => sortBy(head) }, head.firstChild));
}
$('filter').oninput = event => { sought = plain(event.target.value); arrange(); };
sought = plain($('filter').value);
if (sought) arrange();
$('all').onclick = () => {
  if (search?.runs) stopSearch();
  else if (loadingAll) loadingAll = false;
  else loadAll();
};
$('more').onclick = event => { event.preventDefault(); load(); };
$('below').onclick = () => startSearch();
addEventListener('scroll', soon, { passive: true });
addEventListener('resize', soon);
setInterval(() => { for (const [entry, node] of rows) node.querySelector('time').textContent = ago(entry.time); }, 60000);
body.addEventListener('focusin', event => { pinned = event.target.closest('tr').entry; });

// Keys of the row with the focus.
function pressed(event, place) {
  const step = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: view.length - 1 }[event.key], entry = view[place];
  if (step !== undefined) {
    focusRow(step);
    if (event.shiftKey) anchor ??= entry;
    else anchor = null;
    if (PICKS && event.shiftKey && view[step]) pickTo(view[step]);
  } else if (event.key === ' ' && PICKS && event.target.matches('th a')) toggle(entry);
  else if (event.key === 'Delete' && may('d', entry)) askRemoval(picked.size ? [...picked] : [entry]);
  else if (event.key === 'F2' && may('d', entry) && writable) askName(entry);
  else return false;
  return true;
}

addEventListener('keydown', event => {
  if (event.altKey || first('dialog[open]')) return;
  const place = body.contains(event.target) ? view.indexOf(event.target.closest('tr').entry) : -1;
  const typed = event.target.matches('input:not([type=checkbox])');
  if (event.ctrlKey || event.metaKey) {
    if (event.key !== 'a' || typed || !PICKS) return;
    pick(view, true);
  } else if (place >= 0 && pressed(event, place)) { /* done */ }
  else if (typed && event.key === 'ArrowDown') focusRow(0);
  else if (typed && event.key === 'Escape') clearFilter();
  else if (typed && event.key === 'Enter') startSearch();
  else if (event.key === 'Escape' && picked.size) pick([...picked], false);
  else if (event.key === '/' && !typed) $('filter').focus();
  else return;
  event.preventDefault();
});

body.addEventListener('click', event => {
  const node = event.target.closest('tr'), hit = event.target.closest('a, button');
  if (!node?.entry || clicked(event, node.entry) || !hit) return;
  if (hit.matches('.del')) askRemoval([node.entry]);
  else if (hit.matches('.share')) openShare(node.entry);
  else if (!hit.matches('.get') && SHOWN.includes(node.entry.kind)) openPreview(node.entry);
  else return;
  event.preventDefault();
});
