/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device alone: behind it is not the stack but this file, which defines the functions of
 * net/net.h that the device calls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "lib/iov.h"
#include "lib/num.h"
#include "virtio/fake_driver.h"
#include "virtio/net.h"

#define RXQ	 0
#define TXQ	 1
#define HDR	 12
#define USO	 56
#define MTU	 1500
#define FRAME_1	 (MTU + 14)
#define BIG	 65550
#define FEATURES (~0ULL)

/* struct net - what the device did to it */
struct net {
	const struct net_link_ops *link;
	void *link_ctx;
	unsigned takes, attaches, detaches, frames, dones, readies;
	bool refuse;
	struct net_offload off;
	size_t len;
	uint8_t bytes[BIG];
};

void net_attach(struct net *net, const struct net_link_ops *ops, void *ctx, unsigned takes)
{
	assert_null(net->link);
	net->link = ops;
	net->link_ctx = ctx;
	net->takes = takes;
	net->attaches++;
}

void net_detach(struct net *net)
{
	assert_non_null(net->link);
	net->link = NULL;
	net->detaches++;
}

int net_from_guest(
	struct net *net, const struct net_offload *off, const struct iovec *iov, unsigned n)
{
	assert_non_null(net->link);
	if (net->refuse)
		return -EAGAIN;
	net->frames++;
	net->off = *off;
	net->len = iov_len(iov, n);
	(void)iov_read(iov, n, 0, net->bytes, sizeof(net->bytes));
	return 0;
}

void net_from_guest_done(struct net *net)
{
	net->dones++;
}

void net_to_guest_ready(struct net *net)
{
	net->readies++;
}

struct fixture {
	struct loop *loop;
	struct net net;
	struct virtio_dev *dev;
	struct fake_driver *drv;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_net_params p = {
		.net = &f->net, .mac = { { 2, 0x6d, 0x73, 0, 0, 2 } }, .mtu = MTU
	};

	*state = f;
	if (loop_new(&f->loop, NULL) < 0)
		return -1;
	p.loop = f->loop;
	if (virtio_net_new(&p, &f->dev, NULL) < 0 ||
		fake_driver_new(f->dev, f->loop, &f->drv, NULL) < 0)
		return -1;
	return fake_driver_start(f->drv, FEATURES, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fake_driver_free(f->drv);
	virtio_dev_free(f->dev);
	assert_null(f->net.link);
	loop_free(f->loop);
	free(f);
	return 0;
}

static void restart(struct fixture *f, uint64_t features)
{
	fake_driver_stop(f->drv);
	assert_int_equal(fake_driver_start(f->drv, features, NULL), 0);
	fake_kick(f->drv, RXQ);
}

/* --- from the guest --- */

struct hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

_Static_assert(sizeof(struct hdr) == HDR, "on a little-endian host");

/* A frame of @len bytes, each its offset, behind @h; in pieces of @piece bytes. */
static void post_frame(struct fixture *f, const struct hdr *h, uint32_t len, uint32_t piece)
{
	uint64_t gpa = fake_alloc(f->drv, HDR + (uint64_t)len);
	uint8_t *p = fake_ptr(f->drv, gpa, HDR + (uint64_t)len);
	struct fake_seg seg[512];
	unsigned n = 0;

	memcpy(p, h, HDR);
	for (uint32_t i = 0; i < len; i++)
		p[HDR + i] = (uint8_t)i;
	for (uint32_t at = 0; at < HDR + len; at += piece)
		seg[n++] = (struct fake_seg){ gpa + at, MIN_OF(piece, HDR + len - at), false };
	assert_true(fake_post(f->drv, TXQ, seg, n) >= 0);
}

static bool frame_is_whole(const struct net *net, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (net->bytes[i] != (uint8_t)i)
			return false;
	}
	return net->len == len;
}

/* The chain comes back; was there a frame? */
static bool frame_passes(struct fixture *f, const struct hdr *h, uint32_t len)
{
	unsigned before = f->net.frames;

	post_frame(f, h, len, HDR + len);
	fake_kick(f->drv, TXQ);
	assert_true(fake_used(f->drv, TXQ, NULL, NULL));
	assert_false(fake_is_broken(f->drv));
	return f->net.frames == before + 1;
}

