/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout of the rings (virtio 1.2, 2.7), all little-endian, in guest memory:
 *
 *	desc:  size x struct virtq_desc
 *	avail: u16 flags, u16 idx, u16 ring[size], u16 used_event
 *	used:  u16 flags, u16 idx, {u32 id, u32 len} ring[size], u16 avail_event
 *
 * Everything read from there is read once into a local, checked, and then only the local is used.
 * idx counters run freely modulo 2^16; sizes are powers of two, so `idx % size` is continuous.
 */
#include "virtio/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"
#include "virtio/inflight.h"

#define DESC_SIZE	16
#define AVAIL_IDX	2
#define AVAIL_RING(i)	(4 + 2 * (uint64_t)(i))
#define USED_IDX	2
#define USED_RING(i)	(4 + 8 * (uint64_t)(i))
#define CHAIN_BYTES_MAX UINT32_MAX

_Static_assert(sizeof(struct virtq_desc) == DESC_SIZE, "descriptor as in 2.7.5");

/*
 * Heads that an earlier process had in flight, oldest first; [0, next) have been served again.
 * @n_behind: chains popped from the ring since the last of these was
 */
struct virtqueue_resubmit {
	unsigned n, next;
	uint64_t n_behind;
	uint16_t head[VIRTQ_MAX_SIZE];
};

/*
 * A memory table that was replaced while @n heads (those in @heads) pointed into it. Each entry
 * holds a head that no other entry holds, so there are never more than queue size.
 */
struct virtqueue_retired {
	struct virtqueue_retired *next;
	struct guest_mem *mem;
	unsigned n;
	uint64_t heads[VIRTQ_MAX_SIZE / 64];
};

/* ---- access to ring words; rings are aligned, so these are single loads and stores ---- */

static uint16_t *ring_u16(void *ring, uint64_t off)
{
	return (void *)((uint8_t *)ring + off);
}

static uint16_t avail_idx(const struct virtqueue *q)
{
	/*
	 * ACQUIRE: the load of idx comes before the loads of the ring entries and descriptors that
	 * it announces. Pairs with the driver's barrier before it stores idx.
	 */
	return __atomic_load_n(ring_u16(q->avail_ring, AVAIL_IDX), __ATOMIC_ACQUIRE);
}

static uint16_t avail_entry(const struct virtqueue *q, uint16_t idx)
{
	return __atomic_load_n(
		ring_u16(q->avail_ring, AVAIL_RING(idx % q->size)), __ATOMIC_RELAXED);
}

static void publish_used(struct virtqueue *q, uint16_t idx, uint32_t head, uint32_t written)
{
	uint8_t *entry = (uint8_t *)q->used_ring + USED_RING(idx % q->size);

	__atomic_store_n((uint32_t *)(void *)entry, head, __ATOMIC_RELAXED);
	__atomic_store_n((uint32_t *)(void *)(entry + 4), written, __ATOMIC_RELAXED);
	/*
	 * RELEASE: the data written to the buffers and the entry come before idx, which makes the
	 * driver look at them.
	 */
	__atomic_store_n(ring_u16(q->used_ring, USED_IDX), (uint16_t)(idx + 1), __ATOMIC_RELEASE);
}

/*
 * copy_desc() - one descriptor, fetched once. An indirect table may lie at any address; the
 * compiler barrier keeps the copy from being fetched again when it is used.
 */
static struct virtq_desc copy_desc(const void *table, unsigned i)
{
	const void *src = (const uint8_t *)table + (size_t)i * DESC_SIZE;
	uint64_t raw[2];
	struct virtq_desc d;

	if (((uintptr_t)src & 7) == 0) {
		raw[0] = __atomic_load_n((const uint64_t *)src, __ATOMIC_RELAXED);
		raw[1] = __atomic_load_n((const uint64_t *)src + 1, __ATOMIC_RELAXED);
	} else {
		memcpy(raw, src, sizeof(raw));
		__asm__ volatile("" ::: "memory");
	}
	memcpy(&d, raw, sizeof(d));
	return d;
}

/* ---- heads in flight ---- */

static bool bit_get(const uint64_t *map, uint16_t head)
{
	return map[head / 64] & (1ULL << head % 64);
}

static void bit_set(uint64_t *map, uint16_t head)
{
	map[head / 64] |= 1ULL << head % 64;
}

static void bit_clear(uint64_t *map, uint16_t head)
{
	map[head / 64] &= ~(1ULL << head % 64);
}

