/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Workers take chains straight from the queue (which has its own lock), serve them and push them
 * back. A kick sets `pending` and wakes one worker; a worker that finds more behind the chain it
 * took wakes the next. `busy` counts workers between taking and giving back: reset waits for it to
 * become zero, with `running` cleared so that nobody takes another chain.
 *
 * A request is parsed into values that are all checked, then carried out. Every one whose chain has
 * room for the status byte gets a status; the others go back with length 0.
 */
#include "virtio/block.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"

#define QUEUE_SIZE	1024 /* QEMU's virtio-mmio lets every driver use that many */
#define SEG_MAX		254
#define CHAIN_SEGS	(QUEUE_SIZE + 64) /* some descriptors cross a border of regions */
#define HEADER_LEN	16
#define RANGE_LEN	16 /* struct virtio_blk_discard_write_zeroes */
#define DEFAULT_THREADS 2
#define STACK_SIZE	(256 * 1024)
#define CONFIG_LEN	(offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 4)

/* Host time one request may cost: a guest cannot make reset wait for longer than this takes. */
#define DATA_MAX	MIB(256)
#define DISCARD_SECTORS ((uint32_t)(GIB(2) / BLOCK_SECTOR))
#define ZEROES_SECTORS	((uint32_t)(MIB(64) / BLOCK_SECTOR))

struct blk {
	struct virtio_dev dev;
	struct block *image;
	char serial[BLOCK_ID_LEN];
	bool unsafe;
	unsigned max_threads;
	int reported; /* that the host failed; atomic */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t work, idle;
	bool running; /* between activate and reset */
	bool pending; /* there may be chains that nobody looks at */
	bool stopping;
	unsigned busy, n_threads;
	pthread_t thread[VIRTIO_BLOCK_MAX_THREADS];
};

static struct blk *to_blk(struct virtio_dev *dev)
{
	return container_of(dev, struct blk, dev);
}

/* --- requests --- */

/*
 * struct request - @out: data of the guest, behind the header; @in: room for ours, before the
 * status byte
 */
struct request {
	uint32_t type;
	uint64_t sector;
	struct iovec out[CHAIN_SEGS], in[CHAIN_SEGS];
	unsigned n_out, n_in;
	size_t out_len, in_len;
};

/* Return: false without a whole header. The caller has seen to a status byte. */
static bool parse(const struct virtq_chain *c, struct request *rq)
{
	uint8_t header[HEADER_LEN];

	if (iov_read(chain_readable(c), c->n_readable, 0, header, HEADER_LEN) < HEADER_LEN)
		return false;
	rq->type = load_le32(header);
	rq->sector = load_le64(header + 8);
	rq->out_len = c->readable_len - HEADER_LEN;
	rq->in_len = c->writable_len - 1;
	rq->n_out = iov_slice(
		chain_readable(c), c->n_readable, HEADER_LEN, rq->out_len, rq->out, CHAIN_SEGS);
	rq->n_in = iov_slice(chain_writable(c), c->n_writable, 0, rq->in_len, rq->in, CHAIN_SEGS);
	return true;
}

static uint64_t capacity(const struct blk *blk)
{
	return blk->image->size / BLOCK_SECTOR;
}

/* Once for each disk: the guest tries again as often as it likes. */
static void report(struct blk *blk, int error, const char *what)
{
	if (!__atomic_exchange_n(&blk->reported, 1, __ATOMIC_RELAXED))
		log_warn("%s: cannot %s: %s; the guest gets an I/O error", block_label(blk->image),
			what, strerrordesc_np(error));
}

/* @what was tried. What does not fit the image or may not be done is the guest's fault. */
static uint8_t status_of(struct blk *blk, int r, const char *what)
{
	if (r == -EOPNOTSUPP)
		return VIRTIO_BLK_S_UNSUPP;
	if (r >= 0)
		return VIRTIO_BLK_S_OK;
	if (r != -EINVAL && r != -EROFS)
		report(blk, -r, what);
	return VIRTIO_BLK_S_IOERR;
}

