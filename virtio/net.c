/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The device is a link of the stack (net/net.h). Nothing is copied or allocated per frame: a frame
 * from the guest is handed over as the iovecs of its chain; for one to the guest the stack gets the
 * guest's receive buffers (a reservation), into which it reads from its host socket.
 *
 * Kicks come with dev->lock held, as always. But the stack also works by itself, when a host socket
 * becomes readable, and then asks for receive buffers without that lock; while it fills them, a
 * register write on a vCPU's thread may reset the device. So the receive side has a lock of its
 * own, held from reserve() to commit() or cancel(), and reset takes it to end the round: it waits
 * for one recv() at most. Lock order: dev->lock, nic->lock, queue locks.
 *
 * The cable is plugged in and out on the loop's thread only, by sync_link(), a little after
 * activate and reset; in between, reserve() sees by the number of the round that the stack still
 * talks to the driver before, and gives it nothing.
 */
#include "virtio/net.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/num.h"
#include "net/packet.h"

#define RXQ 0 /* to the guest */
#define TXQ 1 /* from the guest */

#define F_HOST_USO 56 /* virtio 1.3, 5.1.3; missing in older kernel headers */

#define HDR_LEN	   ((size_t)12) /* struct virtio_net_hdr_mrg_rxbuf; of all frames with VERSION_1 */
#define CONFIG_LEN offsetof(struct virtio_net_config, speed)

/* A frame from the guest: Linux needs 19; what is in more pieces is not worth having. */
#define TX_SEGS 256

/* Per kick: about a millisecond of copying, then other events get their turn. */
#define TX_FRAMES 64
#define TX_BYTES  MIB(2)

_Static_assert(sizeof(struct virtio_net_hdr_mrg_rxbuf) == 12, "as in virtio 1.2, 5.1.6");

/* struct room - an open reservation: chains of the receive queue and where they are */
struct room {
	struct iovec iov[NET_LINK_IOV];
	unsigned n_iov, n_chains;
	size_t len; /* of all chains; the header is part of it */
	struct {
		uint16_t head;
		uint32_t len;
	} chain[NET_LINK_IOV];
};

struct nic {
	struct virtio_dev dev;
	struct net *net;
	struct loop *loop;
	struct mac mac;
	uint16_t mtu;

	/* ---- the loop's thread ---- */
	uint64_t plugged; /* the round whose cable is in; 0: none */
	bool throttled;	  /* resume() will come: the next frame waits in the queue for its rate */
	struct room room;

	pthread_mutex_t lock; /* of what follows; also held while a reservation is open */
	uint64_t round;	      /* activations so far */
	bool running;	      /* between activate and reset */
	bool mergeable;
	unsigned takes;
	bool posted; /* on_post() is on its way */
};

static struct nic *to_nic(struct virtio_dev *dev)
{
	return container_of(dev, struct nic, dev);
}

/* --- to the guest --- */

static void room_undo(struct nic *nic, unsigned keep)
{
	struct room *r = &nic->room;

	while (r->n_chains > keep) {
		struct virtq_chain c = { .head = r->chain[--r->n_chains].head };

		virtqueue_pop_undo(&nic->dev.queue[RXQ], &c);
	}
	r->n_iov = 0;
	r->len = 0;
}

/*
 * What a reservation must have at least. Only TCP asks for more than a frame of the MTU, and takes
 * what it gets: a driver with few buffers is not made to wait for 64 KiB that it never posts.
 */
static size_t least_room(const struct nic *nic, size_t len)
{
	return HDR_LEN + MIN_OF(len, (size_t)nic->mtu + ETH_HDR_LEN);
}

/* A buffer that no frame can use goes back empty, so that its owner sees it and others pass. */
static bool chain_usable(const struct nic *nic, const struct virtq_chain *c, size_t least)
{
	return !c->n_readable && c->writable_len >= (nic->mergeable ? HDR_LEN : least);
}

/* One more chain. Return: false when there is none, or no more room to describe it. */
static bool room_grow(struct nic *nic, size_t least)
{
	struct room *r = &nic->room;
	struct virtq_chain c = { .iov = r->iov + r->n_iov, .iov_max = NET_LINK_IOV - r->n_iov };
	unsigned useless = 0;
	int rc;

	while ((rc = virtio_dev_pop(&nic->dev, RXQ, &c)) != 0) {
		if (rc > 0 && chain_usable(nic, &c, least))
			break;
		if (rc == -E2BIG && r->n_iov) { /* the next frame begins with it */
			virtqueue_pop_undo(&nic->dev.queue[RXQ], &c);
			return false;
		}
		virtio_dev_complete(&nic->dev, RXQ, c.head, 0);
		virtio_dev_warn(&nic->dev, "net device: a receive buffer of the guest is useless");
		/* Another CPU of the guest may post them as fast as they go back. */
		if (++useless == VIRTIO_NET_QUEUE_SIZE)
			return false;
	}
	if (rc == 0)
		return false;
	r->chain[r->n_chains].head = c.head;
	r->chain[r->n_chains++].len = (uint32_t)c.writable_len;
	r->n_iov += c.n_writable;
	r->len += c.writable_len;
	return true;
}

