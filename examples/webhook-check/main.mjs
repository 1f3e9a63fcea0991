// A webhook is believed when its signature is the HMAC of its body with the secret that both sides know.
import { createHmac, timingSafeEqual } from 'node:crypto';

export function handler({ body, signature }) {
  const secret = process.env.WEBHOOK_SECRET;
  const wanted = Buffer.from(`sha256=${createHmac('sha256', secret).update(body).digest('hex')}`);
  const given = Buffer.from(signature);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return { accepted: false };
  const { action, repository } = JSON.parse(body);
  console.log(`${repository.full_name}: ${action}`);
  return { accepted: true, action, repository: repository.full_name };
}
