/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets. Credit is the time the bucket has been filling, at most refill_ns; it then holds
 * credit * size / refill_ns units. A debt is a last_ns that lies in the future.
 */
#include "lib/clock.h"
#include "lib/num.h"
#include "net/net_internal.h"

static uint64_t refill_ns(const struct bucket *b)
{
	return b->conf.refill_ms * NS_PER_MS;
}

void bucket_init(struct bucket *b, const struct net_bucket *conf, uint64_t now_ns)
{
	*b = (struct bucket){ .conf = *conf, .burst = conf->burst, .last_ns = now_ns };
	b->credit = refill_ns(b);
}

static void refill(struct bucket *b, uint64_t now_ns)
{
	if (now_ns <= b->last_ns)
		return;
	b->credit = MIN_OF(b->credit + (now_ns - b->last_ns), refill_ns(b));
	b->last_ns = now_ns;
}

/* Filling time that @units are worth, rounded up. */
static uint64_t cost_ns(const struct bucket *b, uint64_t units)
{
	unsigned __int128 c = (unsigned __int128)units * refill_ns(b);

	return (uint64_t)((c + b->conf.size - 1) / b->conf.size);
}

static uint64_t bucket_wait(struct bucket *b, uint64_t units, uint64_t now_ns)
{
	uint64_t need;

	if (!b->conf.size || b->burst >= units)
		return 0;
	refill(b, now_ns);
	need = MIN_OF(cost_ns(b, units - b->burst), refill_ns(b));
	if (b->credit >= need && b->last_ns <= now_ns)
		return 0;
	return need - MIN_OF(b->credit, need) + (b->last_ns > now_ns ? b->last_ns - now_ns : 0);
}

static void bucket_pay(struct bucket *b, uint64_t units)
{
	uint64_t from_burst = MIN_OF(b->burst, units), cost;

	if (!b->conf.size)
		return;
	b->burst -= from_burst;
	cost = cost_ns(b, units - from_burst);
	if (cost > b->credit) { /* larger than the bucket: delivered once, then paid off */
		b->last_ns += cost - b->credit;
		cost = b->credit;
	}
	b->credit -= cost;
}

uint64_t bucket_take(struct bucket *b, uint64_t units, uint64_t now_ns)
{
	uint64_t wait = bucket_wait(b, units, now_ns);

	if (!wait)
		bucket_pay(b, units);
	return wait;
}

bool limiter_on(const struct limiter *l)
{
	return l->bytes.conf.size || l->ops.conf.size;
}

uint64_t limiter_wait(struct limiter *l, size_t len, uint64_t now_ns)
{
	uint64_t a = bucket_wait(&l->bytes, len, now_ns), b = bucket_wait(&l->ops, 1, now_ns);

	return MAX_OF(a, b);
}

void limiter_pay(struct limiter *l, size_t len)
{
	bucket_pay(&l->bytes, len);
	bucket_pay(&l->ops, 1);
}

uint64_t limiter_take(struct limiter *l, size_t len, uint64_t now_ns)
{
	uint64_t wait = limiter_wait(l, len, now_ns);

	if (!wait)
		limiter_pay(l, len);
	return wait;
}