/* forget_retired() - @head came back: its table may go if it was the last one there. */
static void forget_retired(struct virtqueue *q, uint16_t head)
{
	for (struct virtqueue_retired **at = &q->retired; *at; at = &(*at)->next) {
		struct virtqueue_retired *r = *at;

		if (!bit_get(r->heads, head))
			continue;
		bit_clear(r->heads, head);
		if (--r->n > 0)
			return;
		*at = r->next;
		guest_mem_unref(r->mem);
		free(r);
		return;
	}
}

static void head_take(struct virtqueue *q, uint16_t head)
{
	bit_set(q->heads, head);
	q->n_inflight++;
	if (q->inflight)
		inflight_log_take(q->inflight, head, q->inflight_counter++);
}

static void head_give(struct virtqueue *q, uint16_t head)
{
	bit_clear(q->heads, head);
	q->n_inflight--;
	forget_retired(q, head);
}

static bool resubmit_left(const struct virtqueue *q)
{
	return q->resubmit && q->resubmit->next < q->resubmit->n;
}

/* is_popped() - is @head with the device? A head that still waits to be resubmitted is not. */
static bool is_popped(const struct virtqueue *q, uint16_t head)
{
	if (head >= q->size || !bit_get(q->heads, head))
		return false;
	for (unsigned i = q->resubmit ? q->resubmit->next : 0; q->resubmit && i < q->resubmit->n;
		i++) {
		if (q->resubmit->head[i] == head)
			return false;
	}
	return true;
}

/* ---- life cycle ---- */

void virtqueue_init(struct virtqueue *q, uint16_t max_size)
{
	assert(is_pow2(max_size) && max_size <= VIRTQ_MAX_SIZE);
	*q = (struct virtqueue){ .max_size = max_size, .size = max_size };
	(void)pthread_mutex_init(&q->lock, NULL);
}

void virtqueue_release(struct virtqueue *q)
{
	virtqueue_reset(q);
	(void)pthread_mutex_destroy(&q->lock);
}

static uint64_t desc_bytes(const struct virtqueue *q)
{
	return (uint64_t)q->size * DESC_SIZE;
}

static uint64_t avail_bytes(const struct virtqueue *q)
{
	return AVAIL_RING(q->size) + 2;
}

static uint64_t used_bytes(const struct virtqueue *q)
{
	return USED_RING(q->size) + 2;
}

static bool disjoint(const void *a, uint64_t a_len, const void *b, uint64_t b_len)
{
	uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

	return x < y ? y - x >= a_len : x - y >= b_len;
}

/* struct rings - host addresses of the three parts */
struct rings {
	uint8_t *desc, *avail, *used;
};

static bool rings_disjoint(const struct virtqueue *q, const struct rings *r)
{
	return disjoint(r->desc, desc_bytes(q), r->avail, avail_bytes(q)) &&
	       disjoint(r->desc, desc_bytes(q), r->used, used_bytes(q)) &&
	       disjoint(r->avail, avail_bytes(q), r->used, used_bytes(q));
}

/* find_rings() - gpas to pointers, with everything that later accesses rely on checked. */
static int find_rings(const struct virtqueue *q, const struct guest_mem *mem,
	const struct virtqueue_addr *addr, struct rings *r, struct err *err)
{
	if (!is_pow2(q->size) || q->size > q->max_size)
		return err_msg(err, EINVAL, "queue size %u: not a power of two up to %u", q->size,
			q->max_size);
	if (addr->desc % 16 || addr->avail % 2 || addr->used % 4)
		return err_msg(err, EINVAL, "a ring is not aligned");
	r->desc = guest_mem_ptr(mem, addr->desc, desc_bytes(q));
	r->avail = guest_mem_ptr(mem, addr->avail, avail_bytes(q));
	r->used = guest_mem_ptr(mem, addr->used, used_bytes(q));
	if (!r->desc || !r->avail || !r->used)
		return err_msg(err, EFAULT, "a ring is outside guest memory");
	/* A gpa's alignment says nothing about borrowed host memory. */
	if ((uintptr_t)r->desc % 16 || (uintptr_t)r->avail % 2 || (uintptr_t)r->used % 4)
		return err_msg(err, EINVAL, "a ring lies in unaligned host memory");
	if (!rings_disjoint(q, r))
		return err_msg(err, EINVAL, "the rings overlap");
	return 0;
}

static void use_rings(struct virtqueue *q, struct guest_mem *mem, const struct rings *r)
{
	q->mem = guest_mem_ref(mem);
	q->desc_ring = r->desc;
	q->avail_ring = r->avail;
	q->used_ring = r->used;
}

static void free_retired(struct virtqueue *q)
{
	struct virtqueue_retired *r;

	while ((r = q->retired) != NULL) {
		q->retired = r->next;
		guest_mem_unref(r->mem);
		free(r);
	}
}

