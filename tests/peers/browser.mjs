// Chromium, in which pages of several origins do what they are told. The first line it prints is a list of two ports: each
// serves an empty page on loopback at every path, below /sandboxed/ one whose origin is null. It ends with its standard input.
//
// Each line of its standard input tells a page what to do, and is answered with a line that says what the page saw:
//
//   {"page": "http://localhost:1/", "fetch": "http://localhost:2/x", "with": {"method": "PUT"}}
//       {"status": 200, "headers": {"content-type": "text/plain"}, "body": "text"}
//   {"page": "http://localhost:1/", "socket": "ws://localhost:2/ws", "with": ["bearer", "token"]}
//       {"opened": true, "protocol": "bearer"}
//
// or {"error": "TypeError: Failed to fetch"}.

import { existsSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const PATIENCE = 20_000;

const servers = [createServer(serve).listen(0, '127.0.0.1'), createServer(serve).listen(0, '127.0.0.1')];
await Promise.all(servers.map((server) => once(server, 'listening')));
const executablePath = process.env.PATH.split(delimiter).map((folder) => join(folder, 'chromium')).find(existsSync);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
const context = await browser.newContext();
const pages = new Map();
console.log(JSON.stringify(servers.map((server) => server.address().port)));

for await (const line of createInterface({ input: process.stdin })) {
  const { page: url, ...order } = JSON.parse(line);
  const page = pages.get(url) ?? (await open(url));
  console.log(JSON.stringify(await page.evaluate(obey, { ...order, patience: PATIENCE })));
}
await browser.close();
process.exit();

function serve(request, response) {
  const sandboxed = request.url.startsWith('/sandboxed/');
  response.setHeader('content-type', 'text/html');
  if (sandboxed) response.setHeader('content-security-policy', 'sandbox allow-scripts');
  response.end('<!doctype html><link rel="icon" href="data:,"><title>A page</title>');
}

async function open(url) {
  const page = await context.newPage();
  await page.goto(url);
  pages.set(url, page);
  return page;
}

// This runs in the page.
async function obey({ fetch: url, socket, with: how, patience }) {
  try {
    return await (socket ? connect() : ask());
  } catch (error) {
    return { error: String(error) };
  }

  async function ask() {
    const response = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(patience), ...how });
    return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
  }

  function connect() {
    return new Promise((resolve, reject) => {
      const connection = new WebSocket(socket, how ?? []);
      connection.onopen = () => {
        resolve({ opened: true, protocol: connection.protocol });
        connection.close();
      };
      connection.onerror = () => reject(new Error('the connection was refused'));
      setTimeout(() => reject(new Error('it took too long')), patience);
    });
  }
}
