
// Signed links.
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
  const button = event.target, field = within('input'), address = addressOf(shared);
  button.disabled = true;
  within('[role=alert]').textContent = within('[role=status]').textContent = '';
  try {
    const answer = await ask(address, { method: 'POST', headers: { 'Filewharf-Link': within('select').value } });
    const { link, expires } = await answer.json();
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