static void clear(struct virtqueue *q)
{
	guest_mem_unref(q->mem);
	q->mem = NULL;
	free_retired(q);
	free(q->resubmit);
	q->resubmit = NULL;
	q->desc_ring = q->avail_ring = q->used_ring = NULL;
	q->enabled = q->paused = q->event_idx = q->indirect = q->signalled_valid = false;
	q->broken = NULL;
	q->next_avail = q->next_used = q->signalled_used = q->n_inflight = 0;
	memset(q->heads, 0, sizeof(q->heads));
}

/* recover() - take over the in-flight log; the rings are mapped, next_used is set. */
static int recover(struct virtqueue *q, uint16_t start_avail, struct err *err)
{
	cleanup_free struct virtqueue_resubmit *rs = NULL;
	bool fresh;
	int n;

	q->next_avail = start_avail;
	if (!q->inflight)
		return 0;
	rs = calloc(1, sizeof(*rs));
	if (!rs)
		return err_set(err, ENOMEM, "enable a queue");
	n = inflight_log_recover(
		q->inflight, q->size, q->next_used, rs->head, &q->inflight_counter, &fresh);
	if (n < 0)
		return err_set(err, n, "take over the in-flight log");
	/* Each head taken was returned or is still out: so far avail had got. */
	if (!fresh)
		q->next_avail = (uint16_t)(q->next_used + n);
	if (n == 0)
		return 0;
	for (int i = 0; i < n; i++)
		bit_set(q->heads, rs->head[i]);
	rs->n = (unsigned)n;
	q->resubmit = take_ptr(&rs);
	return 0;
}

static int enable(struct virtqueue *q, struct guest_mem *mem, uint64_t features,
	uint16_t start_avail, struct err *err)
{
	struct rings rings;
	int ret;

	if (q->enabled)
		return err_msg(err, EINVAL, "the queue is enabled already");
	ret = find_rings(q, mem, &q->addr, &rings, err);
	if (ret < 0)
		return ret;
	use_rings(q, mem, &rings);
	q->event_idx = features & VIRTIO_BIT(VIRTIO_F_EVENT_IDX);
	q->indirect = features & VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC);
	q->next_used = __atomic_load_n(ring_u16(q->used_ring, USED_IDX), __ATOMIC_RELAXED);
	q->signalled_used = q->next_used;
	ret = recover(q, start_avail, err);
	if (ret < 0) {
		clear(q);
		return ret;
	}
	q->enabled = true;
	return 0;
}

