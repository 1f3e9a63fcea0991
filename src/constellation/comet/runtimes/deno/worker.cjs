'use strict';
// The Deno worker.

const { serve, take } = require('../javascript/core.cjs');
const open = require('../javascript/descriptor.cjs');

const extensions = ['.ts', '.js', '.mts', '.mjs', '.tsx', '.jsx', '.cjs'];
serve({ runtime: 'deno', version: Deno.version.deno, extensions, connected: open(take), hasOwnConsole: true });
