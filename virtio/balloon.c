/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues: 0 inflate, 1 deflate, 2 statistics, 3 free page hints, 4 free page reporting.
 *
 * The specification numbers the queues whatever was negotiated; Linux before 6.11 leaves no gaps
 * for the ones it does not use. Offering all three optional queues makes both count alike, and is
 * the only reason to offer hints: the command id stays 0 (stop), so the guest never sends any.
 *
 * The statistics queue works backwards: the guest sends a buffer and the device keeps it until it
 * wants to know more. Exactly one is kept.
 */
#include "virtio/balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"

enum { INFLATE, DEFLATE, STATS, HINT, REPORTING, N_QUEUES };

#define QUEUE_SIZE	256
#define CHAIN_SEGS	(QUEUE_SIZE + 64)
#define CHAINS_PER_KICK 16
#define BYTES_PER_KICK	GIB(1) /* of reported pages */
#define PFNS_PER_CHAIN	1024   /* Linux sends 256 */
#define PFNS_PER_COPY	128
#define PAGE_SHIFT	VIRTIO_BALLOON_PFN_SHIFT
#define STAT_LEN	10 /* struct virtio_balloon_stat: u16 tag, u64 value */
#define STATS_PER_CHAIN 64

_Static_assert(sizeof(struct virtio_balloon_stat) == STAT_LEN, "as in virtio 1.2, 5.5.6.3");
_Static_assert(VIRTIO_BALLOON_STATS >= VIRTIO_BALLOON_S_NR, "room for every tag of the header");

struct balloon {
	struct virtio_dev dev;
	uint32_t ram_pages, target, actual;
	int warned_pfn;
	bool stats_held;
	uint16_t stats_head;
	struct virtio_balloon_stats stats;
};

static struct balloon *to_balloon(struct virtio_dev *dev)
{
	return container_of(dev, struct balloon, dev);
}

/* --- inflate --- */

static void discard_run(struct balloon *b, uint64_t pfn, uint64_t n)
{
	if (guest_mem_discard(b->dev.mem, pfn << PAGE_SHIFT, n << PAGE_SHIFT) == -EFAULT)
		log_once(b->warned_pfn, LOG_WARN,
			"balloon: the guest gave up pages that it does not have");
}

/* One madvise() per run of neighbours rather than per page. */
static void discard_pfns(struct balloon *b, const uint32_t *pfn, size_t n)
{
	size_t start = 0;

	for (size_t i = 1; i <= n; i++) {
		if (i < n && pfn[i] == (uint64_t)pfn[i - 1] + 1)
			continue;
		discard_run(b, pfn[start], i - start);
		start = i;
	}
}

static void inflate(struct balloon *b, const struct virtq_chain *c)
{
	size_t len = MIN_OF(c->readable_len, (size_t)PFNS_PER_CHAIN * 4), off = 0;
	uint32_t pfn[PFNS_PER_COPY];

	while (off < len) {
		size_t want = MIN_OF(len - off, sizeof(pfn));
		size_t n = iov_read(chain_readable(c), c->n_readable, off, pfn, want);

		discard_pfns(b, pfn, n / 4);
		off += want;
	}
}

/* --- reporting --- */

/* Return: bytes looked at, for the budget. */
static size_t report(struct balloon *b, const struct virtq_chain *c)
{
	if (virtio_dev_has(&b->dev, VIRTIO_BALLOON_F_REPORTING))
		(void)guest_mem_discard_iov(b->dev.mem, chain_writable(c), c->n_writable);
	return c->writable_len;
}

/* --- statistics --- */

static void read_stats(struct balloon *b, const struct virtq_chain *c)
{
	struct virtio_balloon_stats *s = &b->stats;
	uint8_t raw[STAT_LEN];

	s->have = 0;
	for (size_t i = 0; i < STATS_PER_CHAIN; i++) {
		uint16_t tag;

		if (iov_read(chain_readable(c), c->n_readable, i * STAT_LEN, raw, STAT_LEN) <
			STAT_LEN)
			break;
		tag = load_le16(raw);
		if (tag >= VIRTIO_BALLOON_STATS)
			continue;
		s->value[tag] = load_le64(raw + 2);
		s->have |= 1U << tag;
	}
	s->rounds++;
}

static void give_stats_buffer_back(struct balloon *b)
{
	virtio_dev_complete(&b->dev, STATS, b->stats_head, 0);
	b->stats_held = false;
}

static void hold_stats(struct balloon *b, const struct virtq_chain *c)
{
	if (b->stats_held)
		give_stats_buffer_back(b);
	if (c->n_readable)
		read_stats(b, c);
	b->stats_head = c->head;
	b->stats_held = true;
}

/* --- device ops --- */

/* Return: cost in bytes of memory gone through. */
static size_t handle(struct balloon *b, unsigned qi, const struct virtq_chain *c)
{
	size_t cost = 0;

	if (qi == STATS) {
		hold_stats(b, c);
		return 0;
	}
	if (qi == INFLATE)
		inflate(b, c);
	else if (qi == REPORTING)
		cost = report(b, c);
	/* deflated pages come back by themselves when the guest touches them; hints are advice */
	virtio_dev_complete(&b->dev, qi, c->head, 0);
	return cost;
}

