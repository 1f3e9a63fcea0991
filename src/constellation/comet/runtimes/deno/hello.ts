export async function handler(event: { name?: string } | null, context: unknown): Promise<{ message: string }> {
  return { message: `Hello, ${event?.name ?? 'world'}!` };
}
