'use strict';
// The Bun worker. Bun's node:net adopts no descriptor; its own sockets do, and write no more than there is room for.

const { serve, take } = require('../javascript/core.cjs');

const extensions = ['.ts', '.js', '.mts', '.mjs', '.tsx', '.jsx', '.cjs'];
const waiting = []; // frames that the socket had no room for
let listeners = []; // of whoever waits until they are written
let socket = null;

function write(frame) {
  if (waiting.length > 0) {
    waiting.push(frame);
    return false;
  }
  const sent = socket.write(frame);
  if (sent < 0) process.reallyExit(0); // the host is gone
  if (sent < frame.length) waiting.push(frame.subarray(sent));
  return sent === frame.length;
}

function drain() {
  while (waiting.length > 0) {
    const sent = socket.write(waiting[0]);
    if (sent < 0) process.reallyExit(0);
    if (sent < waiting[0].length) {
      waiting[0] = waiting[0].subarray(sent);
      return;
    }
    waiting.shift();
  }
  const told = listeners;
  listeners = [];
  for (const listener of told) listener();
}

const drained = () => new Promise((resolve) => (waiting.length > 0 ? listeners.push(resolve) : resolve()));
const end = (callback) => void drained().then(callback);

Bun.connect({
  fd: 3,
  socket: {
    binaryType: 'buffer',
    open(opened) {
      socket = opened;
      serve({ runtime: 'bun', version: Bun.version, extensions, connected: { write, drained, end }, hasOwnConsole: true });
    },
    data: (_, data) => take(data),
    drain,
    close: () => process.reallyExit(0), // the host is gone
    error: () => process.reallyExit(1),
  },
});