static void balloon_kick(struct virtio_dev *dev, unsigned qi)
{
	struct iovec iov[CHAIN_SEGS];
	struct virtq_chain c = { .iov = iov, .iov_max = CHAIN_SEGS };
	struct balloon *b = to_balloon(dev);
	size_t bytes = 0;
	int r = 0;

	for (unsigned i = 0; i < CHAINS_PER_KICK && bytes < BYTES_PER_KICK; i++) {
		r = virtio_dev_pop(dev, qi, &c);
		if (r == 0)
			break;
		bytes += handle(b, qi, &c); /* one with too many segments counts as empty */
	}
	virtio_dev_flush(dev, qi);
	if (r != 0)
		virtio_dev_rekick(dev, qi);
}

static void balloon_reset(struct virtio_dev *dev)
{
	struct balloon *b = to_balloon(dev);

	b->stats_held = false;
	b->actual = 0;
}

static void balloon_config_read(struct virtio_dev *dev, uint32_t off, void *dst, uint32_t len)
{
	const struct balloon *b = to_balloon(dev);
	uint8_t config[sizeof(struct virtio_balloon_config)] = { 0 };

	store_le32(config + offsetof(struct virtio_balloon_config, num_pages), b->target);
	store_le32(config + offsetof(struct virtio_balloon_config, actual), b->actual);
	memcpy(dst, config + off, len);
}

static void balloon_config_write(
	struct virtio_dev *dev, uint32_t off, const void *src, uint32_t len)
{
	struct balloon *b = to_balloon(dev);

	/* the only field a driver may write */
	if (off == offsetof(struct virtio_balloon_config, actual) && len == 4)
		b->actual = load_le32(src);
}

static void balloon_free(struct virtio_dev *dev)
{
	virtio_dev_release(dev);
	free(to_balloon(dev));
}

static const struct virtio_dev_ops balloon_ops = {
	.name = "balloon",
	.id = VIRTIO_ID_BALLOON,
	.config_read = balloon_config_read,
	.config_write = balloon_config_write,
	.kick = balloon_kick,
	.reset = balloon_reset,
	.free = balloon_free,
};

/* --- the host's side --- */

int virtio_balloon_set_target(struct virtio_dev *dev, uint64_t bytes)
{
	struct balloon *b = to_balloon(dev);

	if (bytes >> PAGE_SHIFT > b->ram_pages)
		return -EINVAL;
	(void)pthread_mutex_lock(&dev->lock);
	b->target = (uint32_t)(bytes >> PAGE_SHIFT);
	if (dev->active)
		virtio_dev_config_changed(dev);
	(void)pthread_mutex_unlock(&dev->lock);
	return 0;
}

uint64_t virtio_balloon_actual(struct virtio_dev *dev)
{
	struct balloon *b = to_balloon(dev);
	uint64_t pages;

	(void)pthread_mutex_lock(&dev->lock);
	pages = MIN_OF(b->actual, b->ram_pages);
	(void)pthread_mutex_unlock(&dev->lock);
	return pages << PAGE_SHIFT;
}

void virtio_balloon_stats(struct virtio_dev *dev, struct virtio_balloon_stats *ret)
{
	(void)pthread_mutex_lock(&dev->lock);
	*ret = to_balloon(dev)->stats;
	(void)pthread_mutex_unlock(&dev->lock);
}

int virtio_balloon_ask_stats(struct virtio_dev *dev)
{
	struct balloon *b = to_balloon(dev);
	int r = -EAGAIN;

	(void)pthread_mutex_lock(&dev->lock);
	if (dev->active && b->stats_held) {
		give_stats_buffer_back(b);
		virtio_dev_flush(dev, STATS);
		r = 0;
	}
	(void)pthread_mutex_unlock(&dev->lock);
	return r;
}

int virtio_balloon_new(uint64_t ram_bytes, struct virtio_dev **ret_dev, struct err *err)
{
	static const uint16_t sizes[N_QUEUES] = { QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE,
		QUEUE_SIZE };
	cleanup_free struct balloon *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return err_set(err, ENOMEM, "create the balloon device");
	b->ram_pages = (uint32_t)MIN_OF(ram_bytes >> PAGE_SHIFT, (uint64_t)UINT32_MAX);
	r = virtio_dev_init(&b->dev, &balloon_ops,
		VIRTIO_BIT(VIRTIO_BALLOON_F_STATS_VQ) |
			VIRTIO_BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT) |
			VIRTIO_BIT(VIRTIO_BALLOON_F_REPORTING),
		sizes, N_QUEUES, sizeof(struct virtio_balloon_config), err);
	if (r < 0)
		return r;
	*ret_dev = &take_ptr(&b)->dev;
	return 0;
}
