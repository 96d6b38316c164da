// What programs in Node do by WebDAV, with the library `webdav` as it is.
//
// usage: node webdav.mjs URL FILE
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createClient } from 'webdav';

const [url, file] = process.argv.slice(2);
const content = readFileSync(file);
const dav = createClient(url);
const same = async (path) => assert(content.equals(Buffer.from(await dav.getFileContents(path))), path);

await dav.createDirectory('/d/e f', { recursive: true });
assert(await dav.putFileContents('/d/e f/ü #1', content, { overwrite: false }));
assert.equal(await dav.putFileContents('/d/e f/ü #1', 'other', { overwrite: false }), false);
await same('/d/e f/ü #1');
const { size, type, etag } = await dav.stat('/d/e f/ü #1');
assert(size === content.length && type === 'file' && etag);
assert.deepEqual((await dav.getDirectoryContents('/d')).map((entry) => entry.filename), ['/d/e f']);
const all = (await dav.getDirectoryContents('/d', { deep: true })).map((entry) => entry.filename);
assert.deepEqual(all.sort(), ['/d/e f', '/d/e f/ü #1']);
await dav.copyFile('/d/e f', '/d/copy');
await dav.moveFile('/d/copy/ü #1', '/d/moved');
await same('/d/moved');
assert(!(await dav.exists('/d/copy/ü #1')) && (await dav.exists('/d/copy')));

// Nothing writes to what is locked, but with its token; then all may again.
const { token, serverTimeout } = await dav.lock('/d/moved');
assert.match(serverTimeout, /^Second-\d+$/);
await assert.rejects(dav.putFileContents('/d/moved', 'other'), { status: 423 });
await assert.rejects(dav.deleteFile('/d'), { status: 423 });
await same('/d/moved');
assert(await dav.putFileContents('/d/moved', 'own', { headers: { If: `(<${token}>)` } }));
await dav.unlock('/d/moved', token);
assert(await dav.putFileContents('/d/moved', content));
await same('/d/moved');
await dav.deleteFile('/d/copy');
await dav.deleteFile('/d/e f');
assert.deepEqual((await dav.getDirectoryContents('/d')).map((entry) => entry.basename), ['moved']);
