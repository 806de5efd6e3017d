/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define QUEUE_SIZE 256
#define MAX_IOV	   64
/* Per kick: about half a millisecond of getrandom(), then other events get their turn. */
#define KICK_BYTES    (4 * VIRTIO_RNG_REQUEST_MAX)
#define KICK_REQUESTS 64

struct virtio_rng {
	struct virtio_dev dev;
};

/* fill() - random bytes to @len bytes of guest memory. Return: bytes written, fewer on failure. */
static size_t fill(uint8_t *to, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = getrandom(to + done, len - done, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* the page behind the buffer is gone, or there is no source */
			break;
		done += (size_t)n;
	}
	return done;
}

static uint32_t fill_chain(const struct virtq_chain *c)
{
	const struct iovec *iov = chain_writable(c);
	size_t left = VIRTIO_RNG_REQUEST_MAX, done = 0;

	for (unsigned i = 0; i < c->n_writable && left > 0; i++) {
		size_t want = MIN_OF(iov[i].iov_len, left);
		size_t n = fill(iov[i].iov_base, want);

		done += n;
		left -= n;
		if (n < want)
			break;
	}
	return (uint32_t)done;
}

static void rng_kick(struct virtio_dev *dev, unsigned qi)
{
	struct iovec iov[MAX_IOV];
	struct virtq_chain c = { .iov = iov, .iov_max = MAX_IOV };
	uint32_t bytes = 0;
	int ret = 0;

	for (unsigned i = 0; i < KICK_REQUESTS && bytes < KICK_BYTES; i++) {
		ret = virtio_dev_pop(dev, qi, &c);
		if (ret == 0)
			break;
		/* -E2BIG comes with an empty chain: such a request gets nothing */
		uint32_t n = fill_chain(&c);

		virtio_dev_complete(dev, qi, c.head, n);
		bytes += n;
	}
	virtio_dev_flush(dev, qi);
	if (ret != 0)
		virtio_dev_rekick(dev, qi);
}

static void rng_free(struct virtio_dev *dev)
{
	struct virtio_rng *rng = container_of(dev, struct virtio_rng, dev);

	virtio_dev_release(dev);
	free(rng);
}

static const struct virtio_dev_ops rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.kick = rng_kick,
	.free = rng_free,
};

int virtio_rng_new(struct virtio_dev **ret_dev, struct err *err)
{
	static const uint16_t sizes[] = { QUEUE_SIZE };
	cleanup_free struct virtio_rng *rng = calloc(1, sizeof(*rng));
	int ret;

	if (!rng)
		return err_set(err, ENOMEM, "create the rng device");
	ret = virtio_dev_init(&rng->dev, &rng_ops, 0, sizes, ARRAY_LEN(sizes), 0, err);
	if (ret < 0)
		return ret;
	*ret_dev = &take_ptr(&rng)->dev;
	return 0;
}
