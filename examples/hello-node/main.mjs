// An ES module: top-level await and imports work; the module is loaded once an instance.
import { createHash } from 'node:crypto';

const startedAt = new Date().toISOString();
let calls = 0;

export async function handler(event, context) {
  const name = event?.name ?? 'world';
  console.log(`call ${++calls} of this instance, ${context.remaining_ms()} ms left`);
  return {
    message: `Hello, ${name}!`,
    color: `#${createHash('sha256').update(name).digest('hex').slice(0, 6)}`,
    instance: { startedAt, calls },
  };
}
