// @name@: called with the request's JSON; what it returns becomes the answer's `output`.

export async function handler(event: { name?: string } | null, context: unknown): Promise<{ message: string }> {
  const name = event?.name ?? 'world';
  console.log(`greeting ${name}`); // shown by `orbit logs @name@`
  return { message: `Hello, ${name}!` };
}