static bool room_make(struct nic *nic, size_t len)
{
	size_t least = least_room(nic, len);
	struct room *r = &nic->room;

	r->n_iov = r->n_chains = 0;
	r->len = 0;
	while (r->len < HDR_LEN + len && r->n_iov < NET_LINK_IOV) {
		if (!room_grow(nic, least) || !nic->mergeable)
			break;
	}
	if (r->len >= least)
		return true;
	room_undo(nic, 0);
	return false;
}

/* Keeps nic->lock when there is room: commit() or cancel() follows on the same thread. */
static unsigned link_reserve(void *ctx, size_t len, struct iovec *iov, unsigned max)
{
	struct nic *nic = ctx;
	unsigned n = 0;

	(void)pthread_mutex_lock(&nic->lock);
	if (nic->running && nic->plugged == nic->round && room_make(nic, len))
		n = iov_slice(nic->room.iov, nic->room.n_iov, HDR_LEN, len, iov, max);
	if (!n)
		(void)pthread_mutex_unlock(&nic->lock);
	return n;
}

static void link_cancel(void *ctx)
{
	struct nic *nic = ctx;

	room_undo(nic, 0);
	(void)pthread_mutex_unlock(&nic->lock);
}

static void put_header(struct nic *nic, const struct net_offload *off, uint16_t buffers)
{
	uint8_t h[HDR_LEN];

	h[0] = off->flags;
	h[1] = off->gso_type;
	store_le16(h + 2, off->hdr_len);
	store_le16(h + 4, off->gso_size);
	store_le16(h + 6, off->csum_start);
	store_le16(h + 8, off->csum_offset);
	store_le16(h + 10, buffers);
	(void)iov_write(nic->room.iov, nic->room.n_iov, 0, h, sizeof(h));
}

static void link_commit(void *ctx, const struct net_offload *off, size_t len)
{
	struct nic *nic = ctx;
	struct room *r = &nic->room;
	size_t left = HDR_LEN + len;
	unsigned used = 0;

	if (left > r->len) { /* more than was reserved: a mistake of the stack */
		link_cancel(nic);
		return;
	}
	for (size_t sum = 0; sum < left; used++)
		sum += r->chain[used].len;
	put_header(nic, off, (uint16_t)used);
	/* What was not needed goes back first: the ring's order is that of popping. */
	room_undo(nic, used);
	for (unsigned i = 0; i < used; i++) {
		uint32_t n = (uint32_t)MIN_OF(left, (size_t)r->chain[i].len);

		virtio_dev_complete(&nic->dev, RXQ, r->chain[i].head, n);
		left -= n;
	}
	(void)pthread_mutex_unlock(&nic->lock);
}

static void link_flush(void *ctx)
{
	struct nic *nic = ctx;

	virtio_dev_flush(&nic->dev, RXQ);
}

/* --- from the guest --- */