static bool data_ok(const struct blk *blk, uint64_t sector, size_t len)
{
	return len % BLOCK_SECTOR == 0 && len <= DATA_MAX &&
	       range_ok(sector, len / BLOCK_SECTOR, capacity(blk));
}

static uint8_t do_in(struct blk *blk, const struct request *rq)
{
	if (!data_ok(blk, rq->sector, rq->in_len))
		return VIRTIO_BLK_S_IOERR;
	return status_of(
		blk, block_read(blk->image, rq->in, rq->n_in, rq->sector * BLOCK_SECTOR), "read");
}

/* A driver that did not accept FLUSH relies on each completed change being on stable storage. */
static int settle(struct blk *blk, int r)
{
	if (r < 0 || blk->unsafe || virtio_dev_has(&blk->dev, VIRTIO_BLK_F_FLUSH))
		return r;
	return block_flush(blk->image);
}

static uint8_t do_out(struct blk *blk, const struct request *rq)
{
	int r;

	if (!data_ok(blk, rq->sector, rq->out_len))
		return VIRTIO_BLK_S_IOERR;
	r = block_write(blk->image, rq->out, rq->n_out, rq->sector * BLOCK_SECTOR);
	return status_of(blk, settle(blk, r), "write");
}

static uint8_t do_flush(struct blk *blk)
{
	if (blk->unsafe)
		return VIRTIO_BLK_S_UNSUPP;
	return status_of(blk, block_flush(blk->image), "flush");
}

static uint8_t do_get_id(struct blk *blk, const struct request *rq)
{
	if (rq->in_len < BLOCK_ID_LEN)
		return VIRTIO_BLK_S_IOERR;
	(void)iov_write(rq->in, rq->n_in, 0, blk->serial, BLOCK_ID_LEN);
	(void)iov_fill(rq->in, rq->n_in, BLOCK_ID_LEN, 0, rq->in_len - BLOCK_ID_LEN);
	return VIRTIO_BLK_S_OK;
}

