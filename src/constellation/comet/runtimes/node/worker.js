'use strict';
// The Node worker.

const { serve, take } = require('../javascript/core.cjs');
const open = require('../javascript/descriptor.cjs');

const typed = process.features.typescript ? ['.ts', '.mts', '.cts'] : []; // from Node 22.18 on
const extensions = ['.js', '.mjs', '.cjs', ...typed];
serve({ runtime: 'node', version: process.versions.node, extensions, connected: open(take) });
