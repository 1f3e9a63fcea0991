// Hashes a password, or says whether it is the one of a hash. A hash names its own cost, so costs can grow with the years.
const COST = { algorithm: 'argon2id', memoryCost: 19_456, timeCost: 2 } as const;

type Event = { password: string; hash?: string };

export async function handler({ password, hash }: Event) {
  if (hash === undefined) return { hash: await Bun.password.hash(password, COST) };
  const matches = await Bun.password.verify(password, hash);
  return { matches, outdated: matches && !hash.startsWith('$argon2id$v=19$m=19456,t=2,') };
}
