'use strict';
// The channel as a stream of node:net, for Node.js and Deno.

const { once } = require('node:events');
const net = require('node:net');

module.exports = function open(onData) {
  const socket = new net.Socket({ fd: 3, readable: true, writable: true });
  socket.setMaxListeners(0); // each stream that waits for room is one
  socket.on('data', onData);
  socket.on('close', () => process.reallyExit(0)); // the host is gone
  socket.on('error', () => process.reallyExit(1));
  return {
    write: (frame) => socket.write(frame),
    drained: () => once(socket, 'drain'),
    end: (callback) => socket.end(callback),
  };
};