static void test_tx_refuses_malformed_headers(void **state)
{
	static const struct hdr bad[] = {
		{ .flags = 1, .csum_start = 99, .csum_offset = 0 },
		{ .flags = 1, .csum_start = 98, .csum_offset = 1 },
		{ .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 0 },
		{ .flags = 0, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 100 },
		{ .flags = 1, .gso_type = 2, .gso_size = 100 },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_ECN | 1, .gso_size = 100 },
		{ .flags = 1, .gso_type = 0xff, .gso_size = 100 },
	};
	static const struct hdr good[] = {
		{ 0 }, { .flags = 1, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 1, .csum_start = 98, .csum_offset = 0 },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 1 },
		{ .flags = 1, .gso_type = NET_GSO_UDP_L4, .gso_size = 10, .num_buffers = 77 },
		{ .flags = 0xfe, .csum_start = 0xffff }, /* what we do not know is masked */
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(frame_passes(f, &bad[i], 100));
	for (unsigned i = 0; i < ARRAY_LEN(good); i++)
		assert_true(frame_passes(f, &good[i], 100));
	assert_int_equal(f->net.off.flags, 0);
}

static void test_tx_refuses_offloads_that_were_not_accepted(void **state)
{
	static const struct {
		unsigned feature;
		uint8_t type;
	} rows[] = {
		{ VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_HDR_GSO_TCPV4 },
		{ VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_HDR_GSO_TCPV6 },
		{ VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_HDR_GSO_UDP },
		{ USO, NET_GSO_UDP_L4 },
	};
	struct hdr csum = { .flags = 1 };
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct hdr h = { .flags = 1, .gso_type = rows[i].type, .gso_size = 100 };

		restart(f, FEATURES & ~VIRTIO_BIT(rows[i].feature));
		assert_false(frame_passes(f, &h, 100));
		restart(f, FEATURES);
		assert_true(frame_passes(f, &h, 100));
	}
	restart(f, FEATURES & ~VIRTIO_BIT(VIRTIO_NET_F_CSUM));
	assert_false(frame_passes(f, &csum, 100));
}

static void test_tx_refuses_odd_chains(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = fake_alloc(f->drv, 4096);
	struct fake_seg shorter[] = { { gpa, HDR - 1, false } };
	struct fake_seg empty[] = { { gpa, HDR, false } };
	struct fake_seg writable[] = { { gpa, 100, true } };
	struct fake_seg mixed[] = { { gpa, 100, false }, { gpa + 100, 100, true } };
	struct fake_seg many[300];

	for (unsigned i = 0; i < ARRAY_LEN(many); i++)
		many[i] = (struct fake_seg){ gpa + i, 1, false };
	assert_true(fake_post(f->drv, TXQ, shorter, 1) >= 0);
	assert_true(fake_post(f->drv, TXQ, empty, 1) >= 0);
	assert_true(fake_post(f->drv, TXQ, writable, 1) >= 0);
	assert_true(fake_post(f->drv, TXQ, mixed, 2) >= 0);
	assert_true(fake_post(f->drv, TXQ, many, ARRAY_LEN(many)) >= 0);
	fake_kick(f->drv, TXQ);
	for (unsigned i = 0; i < 5; i++) {
		uint32_t written = 1;

		assert_true(fake_used(f->drv, TXQ, NULL, &written));
		assert_int_equal(written, 0);
	}
	assert_int_equal(f->net.frames, 0);
	assert_false(fake_is_broken(f->drv));
}

static void test_tx_hands_over_every_layout(void **state)
{
	static const uint32_t piece[] = { 1, 5, HDR, HDR + 1, 4096, BIG + HDR };
	struct fixture *f = *state;
	struct hdr h = { 0 };

	for (unsigned i = 0; i < ARRAY_LEN(piece); i++) {
		uint32_t len = MIN_OF(piece[i] * 200, (uint32_t)BIG);

		post_frame(f, &h, len, piece[i]);
		fake_kick(f->drv, TXQ);
		assert_true(frame_is_whole(&f->net, len));
		assert_true(fake_used(f->drv, TXQ, NULL, NULL));
	}
	assert_int_equal(f->net.frames, ARRAY_LEN(piece));
}

