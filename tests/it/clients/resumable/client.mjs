// One upload, or several at once, as a page or a program in Node makes it: with tus-js-client as it
// is, or with Uppy around it. Says on standard output what was asked and answered, and how it ended.
//
// usage: node client.mjs KEY=VALUE...
//   client=tus|uppy  endpoint=URL  file=PATH (again for each file)  url=URL of an upload to resume
//   chunk=BYTES  protocol=NAME  defer=1  creation=1 (data in the creation)  override=1 (POST for PATCH)
//   parallel=PARTS  stop=BYTES (give up once this many were accepted)  terminate=1 (and take it back)
//   header.NAME=VALUE  meta.KEY=VALUE
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { PassThrough } from 'node:stream';

const options = {}, headers = {}, meta = {}, files = [];
for (const word of process.argv.slice(2)) {
  const [key, value] = [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)];
  if (key === 'file') files.push(value);
  else if (key.startsWith('header.')) headers[key.slice(7)] = value;
  else if (key.startsWith('meta.')) meta[key.slice(5)] = value;
  else options[key] = value;
}

const shared = {
  endpoint: options.endpoint,
  headers,
  retryDelays: [0, 50, 100, 200, 400, 800, 1600, 3200, 6400],
  chunkSize: options.chunk ? Number(options.chunk) : Infinity,
  uploadLengthDeferred: Boolean(options.defer),
  uploadDataDuringCreation: Boolean(options.creation),
  overridePatchMethod: Boolean(options.override),
  onAfterResponse(request, response) {
    const words = [request.getMethod(), response.getStatus(), response.getHeader('Upload-Offset') ?? '-'];
    console.log('request', ...words);
  },
};

async function withTus() {
  const tus = await import('tus-js-client');
  const one = (file) => new Promise((resolve) => {
    // A stream of unknown length for a deferred one; else the client may read again what was lost.
    let data = createReadStream(file);
    if (options.defer) data = data.pipe(new PassThrough());
    // In the draft's protocols the pieces of a file's stream never say that they are the last; of a Buffer they do.
    if (options.protocol) data = readFileSync(file);
    const upload = new tus.Upload(data, {
      ...shared,
      uploadUrl: options.url ?? null,
      protocol: options.protocol ?? tus.defaultOptions.protocol,
      parallelUploads: Number(options.parallel ?? 1),
      metadata: { filename: basename(file), ...meta },
      onSuccess: () => resolve(console.log('success', upload.url)),
      onError: (error) => resolve(console.log('failure', error.message.replaceAll('\n', ' '))),
      onChunkComplete: (_, accepted) => {
        if (!options.stop || accepted < Number(options.stop)) return;
        upload.abort(Boolean(options.terminate)).then(
          () => resolve(console.log('stopped', upload.url)),
          (error) => resolve(console.log('failure', error.message.replaceAll('\n', ' '))),
        );
      },
    });
    upload.start();
  });
  await Promise.all(files.map(one));
}

async function withUppy() {
  const { default: Uppy } = await import('@uppy/core');
  const { default: Tus } = await import('@uppy/tus');
  const uppy = new Uppy({ allowMultipleUploadBatches: true }).use(Tus, { ...shared, limit: 4 });
  for (const file of files) {
    // In Node the engine takes a Buffer, to which Uppy wants to see a size.
    const data = Object.assign(readFileSync(file), { size: statSync(file).size });
    // The pages of Uppy give each file this field, which then travels as the text "null".
    uppy.addFile({ name: basename(file), type: 'application/octet-stream', data, meta: { relativePath: null, ...meta } });
  }
  const { successful, failed } = await uppy.upload();
  for (const file of successful) console.log('success', file.uploadURL);
  for (const file of failed) console.log('failure', String(file.error).replaceAll('\n', ' '));
}

await (options.client === 'uppy' ? withUppy() : withTus());
process.exit(0);
