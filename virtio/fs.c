/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool. A kick sets the queue's bit in `kicked` and wakes one sleeping thread; a thread takes
 * all bits, and serves chains until the queues are empty. Taking a chain while more are waiting
 * wakes another thread first, so that a burst spreads over the pool and a single request costs one
 * wake-up and nobody else's time. A kick that comes while all threads are busy is found by the
 * first that runs dry, because bits are checked under the lock before sleeping.
 *
 * Chains complete in any order. Lock order: dev->lock before pool lock before q->lock; threads of
 * the pool never take dev->lock, which reset holds while it waits for them.
 */
#include "virtio/fs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"

#define FS_HIPRIO_QUEUE	 0
#define FS_REQUEST_QUEUE 1
#define FS_QUEUES	 2
#define FS_QUEUE_SIZE	 1024
#define FS_THREADS	 4
#define FS_THREAD_STACK	 (512u << 10)
/* Descriptors of the longest chain, and some that straddle two regions of guest memory. */
#define FS_SEGMENTS (FS_QUEUE_SIZE + 64)

struct fs_config_space {
	char tag[VIRTIO_FS_TAG_MAX];
	uint32_t num_request_queues;
} __attribute__((packed));

/*
 * struct virtio_fs - all below @lock is under it
 * @kicked: queues with chains that nobody may have seen
 * @running: chains may be taken (between activate and reset)
 * @n_busy: threads that are not asleep; @n_ready: threads that finished their start
 */
struct virtio_fs {
	struct virtio_dev dev;
	struct fs_config_space config;
	struct fs_server *fs;
	pthread_t thread[FS_THREADS];
	unsigned n_threads;

	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	unsigned kicked, n_busy, n_asleep, n_ready;
	bool running, quit;
	int start_error;
};

static struct virtio_fs *to_fs(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_fs, dev);
}

static void fs_config_read(struct virtio_dev *dev, uint32_t off, void *dst, uint32_t len)
{
	memcpy(dst, (const char *)&to_fs(dev)->config + off, len);
}

/* A thread is about to be busy: chains that wait go to another, those to come will be kicked. */
static void pool_share(struct virtio_fs *f, unsigned qi)
{
	if (!virtqueue_arm(&f->dev.queue[qi]))
		return;
	pthread_mutex_lock(&f->lock);
	f->kicked |= 1u << qi;
	if (f->n_asleep)
		pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

/* Return: false when the queue is empty */
static bool fs_serve_one(struct virtio_fs *f, unsigned qi, struct iovec *iov)
{
	struct virtq_chain chain = { .iov = iov, .iov_max = FS_SEGMENTS };
	int ret = virtio_dev_pop(&f->dev, qi, &chain);
	ssize_t written = 0;

	if (ret == 0)
		return false;
	pool_share(f, qi);
	/* A chain that is too long, or has no room for an answer, goes back without one. */
	if (ret > 0)
		written = fs_server_handle(f->fs, chain_readable(&chain), chain.n_readable,
			chain_writable(&chain), chain.n_writable);
	virtio_dev_complete(&f->dev, qi, chain.head, written > 0 ? (uint32_t)written : 0);
	virtio_dev_flush(&f->dev, qi);
	return true;
}

static bool pool_running(struct virtio_fs *f)
{
	pthread_mutex_lock(&f->lock);
	bool running = f->running;
	pthread_mutex_unlock(&f->lock);
	return running;
}

/* Serve the queues in @kicked until they are empty or the device is being reset. */
static void pool_work(struct virtio_fs *f, unsigned kicked, struct iovec *iov)
{
	for (unsigned qi = 0; qi < FS_QUEUES; qi++) {
		if (!(kicked & 1u << qi))
			continue;
		while (pool_running(f) && fs_serve_one(f, qi, iov))
			;
	}
}

static void pool_loop(struct virtio_fs *f, struct iovec *iov)
{
	pthread_mutex_lock(&f->lock);
	while (!f->quit) {
		unsigned kicked = f->running ? f->kicked : 0;
		if (!kicked) {
			f->n_asleep++;
			pthread_cond_wait(&f->wake, &f->lock);
			f->n_asleep--;
			continue;
		}
		f->kicked = 0;
		f->n_busy++;
		pthread_mutex_unlock(&f->lock);
		pool_work(f, kicked, iov);
		pthread_mutex_lock(&f->lock);
		if (--f->n_busy == 0)
			pthread_cond_broadcast(&f->idle);
	}
	pthread_mutex_unlock(&f->lock);
}

static void *pool_thread(void *arg)
{
	struct virtio_fs *f = arg;
	struct iovec iov[FS_SEGMENTS];
	int rc = fs_thread_init(f->fs, NULL);

	pthread_mutex_lock(&f->lock);
	f->n_ready++;
	if (rc < 0)
		f->start_error = rc;
	pthread_cond_broadcast(&f->idle);
	pthread_mutex_unlock(&f->lock);
	if (rc == 0)
		pool_loop(f, iov);
	return NULL;
}

/* Signals are for the process's own threads. */
static int pool_spawn(struct virtio_fs *f)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc = 0;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, FS_THREAD_STACK);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &old);
	while (rc == 0 && f->n_threads < FS_THREADS) {
		rc = pthread_create(&f->thread[f->n_threads], &attr, pool_thread, f);
		f->n_threads += rc == 0;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	return -rc;
}