static void test_tx_keeps_a_frame_that_is_too_early(void **state)
{
	struct fixture *f = *state;
	struct hdr h = { 0 };

	post_frame(f, &h, 100, 200);
	post_frame(f, &h, 101, 200);
	f->net.refuse = true;
	fake_kick(f->drv, TXQ);
	fake_kick(f->drv, TXQ); /* no second attempt before resume() */
	assert_int_equal(f->net.dones, 1);
	assert_int_equal(fake_settle(f->drv), 0); /* nor a loop of kicks */
	assert_false(fake_used(f->drv, TXQ, NULL, NULL));

	f->net.refuse = false;
	f->net.link->resume(f->net.link_ctx);
	assert_int_equal(fake_settle(f->drv), 1);
	assert_int_equal(f->net.frames, 2);
	assert_true(frame_is_whole(&f->net, 101));
	assert_true(fake_used(f->drv, TXQ, NULL, NULL));
	assert_true(fake_used(f->drv, TXQ, NULL, NULL));
	f->net.link->resume(f->net.link_ctx); /* nothing waits */
	assert_int_equal(fake_settle(f->drv), 0);
}

static void test_reset_forgets_a_frame_that_waits(void **state)
{
	struct fixture *f = *state;
	struct hdr h = { 0 };

	post_frame(f, &h, 100, 200);
	f->net.refuse = true;
	fake_kick(f->drv, TXQ);
	f->net.refuse = false;
	restart(f, FEATURES);
	assert_true(frame_passes(f, &h, 100));
}

static void test_tx_bounds_the_work_of_a_kick(void **state)
{
	struct fixture *f = *state;
	struct hdr h = { 0 };
	unsigned n = 0;

	for (unsigned i = 0; i < 200; i++)
		post_frame(f, &h, 60, 100);
	fake_kick(f->drv, TXQ);
	assert_in_range(f->net.frames, 1, 100);
	(void)fake_settle(f->drv);
	assert_int_equal(f->net.frames, 200);
	while (fake_used(f->drv, TXQ, NULL, NULL))
		n++;
	assert_int_equal(n, 200);
	/* one interrupt per batch at most */
	assert_in_range(fake_signals(f->drv, TXQ), 1, f->net.dones);
}

/* --- to the guest --- */

static uint64_t post_room(struct fixture *f, uint32_t len)
{
	uint64_t gpa = fake_alloc(f->drv, len);
	struct fake_seg seg = { gpa, len, true };

	assert_true(fake_post(f->drv, RXQ, &seg, 1) >= 0);
	return gpa;
}

static unsigned reserve(struct fixture *f, size_t len, struct iovec *iov)
{
	return f->net.link->reserve(f->net.link_ctx, len, iov, NET_LINK_IOV);
}

/* Return: false without room */
static bool send_frame(struct fixture *f, size_t len, size_t commit_len)
{
	static const struct net_offload off = { .flags = 1, .gso_type = 1, .gso_size = 1460 };
	struct iovec iov[NET_LINK_IOV];
	unsigned n = reserve(f, len, iov);

	if (!n)
		return false;
	assert_int_equal(iov_len(iov, n), len);
	for (size_t i = 0; i < len; i++) {
		uint8_t b = (uint8_t)i;

		(void)iov_write(iov, n, i, &b, 1);
	}
	f->net.link->commit(f->net.link_ctx, &off, commit_len);
	f->net.link->flush(f->net.link_ctx);
	return true;
}

static bool holds(struct fixture *f, uint64_t gpa, size_t first, size_t len)
{
	const uint8_t *p = fake_ptr(f->drv, gpa, len);

	for (size_t i = 0; i < len; i++) {
		if (p[i] != (uint8_t)(first + i))
			return false;
	}
	return true;
}

static void plug_in(struct fixture *f)
{
	fake_kick(f->drv, RXQ);
	assert_non_null(f->net.link);
}

