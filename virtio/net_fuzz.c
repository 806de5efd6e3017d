/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver of the network device, with the real stack behind it: frames and receive buffers
 * of any shape, descriptors anywhere, ring entries and indices, kicks, resets with other features.
 * Policy denies everything, so nothing leaves this process.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/packet.h"
#include "virtio/fake_driver.h"
#include "virtio/net.h"

#define MAX_STEPS 200
#define QUEUES	  2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum step {
	STEP_FRAME, /* virtio_net_hdr and the start of a frame that the stack understands */
	STEP_ROOM,  /* a receive buffer of some size */
	STEP_DESC,  /* slot, addr, len, flags, next */
	STEP_AVAIL_IDX,
	STEP_POST, /* head */
	STEP_KICK,
	STEP_LOOP,
	STEP_RESTART, /* with which features */
	STEP_MAX
};

struct world {
	struct loop *loop;
	struct net_plan plan;
	struct net *net;
	struct virtio_dev *dev;
	struct fake_driver *drv;
	struct virtqueue_addr good[QUEUES];
};

static void quiet(void *ctx, enum log_level level, const char *line)
{
}

static void post_frame(struct world *w, struct cursor *c)
{
	uint8_t kind = cursor_u8(c), n = cursor_u8(c);
	size_t eth = kind & 1 ? ETH_HDR_LEN : 0;
	uint64_t gpa = fake_alloc(w->drv, 12 + ETH_HDR_LEN + 256);
	struct fake_seg seg[2] = { { gpa, 12, false } };
	uint8_t *p;

	n = (uint8_t)MIN_OF((size_t)n, cursor_left(c));
	if (!gpa || n < 12)
		return;
	p = fake_ptr(w->drv, gpa, 12 + ETH_HDR_LEN + 256);
	memcpy(p, cursor_bytes(c, 12), 12);
	if (eth)
		(void)eth_put(p + 12, &w->plan.gateway_mac, &w->plan.guest_mac,
			kind & 2 ? ETH_TYPE_IP6 : ETH_TYPE_IP4);
	memcpy(p + 12 + eth, cursor_bytes(c, n - 12u), n - 12u);
	seg[1] = (struct fake_seg){ gpa + 12, (uint32_t)(eth + n - 12u), false };
	(void)fake_post(w->drv, 1, seg, seg[1].len ? 2 : 1);
}

static void post_room(struct world *w, struct cursor *c)
{
	uint32_t len = cursor_le16(c);
	struct fake_seg seg = { fake_alloc(w->drv, len), len, true };

	if (seg.gpa)
		(void)fake_post(w->drv, 0, &seg, 1);
}

static uint64_t some_addr(struct cursor *c)
{
	static const uint64_t base[] = { FAKE_LOW_GPA, FAKE_LOW_SIZE - 64, FAKE_HIGH_GPA,
		FAKE_TOP_GPA - 64, FAKE_TOP_GPA + FAKE_TOP_SIZE - 64, UINT64_MAX - 63 };
	uint8_t kind = cursor_u8(c);

	return base[kind % ARRAY_LEN(base)] + cursor_le16(c);
}

static void restart(struct world *w, struct cursor *c)
{
	uint64_t features = cursor_le64(c);

	fake_driver_stop(w->drv);
	fake_alloc_reset(w->drv);
	for (unsigned qi = 0; qi < QUEUES; qi++)
		w->drv->q[qi].addr = w->good[qi];
	(void)fake_driver_start(w->drv, features, NULL);
}

static void kick(struct world *w, unsigned qi)
{
	fake_kick(w->drv, qi);
	(void)fake_settle(w->drv);
	for (unsigned i = 0; i < QUEUES; i++) {
		while (fake_used(w->drv, i, NULL, NULL))
			;
	}
}

static void do_step(struct world *w, struct cursor *c)
{
	uint8_t op = cursor_u8(c);
	unsigned qi = op >> 7;
	struct virtq_desc d;

	switch (op % STEP_MAX) {
	case STEP_FRAME:
		post_frame(w, c);
		break;
	case STEP_ROOM:
		post_room(w, c);
		break;
	case STEP_DESC:
		d.addr = some_addr(c);
		d.len = cursor_le32(c);
		d.flags = cursor_u8(c);
		d.next = cursor_le16(c);
		fake_write_desc(w->drv, qi, cursor_le16(c), d);
		break;
	case STEP_AVAIL_IDX:
		w->drv->q[qi].avail_idx = cursor_le16(c);
		fake_write_avail_idx(w->drv, qi, w->drv->q[qi].avail_idx);
		break;
	case STEP_POST:
		fake_post_head(w->drv, qi, cursor_le16(c));
		break;
	case STEP_KICK:
		kick(w, qi);
		break;
	case STEP_LOOP:
		(void)loop_run_once(w->loop, 0, NULL);
		break;
	default:
		restart(w, c);
		break;
	}
}

static void build(struct world *w)
{
	static const char json[] = "{\"policy\":{},\"dns\":{\"nameservers\":[\"127.0.0.1\"]}}";
	cleanup_net_config struct net_config conf;
	struct virtio_net_params params = { .mtu = 1500 };

	if (net_config_from_json(&conf, json, sizeof(json) - 1, NULL) < 0 ||
		net_plan_make(&conf, 0, true, true, &w->plan, NULL) < 0 ||
		loop_new(&w->loop, NULL) < 0 ||
		net_new(w->loop, &conf, &w->plan, NULL, &w->net, NULL) < 0)
		abort();
	params.net = w->net;
	params.loop = w->loop;
	params.mac = w->plan.guest_mac;
	if (virtio_net_new(&params, &w->dev, NULL) < 0 ||
		fake_driver_new(w->dev, w->loop, &w->drv, NULL) < 0)
		abort();
	for (unsigned qi = 0; qi < QUEUES; qi++)
		w->good[qi] = w->drv->q[qi].addr;
	if (fake_driver_start(w->drv, UINT64_MAX, NULL) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cursor c = cursor_init(data, len);
	struct world w = { 0 };

	log_set_sink(quiet, NULL, LOG_OFF);
	build(&w);
	for (unsigned i = 0; i < MAX_STEPS && cursor_left(&c) > 0; i++)
		do_step(&w, &c);
	kick(&w, 1);
	fake_driver_free(w.drv);
	virtio_dev_free(w.dev);
	net_free(w.net);
	loop_free(w.loop);
	return 0;
}
