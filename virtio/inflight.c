/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/inflight.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/num.h"

#define LOG_VERSION 1

_Static_assert(sizeof(struct inflight_desc) == 16, "as in the vhost-user protocol");
_Static_assert(sizeof(struct inflight_log) == 16, "as in the vhost-user protocol");

size_t inflight_log_size(uint16_t queue_size)
{
	size_t size =
		sizeof(struct inflight_log) + (size_t)queue_size * sizeof(struct inflight_desc);

	return ALIGN_UP(size, 64);
}

/*
 * Every store is a RELEASE store: it comes after all earlier ones to log and ring, so that what a
 * successor finds is a prefix of what we did.
 */
static void set_inflight(struct inflight_log *log, uint16_t head, uint8_t v)
{
	__atomic_store_n(&log->desc[head].inflight, v, __ATOMIC_RELEASE);
}

void inflight_log_take(struct inflight_log *log, uint16_t head, uint64_t counter)
{
	__atomic_store_n(&log->desc[head].counter, counter, __ATOMIC_RELEASE);
	set_inflight(log, head, 1);
}

void inflight_log_drop(struct inflight_log *log, uint16_t head)
{
	set_inflight(log, head, 0);
}

void inflight_log_begin(struct inflight_log *log, uint16_t head)
{
	__atomic_store_n(&log->desc[head].next, log->last_batch_head, __ATOMIC_RELEASE);
	__atomic_store_n(&log->last_batch_head, head, __ATOMIC_RELEASE);
}

void inflight_log_end(struct inflight_log *log, uint16_t head, uint16_t used_idx)
{
	set_inflight(log, head, 0);
	__atomic_store_n(&log->used_idx, used_idx, __ATOMIC_RELEASE);
}

/* finish_batch() - the last owner died between begin and end: that head was returned. */
static void finish_batch(struct inflight_log *log, uint16_t queue_size, uint16_t used_idx)
{
	uint16_t head = __atomic_load_n(&log->last_batch_head, __ATOMIC_RELAXED);

	if (log->used_idx == used_idx)
		return;
	if (head < queue_size)
		set_inflight(log, head, 0);
	__atomic_store_n(&log->used_idx, used_idx, __ATOMIC_RELEASE);
}

struct entry {
	uint64_t counter;
	uint16_t head;
};

static int older_first(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->counter < y->counter ? -1 : x->counter > y->counter;
}

static int collect(const struct inflight_log *log, uint16_t queue_size, uint16_t *ret_heads,
	uint64_t *ret_counter)
{
	struct entry *e = calloc(queue_size, sizeof(*e));
	int n = 0;

	if (!e)
		return -ENOMEM;
	for (uint16_t i = 0; i < queue_size; i++) {
		if (__atomic_load_n(&log->desc[i].inflight, __ATOMIC_RELAXED) != 1)
			continue;
		e[n].counter = __atomic_load_n(&log->desc[i].counter, __ATOMIC_RELAXED);
		e[n++].head = i;
	}
	qsort(e, (size_t)n, sizeof(*e), older_first);
	for (int i = 0; i < n; i++)
		ret_heads[i] = e[i].head;
	*ret_counter = n > 0 ? e[n - 1].counter + 1 : 0;
	free(e);
	return n;
}

int inflight_log_recover(struct inflight_log *log, uint16_t queue_size, uint16_t used_idx,
	uint16_t *ret_heads, uint64_t *ret_counter, bool *ret_fresh)
{
	*ret_fresh = log->version == 0;
	if (log->version == 0) {
		log->desc_num = queue_size;
		log->used_idx = used_idx;
		__atomic_store_n(&log->version, LOG_VERSION, __ATOMIC_RELEASE);
		*ret_counter = 0;
		return 0;
	}
	if (log->version != LOG_VERSION || log->desc_num != queue_size)
		return -EINVAL;
	finish_batch(log, queue_size, used_idx);
	return collect(log, queue_size, ret_heads, ret_counter);
}