static void test_rx_one_buffer(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = post_room(f, 2000);
	struct hdr h;
	uint32_t written;

	plug_in(f);
	assert_true(send_frame(f, 1000, 900));
	assert_true(fake_used(f->drv, RXQ, NULL, &written));
	assert_int_equal(written, HDR + 900);
	memcpy(&h, fake_ptr(f->drv, gpa, HDR), HDR);
	assert_int_equal(h.flags, 1);
	assert_int_equal(h.gso_type, 1);
	assert_int_equal(h.gso_size, 1460);
	assert_int_equal(h.num_buffers, 1);
	assert_true(holds(f, gpa + HDR, 0, 900));
	assert_int_equal(fake_signals(f->drv, RXQ), 1);
}

static void test_rx_merges_buffers_and_gives_the_rest_back(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa[5];
	uint32_t written;
	struct hdr h;

	for (unsigned i = 0; i < 5; i++)
		gpa[i] = post_room(f, 1000);
	plug_in(f);
	assert_true(send_frame(f, 3800, 1500));
	memcpy(&h, fake_ptr(f->drv, gpa[0], HDR), HDR);
	assert_int_equal(h.num_buffers, 2);
	assert_true(fake_used(f->drv, RXQ, NULL, &written));
	assert_int_equal(written, 1000);
	assert_true(fake_used(f->drv, RXQ, NULL, &written));
	assert_int_equal(written, HDR + 1500 - 1000);
	assert_false(fake_used(f->drv, RXQ, NULL, NULL));
	assert_true(holds(f, gpa[1], 1000 - HDR, 100));

	/* the other three are there for the next frame, in order */
	assert_true(send_frame(f, 2900, 2900));
	memcpy(&h, fake_ptr(f->drv, gpa[2], HDR), HDR);
	assert_int_equal(h.num_buffers, 3);
	assert_true(holds(f, gpa[2] + HDR, 0, 1000 - HDR));
}

static void test_rx_cancel_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[NET_LINK_IOV];

	for (unsigned i = 0; i < 3; i++)
		(void)post_room(f, 600);
	plug_in(f);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(reserve(f, 1700, iov), 3);
		f->net.link->cancel(f->net.link_ctx);
	}
	assert_true(send_frame(f, 1700, 1700));
	assert_int_equal(f->dev->queue[RXQ].n_inflight, 0);
}

static void test_rx_waits_for_a_frame_of_the_mtu_only(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[NET_LINK_IOV];
	unsigned n;

	plug_in(f);
	assert_int_equal(reserve(f, 100, iov), 0);
	(void)post_room(f, 1000);
	assert_int_equal(reserve(f, 60000, iov), 0);
	(void)post_room(f, HDR + FRAME_1 - 1000);
	assert_true(fake_wants_kick(f->drv, RXQ, f->drv->q[RXQ].avail_idx - 1));
	n = reserve(f, 60000, iov);
	assert_int_equal(iov_len(iov, n), FRAME_1);
	f->net.link->cancel(f->net.link_ctx);
}

static void test_rx_64k_in_small_buffers(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	for (unsigned i = 0; i < 44; i++)
		(void)post_room(f, 1536);
	plug_in(f);
	assert_true(send_frame(f, 65000, 65000));
	while (fake_used(f->drv, RXQ, NULL, NULL))
		n++;
	assert_int_equal(n, (HDR + 65000 + 1535) / 1536);
	assert_int_equal(fake_signals(f->drv, RXQ), 1);
}

/* Buffers that cannot be used come back empty, and do not keep others from being used. */
static void test_rx_returns_useless_buffers(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = fake_alloc(f->drv, 4096);
	struct fake_seg readable[] = { { gpa, 100, false } };
	struct fake_seg mixed[] = { { gpa, 100, false }, { gpa, 2000, true } };
	struct fake_seg many[300];
	uint32_t written = 1;

	for (unsigned i = 0; i < ARRAY_LEN(many); i++)
		many[i] = (struct fake_seg){ gpa + i, 1, true };
	(void)post_room(f, HDR - 1);
	assert_true(fake_post(f->drv, RXQ, readable, 1) >= 0);
	assert_true(fake_post(f->drv, RXQ, mixed, 2) >= 0);
	assert_true(fake_post(f->drv, RXQ, many, ARRAY_LEN(many)) >= 0);
	(void)post_room(f, 2000);
	plug_in(f);
	assert_true(send_frame(f, 1000, 1000));
	for (unsigned i = 0; i < 4; i++) {
		assert_true(fake_used(f->drv, RXQ, NULL, &written));
		assert_int_equal(written, 0);
	}
	assert_true(fake_used(f->drv, RXQ, NULL, &written));
	assert_int_equal(written, HDR + 1000);
	assert_false(fake_is_broken(f->drv));
}