static void pool_stop(struct virtio_fs *f)
{
	pthread_mutex_lock(&f->lock);
	f->quit = true;
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
	for (unsigned i = 0; i < f->n_threads; i++)
		(void)pthread_join(f->thread[i], NULL);
	f->n_threads = f->n_ready = 0;
	f->quit = false;
}

/* The threads say whether they could start: only then is the device of any use. */
static int pool_start(struct virtio_fs *f)
{
	int rc = pool_spawn(f);

	pthread_mutex_lock(&f->lock);
	while (f->n_ready < f->n_threads)
		pthread_cond_wait(&f->idle, &f->lock);
	if (rc == 0)
		rc = f->start_error;
	f->start_error = 0;
	pthread_mutex_unlock(&f->lock);
	if (rc < 0)
		pool_stop(f);
	return rc;
}

static int fs_activate(struct virtio_dev *dev, struct err *err)
{
	struct virtio_fs *f = to_fs(dev);
	int rc = f->n_threads ? 0 : pool_start(f);

	if (rc < 0)
		return err_set(err, rc, "start the threads of file system '%.*s'",
			VIRTIO_FS_TAG_MAX, f->config.tag);
	pthread_mutex_lock(&f->lock);
	f->running = true;
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static void fs_kick(struct virtio_dev *dev, unsigned qi)
{
	struct virtio_fs *f = to_fs(dev);

	pthread_mutex_lock(&f->lock);
	f->kicked |= 1u << qi;
	if (f->n_asleep)
		pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

static void fs_reset(struct virtio_dev *dev)
{
	struct virtio_fs *f = to_fs(dev);

	pthread_mutex_lock(&f->lock);
	f->running = false;
	f->kicked = 0;
	while (f->n_busy)
		pthread_cond_wait(&f->idle, &f->lock);
	pthread_mutex_unlock(&f->lock);
	fs_server_reset(f->fs);
}

static void fs_free(struct virtio_dev *dev)
{
	struct virtio_fs *f = to_fs(dev);

	pool_stop(f);
	virtio_dev_release(dev);
	fs_server_free(f->fs);
	pthread_cond_destroy(&f->wake);
	pthread_cond_destroy(&f->idle);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct virtio_dev_ops fs_dev_ops = {
	.name = "fs",
	.id = VIRTIO_ID_FS,
	.config_read = fs_config_read,
	.activate = fs_activate,
	.kick = fs_kick,
	.reset = fs_reset,
	.free = fs_free,
};

int virtio_fs_new(
	const char *tag, struct fs_server *fs, struct virtio_dev **ret_dev, struct err *err)
{
	static const uint16_t sizes[FS_QUEUES] = { FS_QUEUE_SIZE, FS_QUEUE_SIZE };
	size_t len = strlen(tag);

	if (len == 0 || len > VIRTIO_FS_TAG_MAX)
		return err_msg(err, EINVAL, "file system tag '%s' must have 1 to %d bytes", tag,
			VIRTIO_FS_TAG_MAX);
	struct virtio_fs *f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(err, ENOMEM, "create the fs device");
	int rc = virtio_dev_init(&f->dev, &fs_dev_ops, 0, sizes, FS_QUEUES, sizeof(f->config), err);
	if (rc < 0) {
		free(f);
		return rc;
	}
	memcpy(f->config.tag, tag, len);
	store_le32(&f->config.num_request_queues, FS_QUEUES - 1);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	pthread_cond_init(&f->idle, NULL);
	f->fs = fs;
	*ret_dev = &f->dev;
	return 0;
}
