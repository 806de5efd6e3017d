/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/fake_driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/num.h"

#define SETTLE_MAX	   1000
#define REQUEST_TIMEOUT_MS 10000

/* ---- transport ---- */

static void count(struct fake_driver *drv, unsigned *counter)
{
	pthread_mutex_lock(&drv->lock);
	__atomic_add_fetch(counter, 1, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&drv->cond);
	pthread_mutex_unlock(&drv->lock);
}

static void on_signal_queue(struct virtio_dev *dev, unsigned qi)
{
	struct fake_driver *drv = dev->transport_ctx;

	count(drv, &drv->q[qi].signals);
}

static void on_signal_config(struct virtio_dev *dev)
{
	struct fake_driver *drv = dev->transport_ctx;

	count(drv, &drv->config_signals);
}

static void on_needs_reset(struct virtio_dev *dev)
{
	struct fake_driver *drv = dev->transport_ctx;

	count(drv, &drv->needs_resets);
}

static void on_rekick(struct virtio_dev *dev, unsigned qi)
{
	struct fake_driver *drv = dev->transport_ctx;

	__atomic_store_n(&drv->q[qi].rekick, true, __ATOMIC_RELEASE);
}

static const struct virtio_transport_ops fake_transport = {
	.signal_queue = on_signal_queue,
	.signal_config = on_signal_config,
	.needs_reset = on_needs_reset,
	.rekick = on_rekick,
};

/* ---- memory ---- */

uint64_t fake_alloc(struct fake_driver *drv, uint64_t len)
{
	uint64_t gpa = drv->brk;

	if (!range_ok(gpa, ALIGN_UP(len, 16), FAKE_LOW_GPA + FAKE_LOW_SIZE))
		return 0;
	drv->brk += ALIGN_UP(len, 16);
	if (len > 0)
		memset(fake_ptr(drv, gpa, len), 0, len);
	return gpa;
}

void fake_alloc_reset(struct fake_driver *drv)
{
	drv->brk = drv->brk_start;
}

void *fake_ptr(struct fake_driver *drv, uint64_t gpa, uint64_t len)
{
	void *p = guest_mem_ptr(drv->mem, gpa, len);

	if (!p)
		abort();
	return p;
}