static void test_rx_a_long_chain_ends_a_frame(void **state)
{
	struct fixture *f = *state;
	uint64_t gpa = fake_alloc(f->drv, 4096);
	struct fake_seg many[250];
	struct iovec iov[NET_LINK_IOV];
	unsigned n;

	for (unsigned i = 0; i < ARRAY_LEN(many); i++)
		many[i] = (struct fake_seg){ gpa + 8 * i, 8, true };
	assert_true(fake_post(f->drv, RXQ, many, ARRAY_LEN(many)) >= 0);
	assert_true(fake_post(f->drv, RXQ, many, ARRAY_LEN(many)) >= 0);
	plug_in(f);
	n = reserve(f, 5000, iov);
	assert_int_equal(iov_len(iov, n), 250 * 8 - HDR);
	f->net.link->cancel(f->net.link_ctx);
	assert_int_equal(f->dev->queue[RXQ].n_inflight, 0);
	assert_true(send_frame(f, 1500, 1500));
	assert_true(send_frame(f, 1500, 1500));
}

static void test_rx_without_merging(void **state)
{
	struct fixture *f = *state;
	uint32_t written;

	restart(f, FEATURES & ~VIRTIO_BIT(VIRTIO_NET_F_MRG_RXBUF));
	(void)post_room(f, HDR + 500); /* too small for this frame: comes back */
	(void)post_room(f, HDR + 2000);
	assert_true(send_frame(f, 1000, 1000));
	assert_true(fake_used(f->drv, RXQ, NULL, &written));
	assert_int_equal(written, 0);
	assert_true(fake_used(f->drv, RXQ, NULL, &written));
	assert_int_equal(written, HDR + 1000);
	(void)post_room(f, HDR + 500);
	assert_true(send_frame(f, 500, 500));
}

/* --- life --- */

static void test_takes_what_the_driver_accepted(void **state)
{
	struct fixture *f = *state;

	plug_in(f);
	assert_int_equal(
		f->net.takes, NET_TAKES_CSUM | NET_TAKES_TSO4 | NET_TAKES_TSO6 | NET_TAKES_UFO);
	restart(f, VIRTIO_BIT(VIRTIO_NET_F_GUEST_CSUM));
	assert_int_equal(f->net.takes, NET_TAKES_CSUM);
	restart(f, 0);
	assert_int_equal(f->net.takes, 0);
	assert_int_equal(f->net.attaches, 3);
	assert_int_equal(f->net.detaches, 2);
}

static void test_the_cable_follows_the_driver_without_a_kick(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_run_once(f->loop, 0, NULL), 0);
	assert_int_equal(f->net.attaches, 1);
	for (unsigned i = 0; i < 1000; i++) { /* at most one post is on its way */
		fake_driver_stop(f->drv);
		assert_int_equal(fake_driver_start(f->drv, FEATURES, NULL), 0);
	}
	fake_driver_stop(f->drv);
	assert_int_equal(loop_run_once(f->loop, 0, NULL), 0);
	assert_int_equal(f->net.attaches, 1);
	assert_int_equal(f->net.detaches, 1);
}

/* A reset that the stack has not heard of yet: it must not get the new driver's buffers. */
static void test_the_stack_of_an_earlier_round_gets_nothing(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[NET_LINK_IOV];

	plug_in(f);
	fake_driver_stop(f->drv);
	assert_int_equal(reserve(f, 100, iov), 0);
	assert_int_equal(fake_driver_start(f->drv, 0, NULL), 0);
	(void)post_room(f, 2000);
	assert_int_equal(reserve(f, 100, iov), 0);
	fake_kick(f->drv, RXQ);
	assert_int_equal(f->net.detaches, 1);
	assert_int_equal(reserve(f, 100, iov), 1);
	f->net.link->cancel(f->net.link_ctx);
}

