// Serves the built app and passes /api on to roomkey, so that both have one origin, as behind a Static Web App:
// `node serve.mjs [--port 4200] [--api http://127.0.0.1:7071]`.

import { once } from 'node:events';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { dirname, extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const built = join(dirname(fileURLToPath(import.meta.url)), 'dist/angular-voice/browser');
const types = {
  '.css': 'text/css',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain',
  '.woff2': 'font/woff2',
};

/** Starts the server; returns its URL and a function that ends it. */
export async function serveApp({ port = 0, api = 'http://127.0.0.1:7071', folder = built } = {}) {
  if (!existsSync(join(folder, 'index.html'))) {
    throw new Error(`${folder} is missing: "npm run build" makes it`);
  }
  const server = createServer((incoming, outgoing) => {
    if (incoming.url.startsWith('/api/')) {
      passOn(incoming, outgoing, api);
    } else {
      sendFile(incoming, outgoing, folder);
    }
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://localhost:${server.address().port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function passOn(incoming, outgoing, api) {
  const url = new URL(incoming.url, api);
  const { method } = incoming;
  const headers = { ...incoming.headers, host: url.host };
  const passed = request(url, { method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode, answer.headers);
    answer.pipe(outgoing);
  });
  // Nobody answers: the browser sees a broken connection, as without a proxy.
  passed.on('error', () => outgoing.destroy());
  outgoing.on('close', () => passed.destroy());
  incoming.pipe(passed);
}

function sendFile(incoming, outgoing, folder) {
  let path;
  try {
    path = join(folder, decodeURIComponent(new URL(incoming.url, 'http://localhost').pathname));
  } catch {
    outgoing.writeHead(400).end();
    return;
  }
  if (!path.startsWith(folder + sep)) {
    path = folder;
  }
  const isFile = existsSync(path) && statSync(path).isFile();
  if (!isFile && extname(path)) {
    outgoing.writeHead(404).end();
    return;
  }
  // Every other path is one of the app's own pages.
  const file = isFile ? path : join(folder, 'index.html');
  outgoing.writeHead(200, {
    'content-type': types[extname(file)] ?? 'application/octet-stream',
    'cache-control': file.endsWith('index.html') ? 'no-cache' : 'public, max-age=3600',
    'x-content-type-options': 'nosniff',
  });
  createReadStream(file).pipe(outgoing);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { port: { type: 'string' }, api: { type: 'string' } } });
  const { url } = await serveApp({ port: Number(values.port ?? 4200), ...(values.api && { api: values.api }) });
  console.log(url);
}