static int add_memory(struct fake_driver *drv, struct err *err)
{
	static const uint64_t place[][2] = {
		{ FAKE_TOP_GPA, FAKE_TOP_SIZE },
		{ FAKE_LOW_GPA, FAKE_LOW_SIZE },
		{ FAKE_HIGH_GPA, FAKE_HIGH_SIZE },
	};

	drv->mem = guest_mem_new();
	if (!drv->mem)
		return err_set(err, ENOMEM, "create fake guest memory");
	for (unsigned i = 0; i < ARRAY_LEN(place); i++) {
		int ret = guest_mem_add_anon(drv->mem, place[i][0], place[i][1], err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---- rings ---- */

static void lay_out(struct fake_driver *drv, struct fake_queue *q, uint16_t size)
{
	q->size = size;
	q->addr.desc = fake_alloc(drv, 16 * (uint64_t)size);
	q->addr.avail = fake_alloc(drv, 6 + 2 * (uint64_t)size);
	q->addr.used = fake_alloc(drv, 6 + 8 * (uint64_t)size);
}

/* wipe() - an empty ring; skipped where a test put the ring somewhere else than in memory. */
static void wipe(struct fake_driver *drv, struct fake_queue *q)
{
	void *avail = guest_mem_ptr(drv->mem, q->addr.avail, 6 + 2 * (uint64_t)q->size);
	void *used = guest_mem_ptr(drv->mem, q->addr.used, 6 + 8 * (uint64_t)q->size);

	if (avail)
		memset(avail, 0, 6 + 2 * (size_t)q->size);
	if (used)
		memset(used, 0, 6 + 8 * (size_t)q->size);
	q->avail_idx = q->used_seen = q->free_head = 0;
	q->n_free = q->size;
	for (unsigned i = 0; i < VIRTQ_MAX_SIZE; i++)
		q->next[i] = (uint16_t)(i + 1);
	__atomic_store_n(&q->rekick, false, __ATOMIC_RELAXED);
}

int fake_driver_new(
	struct virtio_dev *dev, struct loop *loop, struct fake_driver **ret_drv, struct err *err)
{
	struct fake_driver *drv = calloc(1, sizeof(*drv));
	int ret = -ENOMEM;

	if (drv)
		drv->q = calloc(dev->n_queues, sizeof(*drv->q));
	if (!drv || !drv->q) {
		free(drv);
		return err_set(err, ENOMEM, "create a fake driver");
	}
	drv->dev = dev;
	(void)pthread_mutex_init(&drv->lock, NULL);
	(void)pthread_cond_init(&drv->cond, NULL);
	ret = add_memory(drv, err);
	if (ret < 0) {
		fake_driver_free(drv);
		return ret;
	}
	drv->brk = FAKE_LOW_GPA + 0x1000; /* gpa 0 stays unused, so that 0 can mean failure */
	for (unsigned i = 0; i < dev->n_queues; i++)
		lay_out(drv, &drv->q[i], dev->queue[i].max_size);
	drv->brk_start = drv->brk;
	virtio_dev_set_transport(dev, &fake_transport, drv, loop);
	virtio_dev_set_mem(dev, drv->mem);
	*ret_drv = drv;
	return 0;
}

void fake_driver_free(struct fake_driver *drv)
{
	if (!drv)
		return;
	if (drv->dev->transport_ctx == drv) {
		fake_driver_stop(drv);
		virtio_dev_set_transport(drv->dev, NULL, NULL, NULL);
		virtio_dev_set_mem(drv->dev, NULL);
	}
	guest_mem_unref(drv->mem);
	(void)pthread_cond_destroy(&drv->cond);
	(void)pthread_mutex_destroy(&drv->lock);
	free(drv->q);
	free(drv);
}

static int enable_queues(struct fake_driver *drv, struct err *err)
{
	struct virtio_dev *dev = drv->dev;

	for (unsigned i = 0; i < dev->n_queues; i++) {
		struct fake_queue *q = &drv->q[i];
		int ret;

		if (q->size == 0)
			continue;
		wipe(drv, q);
		dev->queue[i].size = q->size;
		dev->queue[i].addr = q->addr;
		ret = virtqueue_enable(&dev->queue[i], drv->mem, dev->acked, 0, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int fake_driver_start(struct fake_driver *drv, uint64_t features, struct err *err)
{
	struct virtio_dev *dev = drv->dev;
	int ret;

	pthread_mutex_lock(&dev->lock);
	dev->acked = features & dev->features;
	ret = enable_queues(drv, err);
	if (ret == 0)
		ret = virtio_dev_activate(dev, err);
	pthread_mutex_unlock(&dev->lock);
	return ret;
}

void fake_driver_stop(struct fake_driver *drv)
{
	pthread_mutex_lock(&drv->dev->lock);
	virtio_dev_reset(drv->dev);
	pthread_mutex_unlock(&drv->dev->lock);
}

/* ---- raw access ---- */

static uint16_t *avail_word(struct fake_driver *drv, unsigned qi, uint64_t off)
{
	return fake_ptr(drv, drv->q[qi].addr.avail + off, 2);
}

static uint16_t *used_word(struct fake_driver *drv, unsigned qi, uint64_t off)
{
	return fake_ptr(drv, drv->q[qi].addr.used + off, 2);
}

void fake_write_desc_at(struct fake_driver *drv, uint64_t gpa, struct virtq_desc desc)
{
	uint64_t raw[2], *to = fake_ptr(drv, gpa, sizeof(desc));

	memcpy(raw, &desc, sizeof(raw));
	if (gpa % 8) {
		memcpy(to, raw, sizeof(raw));
		return;
	}
	__atomic_store_n(&to[0], raw[0], __ATOMIC_RELAXED);
	__atomic_store_n(&to[1], raw[1], __ATOMIC_RELAXED);
}

void fake_write_desc(struct fake_driver *drv, unsigned qi, unsigned slot, struct virtq_desc desc)
{
	fake_write_desc_at(drv, drv->q[qi].addr.desc + 16 * (slot % drv->q[qi].size), desc);
}

void fake_write_avail(struct fake_driver *drv, unsigned qi, unsigned slot, uint16_t head)
{
	__atomic_store_n(
		avail_word(drv, qi, 4 + 2 * (slot % drv->q[qi].size)), head, __ATOMIC_RELAXED);
}

void fake_write_avail_idx(struct fake_driver *drv, unsigned qi, uint16_t idx)
{
	/* RELEASE: descriptors and ring entries come before the index that announces them. */
	__atomic_store_n(avail_word(drv, qi, 2), idx, __ATOMIC_RELEASE);
}

void fake_write_avail_flags(struct fake_driver *drv, unsigned qi, uint16_t flags)
{
	__atomic_store_n(avail_word(drv, qi, 0), flags, __ATOMIC_RELAXED);
}

void fake_write_used_event(struct fake_driver *drv, unsigned qi, uint16_t idx)
{
	__atomic_store_n(avail_word(drv, qi, 4 + 2 * drv->q[qi].size), idx, __ATOMIC_RELAXED);
}

uint16_t fake_used_idx(struct fake_driver *drv, unsigned qi)
{
	/* ACQUIRE: the index comes before the entries and data it announces. */
	return __atomic_load_n(used_word(drv, qi, 2), __ATOMIC_ACQUIRE);
}

uint16_t fake_avail_event(struct fake_driver *drv, unsigned qi)
{
	return __atomic_load_n(used_word(drv, qi, 4 + 8 * drv->q[qi].size), __ATOMIC_RELAXED);
}

void fake_post_head(struct fake_driver *drv, unsigned qi, uint16_t head)
{
	struct fake_queue *q = &drv->q[qi];

	fake_write_avail(drv, qi, q->avail_idx, head);
	fake_write_avail_idx(drv, qi, ++q->avail_idx);
}

/* ---- honest posting ---- */

static uint16_t take_desc(struct fake_queue *q)
{
	uint16_t slot = q->free_head;

	q->free_head = q->next[slot];
	q->n_free--;
	return slot;
}

static struct virtq_desc seg_desc(const struct fake_seg *seg, bool more, uint16_t next)
{
	return (struct virtq_desc){
		.addr = seg->gpa,
		.len = seg->len,
		.flags = (uint16_t)((seg->writable ? VIRTQ_DESC_F_WRITE : 0) |
				    (more ? VIRTQ_DESC_F_NEXT : 0)),
		.next = next,
	};
}

int fake_post(struct fake_driver *drv, unsigned qi, const struct fake_seg *seg, unsigned n)
{
	struct fake_queue *q = &drv->q[qi];
	uint16_t head = q->free_head;

	if (n == 0 || n > q->n_free)
		return -ENOSPC;
	for (unsigned i = 0; i < n; i++) {
		uint16_t slot = take_desc(q);

		fake_write_desc(drv, qi, slot, seg_desc(&seg[i], i + 1 < n, q->next[slot]));
	}
	q->n_desc[head] = (uint16_t)n;
	fake_post_head(drv, qi, head);
	return head;
}

int fake_post_indirect(struct fake_driver *drv, unsigned qi, const struct fake_seg *seg, unsigned n)
{
	struct fake_queue *q = &drv->q[qi];
	uint64_t table = fake_alloc(drv, 16 * (uint64_t)n);
	uint16_t head = q->free_head;

	if (n == 0 || q->n_free == 0 || !table)
		return -ENOSPC;
	for (unsigned i = 0; i < n; i++)
		fake_write_desc_at(
			drv, table + 16 * i, seg_desc(&seg[i], i + 1 < n, (uint16_t)(i + 1)));
	(void)take_desc(q);
	fake_write_desc(drv, qi, head,
		(struct virtq_desc){
			.addr = table, .len = 16 * n, .flags = VIRTQ_DESC_F_INDIRECT });
	q->n_desc[head] = 1;
	fake_post_head(drv, qi, head);
	return head;
}

bool fake_wants_kick(struct fake_driver *drv, unsigned qi, uint16_t old)
{
	uint16_t new = drv->q[qi].avail_idx;

	/* Full barrier: our store of avail->idx comes before the load of the device's wish. */
	__sync_synchronize();
	if (!virtio_dev_has(drv->dev, VIRTIO_F_EVENT_IDX))
		return !(__atomic_load_n(used_word(drv, qi, 0), __ATOMIC_RELAXED) & 1);
	return (uint16_t)(new - fake_avail_event(drv, qi) - 1) < (uint16_t)(new - old);
}

void fake_kick(struct fake_driver *drv, unsigned qi)
{
	pthread_mutex_lock(&drv->dev->lock);
	virtio_dev_kick(drv->dev, qi);
	pthread_mutex_unlock(&drv->dev->lock);
}

unsigned fake_settle(struct fake_driver *drv)
{
	unsigned rounds = 0, before;

	do {
		before = rounds;
		for (unsigned i = 0; i < drv->dev->n_queues; i++) {
			if (!__atomic_exchange_n(&drv->q[i].rekick, false, __ATOMIC_ACQ_REL))
				continue;
			fake_kick(drv, i);
			rounds++;
		}
	} while (rounds > before && rounds < SETTLE_MAX);
	return rounds;
}

static void free_chain(struct fake_queue *q, uint32_t head)
{
	uint16_t last = (uint16_t)head;

	if (head >= q->size || q->n_desc[head] == 0)
		return;
	for (unsigned i = 1; i < q->n_desc[head]; i++)
		last = q->next[last];
	q->next[last] = q->free_head;
	q->free_head = (uint16_t)head;
	q->n_free = (uint16_t)(q->n_free + q->n_desc[head]);
	q->n_desc[head] = 0;
}

bool fake_used(struct fake_driver *drv, unsigned qi, uint32_t *head, uint32_t *written)
{
	struct fake_queue *q = &drv->q[qi];
	uint32_t *entry;

	if (fake_used_idx(drv, qi) == q->used_seen)
		return false;
	entry = fake_ptr(drv, q->addr.used + 4 + 8 * (uint64_t)(q->used_seen % q->size), 8);
	free_chain(q, entry[0]);
	if (head)
		*head = entry[0];
	if (written)
		*written = entry[1];
	fake_write_used_event(drv, qi, ++q->used_seen);
	/* Full barrier: the store of used_event comes before the next load of used->idx. */
	__sync_synchronize();
	return true;
}

bool fake_wait_used(struct fake_driver *drv, unsigned qi, uint32_t *head, uint32_t *written,
	unsigned timeout_ms)
{
	struct timespec ts;
	int ret = 0;
	bool got;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += timeout_ms / 1000;
	ts.tv_nsec += (long)(timeout_ms % 1000 * NS_PER_MS);
	ts.tv_sec += ts.tv_nsec / (long)NS_PER_S;
	ts.tv_nsec %= (long)NS_PER_S;
	pthread_mutex_lock(&drv->lock);
	while (!(got = fake_used(drv, qi, head, written)) && ret != ETIMEDOUT)
		ret = pthread_cond_timedwait(&drv->cond, &drv->lock, &ts);
	pthread_mutex_unlock(&drv->lock);
	return got;
}

static int await_answer(
	struct fake_driver *drv, unsigned qi, uint64_t in_gpa, void *in, uint32_t in_len)
{
	uint32_t written;

	fake_kick(drv, qi);
	(void)fake_settle(drv);
	if (!fake_wait_used(drv, qi, NULL, &written, REQUEST_TIMEOUT_MS))
		return -ETIMEDOUT;
	if (in && in_len > 0)
		memcpy(in, fake_ptr(drv, in_gpa, in_len), in_len);
	return (int)written;
}

int fake_request(struct fake_driver *drv, unsigned qi, const void *out, uint32_t out_len, void *in,
	uint32_t in_len)
{
	struct fake_seg seg[2];
	uint64_t mark = drv->brk, out_gpa = fake_alloc(drv, out_len), in_gpa;
	unsigned n = 0;
	int ret;

	in_gpa = fake_alloc(drv, in_len);
	if (out && out_len > 0) {
		memcpy(fake_ptr(drv, out_gpa, out_len), out, out_len);
		seg[n++] = (struct fake_seg){ out_gpa, out_len, false };
	}
	if (in && in_len > 0)
		seg[n++] = (struct fake_seg){ in_gpa, in_len, true };
	ret = fake_post(drv, qi, seg, n);
	if (ret >= 0)
		ret = await_answer(drv, qi, in_gpa, in, in_len);
	if (ret != -ETIMEDOUT) /* else the device may still write there */
		drv->brk = mark;
	return ret;
}

/* ---- the rest ---- */

void fake_config_read(struct fake_driver *drv, uint32_t off, void *dst, uint32_t len)
{
	struct virtio_dev *dev = drv->dev;

	memset(dst, 0, len);
	pthread_mutex_lock(&dev->lock);
	if (len > 0 && range_ok(off, len, dev->config_len))
		dev->ops->config_read(dev, off, dst, len);
	pthread_mutex_unlock(&dev->lock);
}

void fake_config_write(struct fake_driver *drv, uint32_t off, const void *src, uint32_t len)
{
	struct virtio_dev *dev = drv->dev;

	pthread_mutex_lock(&dev->lock);
	if (dev->ops->config_write && range_ok(off, len, dev->config_len))
		dev->ops->config_write(dev, off, src, len);
	pthread_mutex_unlock(&dev->lock);
}

unsigned fake_signals(struct fake_driver *drv, unsigned qi)
{
	return __atomic_load_n(&drv->q[qi].signals, __ATOMIC_ACQUIRE);
}

bool fake_is_broken(struct fake_driver *drv)
{
	return __atomic_load_n(&drv->needs_resets, __ATOMIC_ACQUIRE) > 0;
}