static void *reset_device(void *arg)
{
	struct fixture *f = arg;

	pthread_mutex_lock(&f->dev->lock);
	virtio_dev_reset(f->dev);
	pthread_mutex_unlock(&f->dev->lock);
	return NULL;
}

/* On another thread, as a vCPU's: it waits until the frame is done, whichever comes first. */
static void test_reset_in_the_middle_of_a_reservation(void **state)
{
	struct fixture *f = *state;
	static const struct net_offload off;
	struct iovec iov[NET_LINK_IOV];
	pthread_t t;

	(void)post_room(f, 2000);
	plug_in(f);
	assert_int_equal(reserve(f, 1000, iov), 1);
	assert_int_equal(pthread_create(&t, NULL, reset_device, f), 0);
	memset(iov[0].iov_base, 0xaa, iov[0].iov_len);
	f->net.link->commit(f->net.link_ctx, &off, 1000);
	f->net.link->flush(f->net.link_ctx);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_false(f->dev->active);
	assert_int_equal(reserve(f, 1000, iov), 0);
}

static void test_one_queue_alone(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[NET_LINK_IOV];
	struct hdr h = { 0 };

	fake_driver_stop(f->drv);
	f->drv->q[RXQ].size = 0;
	assert_int_equal(fake_driver_start(f->drv, FEATURES, NULL), 0);
	assert_true(frame_passes(f, &h, 100));
	assert_int_equal(reserve(f, 100, iov), 0);
}

static void test_broken_rings(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[NET_LINK_IOV];

	plug_in(f);
	fake_post_head(f->drv, RXQ, 0xffff);
	assert_int_equal(reserve(f, 100, iov), 0);
	assert_true(fake_is_broken(f->drv));
	assert_int_equal(reserve(f, 100, iov), 0);
	restart(f, FEATURES);
	fake_write_desc(f->drv, TXQ, 0, (struct virtq_desc){ FAKE_LOW_SIZE - 4, 100, 0, 0 });
	fake_post_head(f->drv, TXQ, 0);
	fake_kick(f->drv, TXQ);
	assert_true(fake_is_broken(f->drv));
	assert_int_equal(f->net.frames, 0);
}

static void test_config_space(void **state)
{
	static const uint8_t expected[] = { 2, 0x6d, 0x73, 0, 0, 2, 1, 0, 1, 0, MTU & 0xff,
		MTU >> 8 };
	struct fixture *f = *state;
	uint8_t config[sizeof(expected)];

	assert_int_equal(f->dev->config_len, sizeof(expected));
	fake_config_read(f->drv, 0, config, sizeof(config));
	assert_memory_equal(config, expected, sizeof(expected));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_tx_refuses_malformed_headers),
		TEST(test_tx_refuses_offloads_that_were_not_accepted),
		TEST(test_tx_refuses_odd_chains),
		TEST(test_tx_hands_over_every_layout),
		TEST(test_tx_keeps_a_frame_that_is_too_early),
		TEST(test_reset_forgets_a_frame_that_waits),
		TEST(test_tx_bounds_the_work_of_a_kick),
		TEST(test_rx_one_buffer),
		TEST(test_rx_merges_buffers_and_gives_the_rest_back),
		TEST(test_rx_cancel_loses_nothing),
		TEST(test_rx_waits_for_a_frame_of_the_mtu_only),
		TEST(test_rx_64k_in_small_buffers),
		TEST(test_rx_returns_useless_buffers),
		TEST(test_rx_a_long_chain_ends_a_frame),
		TEST(test_rx_without_merging),
		TEST(test_takes_what_the_driver_accepted),
		TEST(test_the_cable_follows_the_driver_without_a_kick),
		TEST(test_the_stack_of_an_earlier_round_gets_nothing),
		TEST(test_reset_in_the_middle_of_a_reservation),
		TEST(test_one_queue_alone),
		TEST(test_broken_rings),
		TEST(test_config_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