int virtqueue_enable(struct virtqueue *q, struct guest_mem *mem, uint64_t features,
	uint16_t start_avail, struct err *err)
{
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = enable(q, mem, features, start_avail, err);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

void virtqueue_reset(struct virtqueue *q)
{
	pthread_mutex_lock(&q->lock);
	clear(q);
	pthread_mutex_unlock(&q->lock);
}

static int set_mem(struct virtqueue *q, struct guest_mem *mem, const struct virtqueue_addr *addr,
	struct err *err)
{
	cleanup_free struct virtqueue_retired *old = calloc(1, sizeof(*old));
	struct rings rings;
	int ret = find_rings(q, mem, addr, &rings, err);

	if (ret < 0)
		return ret;
	if (!old)
		return err_set(err, ENOMEM, "replace the memory of a queue");
	for (uint16_t i = 0; i < q->size; i++) {
		bool retired = false;

		for (struct virtqueue_retired *r = q->retired; r; r = r->next)
			retired |= bit_get(r->heads, i);
		if (retired || !is_popped(q, i))
			continue;
		bit_set(old->heads, i);
		old->n++;
	}
	old->mem = take_ptr(&q->mem);
	use_rings(q, mem, &rings);
	q->addr = *addr;
	if (old->n == 0) {
		guest_mem_unref(old->mem);
		return 0;
	}
	old->next = q->retired;
	q->retired = take_ptr(&old);
	return 0;
}

int virtqueue_set_mem(struct virtqueue *q, struct guest_mem *mem, const struct virtqueue_addr *addr,
	struct err *err)
{
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = q->enabled ? set_mem(q, mem, addr, err)
			 : err_msg(err, EINVAL, "the queue is not enabled");
	pthread_mutex_unlock(&q->lock);
	return ret;
}

unsigned virtqueue_pause(struct virtqueue *q, bool paused)
{
	unsigned n;

	pthread_mutex_lock(&q->lock);
	q->paused = paused;
	n = q->n_inflight;
	pthread_mutex_unlock(&q->lock);
	return n;
}

uint16_t virtqueue_next_avail(struct virtqueue *q)
{
	uint16_t idx;

	pthread_mutex_lock(&q->lock);
	idx = q->next_avail;
	pthread_mutex_unlock(&q->lock);
	return idx;
}

/* ---- chains ---- */

/*
 * struct walk - a descriptor table being followed: the ring's own, then at most one indirect one
 * @left: descriptors the chain may still have; bounds the walk whatever `next` says
 */
struct walk {
	const void *table;
	unsigned entries, left;
	bool in_indirect;
};

static const char *walk_enter(const struct virtqueue *q, struct walk *w, const struct virtq_desc *d)
{
	if (!q->indirect)
		return "indirect descriptor without the feature";
	if (w->in_indirect)
		return "indirect descriptor in an indirect table";
	if (d->flags & VIRTQ_DESC_F_NEXT)
		return "indirect descriptor with a next one";
	if (d->len == 0 || d->len % DESC_SIZE)
		return "size of an indirect table";
	w->table = guest_mem_ptr(q->mem, d->addr, d->len);
	if (!w->table)
		return "indirect table outside guest memory";
	w->entries = d->len / DESC_SIZE;
	w->in_indirect = true;
	w->left++; /* the descriptor that points to the table is no part of the chain's length */
	return NULL;
}

/* chain_add() - append one buffer. Return: NULL and *ret 0 or -E2BIG; else what is wrong with it.
 */
static const char *chain_add(
	const struct virtqueue *q, struct virtq_chain *c, const struct virtq_desc *d, int *ret)
{
	bool writable = d->flags & VIRTQ_DESC_F_WRITE;
	unsigned start = c->n_readable + c->n_writable, n = start;

	if (!writable && c->n_writable > 0)
		return "readable buffer after a writable one";
	if (d->len > CHAIN_BYTES_MAX - c->readable_len - c->writable_len)
		return "chain of 4 GiB or more";
	*ret = guest_mem_iov(q->mem, d->addr, d->len, c->iov, &n, c->iov_max);
	if (*ret == -EFAULT)
		return "buffer outside guest memory";
	if (writable) {
		c->n_writable += n - start;
		c->writable_len += d->len;
	} else {
		c->n_readable += n - start;
		c->readable_len += d->len;
	}
	return NULL;
}

/* walk_chain() - from c->head to the end. Return: as chain_add(). */
static const char *walk_chain(const struct virtqueue *q, struct virtq_chain *c, int *ret)
{
	struct walk w = { .table = q->desc_ring, .entries = q->size, .left = q->size };
	struct virtq_desc d = { .next = c->head, .flags = VIRTQ_DESC_F_NEXT };
	const char *why = NULL;

	*ret = 0;
	while (!why && *ret == 0 && (d.flags & VIRTQ_DESC_F_NEXT)) {
		if (d.next >= w.entries)
			return "next descriptor out of range";
		if (w.left-- == 0)
			return "chain longer than the queue";
		d = copy_desc(w.table, d.next);
		if (!(d.flags & VIRTQ_DESC_F_INDIRECT)) {
			why = chain_add(q, c, &d, ret);
			continue;
		}
		why = walk_enter(q, &w, &d);
		d = (struct virtq_desc){ .next = 0, .flags = VIRTQ_DESC_F_NEXT };
	}
	return why;
}

static int break_ring(struct virtqueue *q, const char *why)
{
	q->broken = why;
	return -EBADMSG;
}

/* n_pending() - heads waiting; finding none, ask for a kick when more comes. */
static uint16_t n_pending(struct virtqueue *q)
{
	uint16_t pending = (uint16_t)(avail_idx(q) - q->next_avail);

	if (pending > 0 || !q->event_idx) /* without event-idx kicks are never suppressed */
		return pending;
	__atomic_store_n(
		ring_u16(q->used_ring, USED_RING(q->size)), q->next_avail, __ATOMIC_RELAXED);
	/*
	 * Full barrier: the store of avail_event above comes before the load of avail->idx below.
	 * The driver stores idx, then loads avail_event; one of the two sees the other's store.
	 */
	__sync_synchronize();
	return (uint16_t)(avail_idx(q) - q->next_avail);
}

static void chain_clear(struct virtq_chain *c, uint16_t head)
{
	c->head = head;
	c->n_readable = c->n_writable = 0;
	c->readable_len = c->writable_len = 0;
}

/* next_head() - the head to serve. Return: 1 and *ret; 0 none; -EBADMSG */
static int next_head(struct virtqueue *q, uint16_t *ret)
{
	uint16_t pending;

	if (resubmit_left(q)) {
		*ret = q->resubmit->head[q->resubmit->next];
		return 1;
	}
	pending = n_pending(q);
	if (pending > q->size)
		return break_ring(q, "avail index jumped by more than the queue size");
	if (pending == 0)
		return 0;
	*ret = avail_entry(q, q->next_avail);
	if (*ret >= q->size)
		return break_ring(q, "head out of range");
	if (bit_get(q->heads, *ret))
		return break_ring(q, "head posted while in flight");
	return 1;
}

/* accept_head() - the chain at @head is fine: it is the device's now. */
static void accept_head(struct virtqueue *q, uint16_t head)
{
	head_take(q, head);
	if (resubmit_left(q)) {
		q->resubmit->next++;
		return;
	}
	q->next_avail++;
	if (q->resubmit)
		q->resubmit->n_behind++;
}

static int pop(struct virtqueue *q, struct virtq_chain *c)
{
	uint16_t head;
	const char *why;
	int ret;

	if (!q->enabled || q->paused)
		return 0;
	if (q->broken)
		return -EBADMSG;
	ret = next_head(q, &head);
	if (ret <= 0)
		return ret;
	chain_clear(c, head);
	why = walk_chain(q, c, &ret);
	if (why)
		return break_ring(q, why);
	accept_head(q, head);
	if (ret == -E2BIG)
		chain_clear(c, head);
	return ret < 0 ? ret : 1;
}

int virtqueue_pop(struct virtqueue *q, struct virtq_chain *chain)
{
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = pop(q, chain);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

static void undo(struct virtqueue *q, uint16_t head)
{
	head_give(q, head);
	if (q->resubmit && q->resubmit->n_behind == 0) {
		q->resubmit->next--;
		bit_set(q->heads, head); /* still not to be posted by the driver */
		return;
	}
	if (q->resubmit)
		q->resubmit->n_behind--;
	q->next_avail--;
	if (q->inflight)
		inflight_log_drop(q->inflight, head);
}

void virtqueue_pop_undo(struct virtqueue *q, const struct virtq_chain *chain)
{
	pthread_mutex_lock(&q->lock);
	if (q->enabled && is_popped(q, chain->head))
		undo(q, chain->head);
	pthread_mutex_unlock(&q->lock);
}

static void push(struct virtqueue *q, uint16_t head, uint32_t written)
{
	if (q->inflight)
		inflight_log_begin(q->inflight, head);
	publish_used(q, q->next_used++, head, written);
	if (q->inflight)
		inflight_log_end(q->inflight, head, q->next_used);
}

bool virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t written)
{
	bool drained = false;

	pthread_mutex_lock(&q->lock);
	if (q->enabled && is_popped(q, head)) {
		if (!q->broken)
			push(q, head, written);
		head_give(q, head);
		drained = q->paused && q->n_inflight == 0;
	}
	pthread_mutex_unlock(&q->lock);
	return drained;
}

/* need_event() - did the index pass @event on its way from @old to @new? (2.7.10.1) */
static bool need_event(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static bool should_signal(struct virtqueue *q)
{
	uint16_t old = q->signalled_used, event;
	bool valid = q->signalled_valid;

	if (!q->enabled || q->next_used == old)
		return false;
	q->signalled_used = q->next_used;
	q->signalled_valid = true;
	/*
	 * Full barrier: the store of used->idx in push comes before the load of the driver's wish
	 * below. The driver stores its wish, then loads used->idx; one of the two sees the other's
	 * store.
	 */
	__sync_synchronize();
	if (!q->event_idx)
		return !(__atomic_load_n(ring_u16(q->avail_ring, 0), __ATOMIC_RELAXED) &
			 VIRTQ_AVAIL_F_NO_INTERRUPT);
	event = __atomic_load_n(ring_u16(q->avail_ring, AVAIL_RING(q->size)), __ATOMIC_RELAXED);
	return !valid || need_event(event, q->next_used, old);
}

bool virtqueue_should_signal(struct virtqueue *q)
{
	bool ret;

	pthread_mutex_lock(&q->lock);
	ret = should_signal(q);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

bool virtqueue_has_avail(struct virtqueue *q)
{
	bool ret;

	pthread_mutex_lock(&q->lock);
	ret = q->enabled && !q->broken && !q->paused &&
	      (resubmit_left(q) || avail_idx(q) != q->next_avail);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

bool virtqueue_arm(struct virtqueue *q)
{
	bool ret;

	pthread_mutex_lock(&q->lock);
	ret = q->enabled && !q->broken && n_pending(q) > 0;
	pthread_mutex_unlock(&q->lock);
	return ret;
}
