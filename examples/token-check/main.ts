// A JSON Web Token of HS256: three parts in base64url, the last of which signs the others.
import { decodeBase64Url } from './base64url.ts';

const text = new TextDecoder();
const key = await crypto.subtle.importKey(
  'raw',
  new TextEncoder().encode(Deno.env.get('TOKEN_SECRET') ?? ''),
  { name: 'HMAC', hash: 'SHA-256' },
  false,
  ['verify'],
);

export async function handler({ token, now = Date.now() / 1000 }: { token: string; now?: number }) {
  const [head, claims, signature, ...rest] = token.split('.');
  if (!signature || rest.length) return { valid: false, reason: 'it has not three parts' };
  if (JSON.parse(text.decode(decodeBase64Url(head))).alg !== 'HS256') return { valid: false, reason: 'it is not HS256' };
  const signed = new TextEncoder().encode(`${head}.${claims}`);
  if (!(await crypto.subtle.verify('HMAC', key, decodeBase64Url(signature), signed))) {
    return { valid: false, reason: 'its signature is another' };
  }
  const found = JSON.parse(text.decode(decodeBase64Url(claims)));
  return found.exp <= now ? { valid: false, reason: 'it has expired' } : { valid: true, claims: found };
}