/* DISCARD and WRITE_ZEROES: exactly one range, as max_*_seg in the config space says. */
static uint8_t do_range(struct blk *blk, const struct request *rq, bool discard)
{
	uint8_t raw[RANGE_LEN];
	uint32_t sectors, flags;
	uint64_t sector;
	int r;

	if (!virtio_dev_has(&blk->dev, discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES))
		return VIRTIO_BLK_S_UNSUPP;
	if (rq->out_len != RANGE_LEN ||
		iov_read(rq->out, rq->n_out, 0, raw, sizeof(raw)) != RANGE_LEN)
		return VIRTIO_BLK_S_IOERR;
	sector = load_le64(raw);
	sectors = load_le32(raw + 8);
	flags = load_le32(raw + 12);
	if (flags & ~(discard ? 0U : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		return VIRTIO_BLK_S_UNSUPP;
	if (sectors > (discard ? DISCARD_SECTORS : ZEROES_SECTORS) ||
		!range_ok(sector, sectors, capacity(blk)))
		return VIRTIO_BLK_S_IOERR;
	sector *= BLOCK_SECTOR;
	if (discard)
		r = block_discard(blk->image, sector, (uint64_t)sectors * BLOCK_SECTOR);
	else
		r = block_write_zeroes(
			blk->image, sector, (uint64_t)sectors * BLOCK_SECTOR, flags != 0);
	return status_of(blk, settle(blk, r), discard ? "discard" : "write zeroes");
}

static uint8_t execute(struct blk *blk, const struct request *rq)
{
	switch (rq->type) {
	case VIRTIO_BLK_T_IN:
		return do_in(blk, rq);
	case VIRTIO_BLK_T_OUT:
		return do_out(blk, rq);
	case VIRTIO_BLK_T_FLUSH:
		return do_flush(blk);
	case VIRTIO_BLK_T_GET_ID:
		return do_get_id(blk, rq);
	case VIRTIO_BLK_T_DISCARD:
		return do_range(blk, rq, true);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return do_range(blk, rq, false);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

/*
 * Return: what to report as written. The used length counts from the first writable byte
 * (virtio 1.2, 2.7.8.2): data that was not filled in before the status byte means 0.
 */
static uint32_t serve(struct blk *blk, const struct virtq_chain *c)
{
	uint8_t status = VIRTIO_BLK_S_IOERR;
	struct request rq;

	if (!c->writable_len)
		return 0;
	if (parse(c, &rq))
		status = execute(blk, &rq);
	(void)iov_write(chain_writable(c), c->n_writable, c->writable_len - 1, &status, 1);
	if (c->writable_len == 1)
		return 1;
	return status == VIRTIO_BLK_S_OK &&
			       (rq.type == VIRTIO_BLK_T_IN || rq.type == VIRTIO_BLK_T_GET_ID)
		       ? (uint32_t)c->writable_len
		       : 0;
}

/* --- workers --- */

static void wake_worker(struct blk *blk)
{
	blk->pending = true;
	(void)pthread_cond_signal(&blk->work);
}

/* One chain, without the lock. Return: was there one? */
static bool work_once(struct blk *blk)
{
	struct iovec iov[CHAIN_SEGS];
	struct virtq_chain c = { .iov = iov, .iov_max = CHAIN_SEGS };
	int r = virtio_dev_pop(&blk->dev, 0, &c);

	if (r == 0)
		return false;
	/* this chain may take a while: let the next one, now or later, find another worker */
	if (blk->max_threads > 1 && virtqueue_arm(&blk->dev.queue[0])) {
		(void)pthread_mutex_lock(&blk->lock);
		wake_worker(blk);
		(void)pthread_mutex_unlock(&blk->lock);
	}
	virtio_dev_complete(&blk->dev, 0, c.head, r < 0 ? 0 : serve(blk, &c));
	virtio_dev_flush(&blk->dev, 0);
	return true;
}

static void *worker(void *arg)
{
	struct blk *blk = arg;

	(void)pthread_mutex_lock(&blk->lock);
	while (!blk->stopping) {
		bool more = true;

		if (!blk->running || !blk->pending) {
			(void)pthread_cond_wait(&blk->work, &blk->lock);
			continue;
		}
		blk->pending = false;
		blk->busy++;
		while (more && blk->running) {
			(void)pthread_mutex_unlock(&blk->lock);
			more = work_once(blk);
			(void)pthread_mutex_lock(&blk->lock);
		}
		if (--blk->busy == 0)
			(void)pthread_cond_broadcast(&blk->idle);
	}
	(void)pthread_mutex_unlock(&blk->lock);
	return NULL;
}

/* Threads with all signals blocked: signals belong to the main thread. */
static int start_thread(struct blk *blk)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int r;

	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&blk->thread[blk->n_threads], &attr, worker, blk);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	if (r == 0)
		blk->n_threads++;
	return -r;
}

/* One thread is enough to go on; none is a failure. */
static int start_threads(struct blk *blk, struct err *err)
{
	int r = 0;

	while (r == 0 && blk->n_threads < blk->max_threads)
		r = start_thread(blk);
	return blk->n_threads ? 0 : err_set(err, r, "start a thread of the block device");
}

static void stop_threads(struct blk *blk)
{
	(void)pthread_mutex_lock(&blk->lock);
	blk->stopping = true;
	(void)pthread_cond_broadcast(&blk->work);
	(void)pthread_mutex_unlock(&blk->lock);
	while (blk->n_threads)
		(void)pthread_join(blk->thread[--blk->n_threads], NULL);
}

/* --- device ops --- */

static int block_activate(struct virtio_dev *dev, struct err *err)
{
	struct blk *blk = to_blk(dev);
	int r;

	(void)pthread_mutex_lock(&blk->lock);
	r = start_threads(blk, err);
	blk->running = r == 0;
	(void)pthread_mutex_unlock(&blk->lock);
	return r;
}

static void block_kick(struct virtio_dev *dev, unsigned qi)
{
	struct blk *blk = to_blk(dev);

	(void)pthread_mutex_lock(&blk->lock);
	wake_worker(blk);
	(void)pthread_mutex_unlock(&blk->lock);
}

static void block_reset(struct virtio_dev *dev)
{
	struct blk *blk = to_blk(dev);

	(void)pthread_mutex_lock(&blk->lock);
	blk->running = blk->pending = false;
	while (blk->busy)
		(void)pthread_cond_wait(&blk->idle, &blk->lock);
	blk->pending = false;
	(void)pthread_mutex_unlock(&blk->lock);
}

static void block_config_read(struct virtio_dev *dev, uint32_t off, void *dst, uint32_t len)
{
	struct blk *blk = to_blk(dev);
	uint8_t config[CONFIG_LEN] = { 0 };

#define FIELD(name) (config + offsetof(struct virtio_blk_config, name))
	store_le64(FIELD(capacity), capacity(blk));
	store_le32(FIELD(seg_max), SEG_MAX);
	store_le32(FIELD(max_discard_sectors), DISCARD_SECTORS);
	store_le32(FIELD(max_discard_seg), 1);
	store_le32(FIELD(discard_sector_alignment), MAX_OF(blk->image->unit, 4096U) / BLOCK_SECTOR);
	store_le32(FIELD(max_write_zeroes_sectors), ZEROES_SECTORS);
	store_le32(FIELD(max_write_zeroes_seg), 1);
	*FIELD(write_zeroes_may_unmap) = 1;
#undef FIELD
	memcpy(dst, config + off, len);
}

static void block_dev_free(struct virtio_dev *dev)
{
	struct blk *blk = to_blk(dev);

	stop_threads(blk);
	block_free(blk->image);
	virtio_dev_release(dev);
	(void)pthread_cond_destroy(&blk->work);
	(void)pthread_cond_destroy(&blk->idle);
	(void)pthread_mutex_destroy(&blk->lock);
	free(blk);
}

static const struct virtio_dev_ops block_dev_ops = {
	.name = "block",
	.id = VIRTIO_ID_BLOCK,
	.config_read = block_config_read,
	.activate = block_activate,
	.kick = block_kick,
	.reset = block_reset,
	.free = block_dev_free,
};

static uint64_t offered(const struct virtio_block_config *cfg)
{
	const struct block *image = cfg->image;
	uint64_t features = VIRTIO_BIT(VIRTIO_BLK_F_SEG_MAX);

	if (!cfg->unsafe)
		features |= VIRTIO_BIT(VIRTIO_BLK_F_FLUSH);
	if (image->read_only)
		return features | VIRTIO_BIT(VIRTIO_BLK_F_RO);
	if (image->ops->discard)
		features |= VIRTIO_BIT(VIRTIO_BLK_F_DISCARD);
	if (image->ops->write_zeroes)
		features |= VIRTIO_BIT(VIRTIO_BLK_F_WRITE_ZEROES);
	return features;
}

int virtio_block_new(
	const struct virtio_block_config *cfg, struct virtio_dev **ret_dev, struct err *err)
{
	static const uint16_t size = QUEUE_SIZE;
	struct blk *blk;
	int r;

	if (cfg->threads > VIRTIO_BLOCK_MAX_THREADS)
		return err_msg(err, EINVAL, "a block device has at most %d threads, not %u",
			VIRTIO_BLOCK_MAX_THREADS, cfg->threads);
	blk = calloc(1, sizeof(*blk));
	if (!blk)
		return err_set(err, ENOMEM, "create the block device");
	r = virtio_dev_init(&blk->dev, &block_dev_ops, offered(cfg), &size, 1, CONFIG_LEN, err);
	if (r < 0) {
		free(blk);
		return r;
	}
	blk->image = cfg->image;
	blk->unsafe = cfg->unsafe;
	blk->max_threads = cfg->threads ? cfg->threads : DEFAULT_THREADS;
	if (cfg->serial)
		memcpy(blk->serial, cfg->serial, strnlen(cfg->serial, BLOCK_ID_LEN));
	else
		memcpy(blk->serial, cfg->image->id, BLOCK_ID_LEN);
	(void)pthread_mutex_init(&blk->lock, NULL);
	(void)pthread_cond_init(&blk->work, NULL);
	(void)pthread_cond_init(&blk->idle, NULL);
	*ret_dev = &blk->dev;
	return 0;
}
