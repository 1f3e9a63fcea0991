import { discounted, type Item } from './prices.ts';

type Cart = { items: Item[]; coupon?: string; taxPercent?: number };

export function handler({ items, coupon, taxPercent = 20 }: Cart) {
  const lines = items.map((item) => ({ sku: item.sku, cents: discounted(item, coupon) }));
  const net = lines.reduce((sum, line) => sum + line.cents, 0);
  const tax = Math.round((net * taxPercent) / 100);
  return { lines, net, tax, total: net + tax };
}
