export type Item = { sku: string; cents: number; count: number };

const COUPONS: Record<string, number> = { SPRING10: 10, FRIENDS25: 25 };

/** What a line costs: ten or more of one thing are 5 % cheaper, and a coupon takes off what it says. */
export function discounted(item: Item, coupon?: string): number {
  const percent = Math.min(100, (item.count >= 10 ? 5 : 0) + (COUPONS[coupon ?? ''] ?? 0));
  return Math.round((item.cents * item.count * (100 - percent)) / 100);
}