/* Which kinds of segments the driver may send, having accepted the feature. */
static bool gso_accepted(const struct nic *nic, uint8_t type)
{
	switch (type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return virtio_dev_has(&nic->dev, VIRTIO_NET_F_HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return virtio_dev_has(&nic->dev, VIRTIO_NET_F_HOST_TSO6);
	case VIRTIO_NET_HDR_GSO_UDP:
		return virtio_dev_has(&nic->dev, VIRTIO_NET_F_HOST_UFO);
	case NET_GSO_UDP_L4:
		return virtio_dev_has(&nic->dev, F_HOST_USO);
	default: /* ECN was not offered */
		return false;
	}
}

/* Return: false if the header promises what the frame does not have, or what was not offered. */
static bool parse_header(
	const struct nic *nic, const uint8_t h[HDR_LEN], size_t frame_len, struct net_offload *ret)
{
	struct net_offload off = {
		.flags = h[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = h[1],
		.hdr_len = load_le16(h + 2),
		.gso_size = load_le16(h + 4),
		.csum_start = load_le16(h + 6),
		.csum_offset = load_le16(h + 8),
	};

	if (!gso_accepted(nic, off.gso_type))
		return false;
	if (off.gso_type != VIRTIO_NET_HDR_GSO_NONE && (!off.gso_size || !off.flags))
		return false;
	if (off.flags && !virtio_dev_has(&nic->dev, VIRTIO_NET_F_CSUM))
		return false;
	if (off.flags && (size_t)off.csum_start + off.csum_offset + 2 > frame_len)
		return false;
	*ret = off;
	return true;
}

/* Drop the first @skip bytes, of which there are enough, in place. Return: entries left. */
static unsigned skip_bytes(struct iovec **iov, unsigned n, size_t skip)
{
	while (n && skip >= (*iov)->iov_len) {
		skip -= (*iov)->iov_len;
		(*iov)++;
		n--;
	}
	if (n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + skip;
		(*iov)->iov_len -= skip;
	}
	return n;
}

/* One frame. Return: false if it has to wait for its rate. A malformed one is dropped. */
static bool frame_from_guest(struct nic *nic, const struct virtq_chain *c)
{
	struct iovec *iov = c->iov;
	struct net_offload off;
	uint8_t h[HDR_LEN];
	unsigned n;

	if (c->n_writable || c->readable_len <= HDR_LEN)
		goto malformed;
	(void)iov_read(iov, c->n_readable, 0, h, HDR_LEN);
	if (!parse_header(nic, h, c->readable_len - HDR_LEN, &off))
		goto malformed;
	n = skip_bytes(&iov, c->n_readable, HDR_LEN);
	return net_from_guest(nic->net, &off, iov, n) != -EAGAIN;
malformed:
	virtio_dev_warn(&nic->dev, "net device: a frame of the guest is malformed");
	return true;
}

static void transmit(struct nic *nic)
{
	struct iovec iov[TX_SEGS];
	struct virtq_chain c = { .iov = iov, .iov_max = TX_SEGS };
	size_t bytes = 0;
	int rc = 1;

	for (unsigned i = 0; i < TX_FRAMES && bytes < TX_BYTES && !nic->throttled; i++) {
		rc = virtio_dev_pop(&nic->dev, TXQ, &c);
		if (rc == 0)
			break;
		/* -E2BIG comes with an empty chain, which is malformed */
		if (!frame_from_guest(nic, &c)) {
			virtqueue_pop_undo(&nic->dev.queue[TXQ], &c);
			nic->throttled = true;
			break;
		}
		virtio_dev_complete(&nic->dev, TXQ, c.head, 0);
		bytes += c.readable_len;
	}
	net_from_guest_done(nic->net);
	virtio_dev_flush(&nic->dev, TXQ);
	if (rc != 0 && !nic->throttled)
		virtio_dev_rekick(&nic->dev, TXQ);
}

static void link_resume(void *ctx)
{
	struct nic *nic = ctx;

	if (!nic->throttled)
		return;
	nic->throttled = false;
	virtio_dev_rekick(&nic->dev, TXQ); /* comes back with dev->lock held */
}

/* --- the cable --- */

static const struct net_link_ops link_ops = {
	.reserve = link_reserve,
	.commit = link_commit,
	.cancel = link_cancel,
	.flush = link_flush,
	.resume = link_resume,
};

/* On the loop's thread: have the stack see the driver that is there now. */
static void sync_link(struct nic *nic)
{
	unsigned takes;
	uint64_t now;

	(void)pthread_mutex_lock(&nic->lock);
	now = nic->running ? nic->round : 0;
	takes = nic->takes;
	(void)pthread_mutex_unlock(&nic->lock);
	if (now == nic->plugged)
		return;
	if (nic->plugged)
		net_detach(nic->net);
	nic->throttled = false;
	nic->plugged = now;
	if (now)
		net_attach(nic->net, &link_ops, nic, takes);
}

static void on_post(void *ctx)
{
	struct nic *nic = ctx;

	(void)pthread_mutex_lock(&nic->lock);
	nic->posted = false;
	(void)pthread_mutex_unlock(&nic->lock);
	sync_link(nic);
}

/*
 * Without memory for a post nothing is lost: the next kick syncs, and until then the stack gets no
 * buffers. At most one is on its way, however fast a guest resets.
 */
static void sync_link_soon(struct nic *nic)
{
	bool post;

	if (loop_is_current(nic->loop)) {
		sync_link(nic);
		return;
	}
	(void)pthread_mutex_lock(&nic->lock);
	post = !nic->posted;
	nic->posted = true;
	(void)pthread_mutex_unlock(&nic->lock);
	if (!post || loop_post(nic->loop, on_post, nic) == 0)
		return;
	(void)pthread_mutex_lock(&nic->lock);
	nic->posted = false;
	(void)pthread_mutex_unlock(&nic->lock);
}

/* --- device ops --- */

static unsigned accepted_by_guest(const struct virtio_dev *dev)
{
	static const struct {
		unsigned feature, takes;
	} rows[] = {
		{ VIRTIO_NET_F_GUEST_CSUM, NET_TAKES_CSUM },
		{ VIRTIO_NET_F_GUEST_TSO4, NET_TAKES_TSO4 },
		{ VIRTIO_NET_F_GUEST_TSO6, NET_TAKES_TSO6 },
		{ VIRTIO_NET_F_GUEST_UFO, NET_TAKES_UFO },
	};
	unsigned takes = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		takes |= virtio_dev_has(dev, rows[i].feature) ? rows[i].takes : 0;
	return takes;
}

static int nic_activate(struct virtio_dev *dev, struct err *err)
{
	struct nic *nic = to_nic(dev);

	(void)pthread_mutex_lock(&nic->lock);
	nic->running = true;
	nic->round++;
	nic->mergeable = virtio_dev_has(dev, VIRTIO_NET_F_MRG_RXBUF);
	nic->takes = accepted_by_guest(dev);
	(void)pthread_mutex_unlock(&nic->lock);
	sync_link_soon(nic);
	return 0;
}

static void nic_reset(struct virtio_dev *dev)
{
	struct nic *nic = to_nic(dev);

	(void)pthread_mutex_lock(&nic->lock); /* an open reservation is closed by now */
	nic->running = false;
	(void)pthread_mutex_unlock(&nic->lock);
	sync_link_soon(nic);
}

static void nic_kick(struct virtio_dev *dev, unsigned qi)
{
	struct nic *nic = to_nic(dev);

	sync_link(nic);
	if (qi == RXQ)
		net_to_guest_ready(nic->net);
	else if (!nic->throttled)
		transmit(nic);
}

static void nic_config_read(struct virtio_dev *dev, uint32_t off, void *dst, uint32_t len)
{
	struct nic *nic = to_nic(dev);
	uint8_t config[CONFIG_LEN] = { 0 };

#define FIELD(name) (config + offsetof(struct virtio_net_config, name))
	memcpy(FIELD(mac), nic->mac.b, sizeof(nic->mac.b));
	store_le16(FIELD(status), VIRTIO_NET_S_LINK_UP);
	store_le16(FIELD(max_virtqueue_pairs), 1);
	store_le16(FIELD(mtu), nic->mtu);
#undef FIELD
	memcpy(dst, config + off, len);
}

static void nic_free(struct virtio_dev *dev)
{
	struct nic *nic = to_nic(dev);

	loop_unpost(nic->loop, on_post, nic);
	sync_link(nic);
	virtio_dev_release(dev);
	(void)pthread_mutex_destroy(&nic->lock);
	free(nic);
}

static const struct virtio_dev_ops nic_ops = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.config_read = nic_config_read,
	.activate = nic_activate,
	.kick = nic_kick,
	.reset = nic_reset,
	.free = nic_free,
};

static const unsigned offered[] = {
	VIRTIO_NET_F_CSUM,
	VIRTIO_NET_F_GUEST_CSUM,
	VIRTIO_NET_F_MTU,
	VIRTIO_NET_F_MAC,
	VIRTIO_NET_F_GUEST_TSO4,
	VIRTIO_NET_F_GUEST_TSO6,
	VIRTIO_NET_F_GUEST_UFO,
	VIRTIO_NET_F_HOST_TSO4,
	VIRTIO_NET_F_HOST_TSO6,
	VIRTIO_NET_F_HOST_UFO,
	VIRTIO_NET_F_MRG_RXBUF,
	VIRTIO_NET_F_STATUS,
	F_HOST_USO,
};

int virtio_net_new(
	const struct virtio_net_params *params, struct virtio_dev **ret_dev, struct err *err)
{
	static const uint16_t sizes[] = { VIRTIO_NET_QUEUE_SIZE, VIRTIO_NET_QUEUE_SIZE };
	cleanup_free struct nic *nic = calloc(1, sizeof(*nic));
	uint64_t features = 0;
	int rc;

	if (!nic)
		return err_set(err, ENOMEM, "create the net device");
	for (size_t i = 0; i < ARRAY_LEN(offered); i++)
		features |= VIRTIO_BIT(offered[i]);
	rc = virtio_dev_init(
		&nic->dev, &nic_ops, features, sizes, ARRAY_LEN(sizes), CONFIG_LEN, err);
	if (rc < 0)
		return rc;
	nic->net = params->net;
	nic->loop = params->loop;
	nic->mac = params->mac;
	nic->mtu = params->mtu;
	(void)pthread_mutex_init(&nic->lock, NULL);
	*ret_dev = &take_ptr(&nic)->dev;
	return 0;
}
