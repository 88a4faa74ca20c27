// What the fakes share: how a test tells them what to do, and how they fail when told to.
//
// An order is an object; what it does not name happens as usual, and an empty one ends the order before it.
//
//   delayMs   waits first, and then goes on with the rest, or as usual
//   status    answers so, with `headers` and `body` (text as it is, else JSON), or with the body that the fake has for that status
//   how       "hang"   never answers
//             "drip"   answers 200 and then one byte every 100 ms, without an end
//             "cut"    answers 200, sends half of the body and resets the connection
//             "reset"  resets the connection without an answer
//   times     counts only for so many requests; without it, until the next order

import { once } from 'node:events';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';

/** Takes orders, and carries them out on one kind of request. */
export class Orders {
  #order = {};
  #held = new Set();

  /** `bodies` holds for each status what the real service would say, as a function of the request. */
  constructor(bodies = {}) {
    this.bodies = bodies;
  }

  /** Replaces the order; what the one before held back is reset. */
  give(order) {
    this.#order = order;
    for (const response of this.#held) reset(response.socket);
    this.#held.clear();
  }

  /** Does to one request what the order says; true when that was all. */
  async carryOut(request, response) {
    const order = this.#order;
    if (order.times !== undefined && order.times-- <= 0) return false;
    if (order.delayMs) await sleep(order.delayMs);
    if (order.status) {
      const body = order.body ?? this.bodies[order.status]?.(request) ?? '';
      answer(response, order.status, body, order.headers);
    } else if (order.how === 'hang' || order.how === 'drip') {
      this.#hold(response, order.how);
    } else if (order.how === 'cut') {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
      response.write(`{"value":"${'x'.repeat(490)}`, () => reset(response.socket));
    } else if (order.how === 'reset') {
      reset(response.socket);
    } else {
      return false;
    }
    return true;
  }

  #hold(response, how) {
    this.#held.add(response);
    response.on('close', () => this.#held.delete(response));
    if (how === 'hang') return;
    response.writeHead(200, { 'content-type': 'application/json' });
    const dripping = setInterval(() => response.write(' '), 100);
    response.on('close', () => clearInterval(dripping));
  }
}

/** Answers with JSON, or with text as it is. */
export function answer(response, status, body, headers = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(text), ...headers });
  response.end(text);
}

/** Ends a connection in the middle; under TLS the client sees its end without the farewell that TLS prescribes. */
function reset(socket) {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket?.resetAndDestroy();
}

/** Listens on loopback and says on which port. */
export async function listen(server, port = 0) {
  // The default backlog would let some of a thousand clients who come at once wait for a second.
  server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
  await once(server, 'listening');
  return server.address().port;
}

/** Serves the controls, each a POST with a JSON object that answers with one, and says at which URL. A GET says that it serves. */
export async function control(controls, port) {
  const server = createServer(async (request, response) => {
    if (request.method === 'GET') return answer(response, 200, {});
    await json(request)
      .then((parameters) => controls[request.url.slice(1)](parameters))
      .then((result) => answer(response, 200, result ?? {}))
      .catch((error) => answer(response, 400, { error: String(error) }));
  });
  return `http://127.0.0.1:${await listen(server, port)}`;
}
