/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"
#include "virtio/block.h"
#include "virtio/fake_driver.h"

#define SECTORS 256
#define SIZE	(SECTORS * BLOCK_SECTOR)
#define ALL	UINT64_MAX
#define NOTHING 0xee /* a status byte that nobody wrote */
#define WAIT_MS 10000

/* --- a backend in memory that can be held up, made to fail, and counts --- */

struct gate {
	struct block block;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool closed;
	unsigned inside, most_inside, calls, flushes;
	int fail;
	uint8_t *data;
};

static struct gate *to_gate(struct block *b)
{
	return container_of(b, struct gate, block);
}

static int gate_pass(struct block *b)
{
	struct gate *g = to_gate(b);
	int fail;

	(void)pthread_mutex_lock(&g->lock);
	g->calls++;
	g->inside++;
	g->most_inside = MAX_OF(g->most_inside, g->inside);
	(void)pthread_cond_broadcast(&g->cond);
	while (g->closed)
		(void)pthread_cond_wait(&g->cond, &g->lock);
	g->inside--;
	fail = g->fail;
	(void)pthread_mutex_unlock(&g->lock);
	return fail;
}

static int gate_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	int r = gate_pass(b);

	if (r == 0)
		(void)iov_write(iov, n, 0, to_gate(b)->data + off, iov_len(iov, n));
	return r;
}

static int gate_write(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	int r = gate_pass(b);

	if (r == 0)
		(void)iov_read(iov, n, 0, to_gate(b)->data + off, iov_len(iov, n));
	return r;
}

static int gate_flush(struct block *b)
{
	struct gate *g = to_gate(b);

	(void)pthread_mutex_lock(&g->lock);
	g->flushes++;
	(void)pthread_mutex_unlock(&g->lock);
	return g->fail;
}

static int gate_zero(struct block *b, uint64_t off, uint64_t len, bool may_unmap)
{
	int r = gate_pass(b);

	if (r == 0)
		memset(to_gate(b)->data + off, 0, len);
	return r;
}

static int gate_discard(struct block *b, uint64_t off, uint64_t len)
{
	return gate_zero(b, off, len, true);
}

static void gate_free(struct block *b)
{
	free(to_gate(b)->data);
	free(to_gate(b));
}

static const struct block_ops gate_ops = {
	.name = "gate",
	.read = gate_read,
	.write = gate_write,
	.flush = gate_flush,
	.discard = gate_discard,
	.write_zeroes = gate_zero,
	.free = gate_free,
};

static void gate_set(struct gate *g, bool closed)
{
	(void)pthread_mutex_lock(&g->lock);
	g->closed = closed;
	(void)pthread_cond_broadcast(&g->cond);
	(void)pthread_mutex_unlock(&g->lock);
}

/* Wait until @n requests are inside. */
static void gate_await(struct gate *g, unsigned n)
{
	struct timespec until;
	int r = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_MS / 1000;
	(void)pthread_mutex_lock(&g->lock);
	while (g->inside != n && r == 0)
		r = pthread_cond_timedwait(&g->cond, &g->lock, &until);
	assert_int_equal(g->inside, n);
	(void)pthread_mutex_unlock(&g->lock);
}

/* --- rig --- */

struct rig {
	struct gate *gate;
	struct virtio_dev *dev;
	struct fake_driver *drv;
};

static struct rig rig_new(bool read_only, bool unsafe, unsigned threads, uint64_t features)
{
	struct virtio_block_config cfg = { .unsafe = unsafe, .threads = threads };
	struct rig r = { .gate = calloc(1, sizeof(*r.gate)) };

	assert_non_null(r.gate);
	(void)pthread_mutex_init(&r.gate->lock, NULL);
	(void)pthread_cond_init(&r.gate->cond, NULL);
	r.gate->block = (struct block){ .ops = &gate_ops,
		.size = SIZE + 100,
		.read_only = read_only,
		.id = "id of the image" };
	r.gate->data = calloc(1, SIZE + 100);
	assert_non_null(r.gate->data);
	for (size_t i = 0; i < SIZE + 100; i++)
		r.gate->data[i] = (uint8_t)(1 + i / BLOCK_SECTOR % 250);
	cfg.image = &r.gate->block;
	assert_int_equal(virtio_block_new(&cfg, &r.dev, NULL), 0);
	assert_int_equal(fake_driver_new(r.dev, NULL, &r.drv, NULL), 0);
	assert_int_equal(fake_driver_start(r.drv, features, NULL), 0);
	return r;
}

static void rig_free(struct rig *r)
{
	fake_driver_free(r->drv);
	virtio_dev_free(r->dev);
}

static int setup(void **state)
{
	struct rig *r = malloc(sizeof(*r));

	assert_non_null(r);
	*r = rig_new(false, false, 0, ALL);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	rig_free(*state);
	free(*state);
	return 0;
}

static void put_header(uint8_t *p, uint32_t type, uint64_t sector)
{
	store_le32(p, type);
	store_le32(p + 4, 0);
	store_le64(p + 8, sector);
}

/*
 * struct request - one as a driver makes it: a header, @out_len bytes out, @in_len bytes in, status
 * After run(): @status, @written and the bytes at @in are the device's answer.
 */
struct request {
	uint32_t type;
	uint64_t sector;
	const void *out;
	void *in;
	uint32_t out_len, in_len;
	uint8_t status;
	uint32_t written;
};

static uint64_t post(struct rig *r, const struct request *rq, uint64_t *ret_in)
{
	uint64_t head = fake_alloc(r->drv, 16), out = fake_alloc(r->drv, rq->out_len),
		 in = fake_alloc(r->drv, rq->in_len), status = fake_alloc(r->drv, 1);
	struct fake_seg seg[4] = { { head, 16, false } };
	unsigned n = 1;

	put_header(fake_ptr(r->drv, head, 16), rq->type, rq->sector);
	*(uint8_t *)fake_ptr(r->drv, status, 1) = NOTHING;
	if (rq->out_len) {
		if (rq->out)
			memcpy(fake_ptr(r->drv, out, rq->out_len), rq->out, rq->out_len);
		seg[n++] = (struct fake_seg){ out, rq->out_len, false };
	}
	if (rq->in_len)
		seg[n++] = (struct fake_seg){ in, rq->in_len, true };
	seg[n++] = (struct fake_seg){ status, 1, true };
	assert_true(fake_post(r->drv, 0, seg, n) >= 0);
	if (ret_in)
		*ret_in = in;
	return status;
}

static void run(struct rig *r, struct request *rq)
{
	uint64_t mark = r->drv->brk, in, status = post(r, rq, &in);

	fake_kick(r->drv, 0);
	assert_true(fake_wait_used(r->drv, 0, NULL, &rq->written, WAIT_MS));
	rq->status = *(uint8_t *)fake_ptr(r->drv, status, 1);
	if (rq->in)
		memcpy(rq->in, fake_ptr(r->drv, in, rq->in_len), rq->in_len);
	r->drv->brk = mark;
}

static void expect(struct rig *r, struct request rq, uint8_t status)
{
	run(r, &rq);
	if (rq.status != status)
		fail_msg("type %u sector %llu out %u in %u: status %u, not %u", rq.type,
			(unsigned long long)rq.sector, rq.out_len, rq.in_len, rq.status, status);
}

static void expect_range(
	struct rig *r, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags, uint8_t status)
{
	uint8_t range[16];

	store_le64(range, sector);
	store_le32(range + 8, n);
	store_le32(range + 12, flags);
	expect(r, (struct request){ .type = type, .out = range, .out_len = 16 }, status);
}

static bool all(const uint8_t *p, size_t len, uint8_t byte)
{
	while (len && *p == byte) {
		p++;
		len--;
	}
	return !len;
}

/* --- what an honest driver sees --- */

static void test_read_write(void **state)
{
	struct rig *r = *state;
	uint8_t data[2048];
	struct request in = { .type = VIRTIO_BLK_T_IN, .sector = 3, .in = data, .in_len = 1024 };
	struct request out = {
		.type = VIRTIO_BLK_T_OUT, .sector = SECTORS - 4, .out = data, .out_len = 2048
	};

	run(r, &in);
	assert_int_equal(in.status, VIRTIO_BLK_S_OK);
	assert_int_equal(in.written, 1025);
	assert_true(all(data, 512, 4) && all(data + 512, 512, 5));
	memset(data, 0xab, sizeof(data));
	run(r, &out);
	assert_int_equal(out.status, VIRTIO_BLK_S_OK);
	assert_int_equal(out.written, 1);
	assert_true(all(r->gate->data + SIZE - 2048, 2048, 0xab));
	assert_int_not_equal(r->gate->data[SIZE - 2049], 0xab);
}

static void test_flush_and_id(void **state)
{
	struct rig *r = *state;
	uint8_t id[24];
	struct request get = { .type = VIRTIO_BLK_T_GET_ID, .in = id, .in_len = 20 };

	expect(r, (struct request){ .type = VIRTIO_BLK_T_FLUSH }, VIRTIO_BLK_S_OK);
	assert_int_equal(r->gate->flushes, 1);
	run(r, &get);
	assert_int_equal(get.status, VIRTIO_BLK_S_OK);
	assert_int_equal(get.written, 21);
	assert_memory_equal(id, "id of the image\0\0\0\0\0", 20);
	get.in_len = 24;
	run(r, &get);
	assert_int_equal(get.status, VIRTIO_BLK_S_OK);
	get.in_len = 19;
	run(r, &get);
	assert_int_equal(get.status, VIRTIO_BLK_S_IOERR);
	assert_int_equal(get.written, 0);
}

static void test_discard_and_zeroes(void **state)
{
	struct rig *r = *state;

	expect_range(r, VIRTIO_BLK_T_DISCARD, 8, 8, 0, VIRTIO_BLK_S_OK);
	assert_true(all(r->gate->data + 8 * BLOCK_SECTOR, 8 * BLOCK_SECTOR, 0));
	expect_range(r, VIRTIO_BLK_T_WRITE_ZEROES, 20, 1, 0, VIRTIO_BLK_S_OK);
	expect_range(r, VIRTIO_BLK_T_WRITE_ZEROES, 21, 1, 1, VIRTIO_BLK_S_OK);
	assert_true(all(r->gate->data + 20 * BLOCK_SECTOR, 2 * BLOCK_SECTOR, 0));
	assert_int_not_equal(r->gate->data[22 * BLOCK_SECTOR], 0);
	expect_range(r, VIRTIO_BLK_T_WRITE_ZEROES, SECTORS, 0, 0, VIRTIO_BLK_S_OK);
}

static void test_config_space(void **state)
{
	struct rig *r = *state;
	uint8_t config[60];

	assert_int_equal(r->dev->config_len, sizeof(config));
	fake_config_read(r->drv, 0, config, sizeof(config));
	assert_int_equal(load_le64(config), SECTORS); /* the tail is no sector */
	assert_int_equal(load_le32(config + 12), 254);
	assert_int_equal(load_le32(config + 40), 1);
	assert_int_equal(load_le32(config + 52), 1);
	assert_int_equal(config[56], 1);
	fake_config_read(r->drv, 4, config, 4);
	assert_int_equal(load_le32(config), 0);
}

static uint64_t seg_bytes(struct rig *r, struct fake_seg *seg, uint32_t len, bool writable)
{
	*seg = (struct fake_seg){ fake_alloc(r->drv, len), len, writable };
	return seg->gpa;
}

/* Framing is free (virtio 1.2, 2.7.4): a header in pieces, data that shares a buffer with header
 * or status. */
static void test_any_layout(void **state)
{
	struct rig *r = *state;
	struct fake_seg seg[4];
	uint8_t header[16];
	uint64_t gpa;
	uint32_t written;

	put_header(header, VIRTIO_BLK_T_OUT, 7);
	gpa = seg_bytes(r, &seg[0], 5, false);
	memcpy(fake_ptr(r->drv, gpa, 5), header, 5);
	gpa = seg_bytes(r, &seg[1], 11 + 300, false);
	memcpy(fake_ptr(r->drv, gpa, 11), header + 5, 11);
	memset(fake_ptr(r->drv, gpa + 11, 300), 'x', 300);
	gpa = seg_bytes(r, &seg[2], 212, false);
	memset(fake_ptr(r->drv, gpa, 212), 'x', 212);
	gpa = seg_bytes(r, &seg[3], 1, true);
	assert_true(fake_post_indirect(r->drv, 0, seg, 4) >= 0);
	fake_kick(r->drv, 0);
	assert_true(fake_wait_used(r->drv, 0, NULL, &written, WAIT_MS));
	assert_true(all(r->gate->data + 7 * BLOCK_SECTOR, BLOCK_SECTOR, 'x'));

	put_header(header, VIRTIO_BLK_T_IN, 7);
	gpa = seg_bytes(r, &seg[0], 16, false);
	memcpy(fake_ptr(r->drv, gpa, 16), header, 16);
	gpa = seg_bytes(r, &seg[1], 513, true);
	*(uint8_t *)fake_ptr(r->drv, gpa + 512, 1) = NOTHING;
	assert_true(fake_post(r->drv, 0, seg, 2) >= 0);
	fake_kick(r->drv, 0);
	assert_true(fake_wait_used(r->drv, 0, NULL, &written, WAIT_MS));
	assert_int_equal(written, 513);
	assert_true(all(fake_ptr(r->drv, gpa, 512), 512, 'x'));
	assert_int_equal(*(uint8_t *)fake_ptr(r->drv, gpa + 512, 1), VIRTIO_BLK_S_OK);
}

/* --- hostile requests --- */

static void test_ranges_of_reads_and_writes(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{ SECTORS, 512 },
		{ SECTORS - 1, 1024 },
		{ UINT64_MAX, 512 },
		{ UINT64_MAX / 512, 512 },
		{ UINT64_MAX / 512 + 1, 512 }, /* 0 when multiplied carelessly */
		{ UINT64_MAX / 512 + 2, 512 },
		{ 1ULL << 63, 512 },
		{ 1ULL << 55, 1024 },
		{ 0, 511 },
		{ 0, 513 },
		{ 0, 1 },
		{ 0, SIZE + 512 },
		{ SECTORS + 1, 0 },
	};
	struct rig *r = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		expect(r,
			(struct request){ .type = VIRTIO_BLK_T_IN,
				.sector = bad[i].sector,
				.in_len = bad[i].len },
			VIRTIO_BLK_S_IOERR);
		expect(r,
			(struct request){ .type = VIRTIO_BLK_T_OUT,
				.sector = bad[i].sector,
				.out_len = bad[i].len },
			VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(r->gate->calls, 0);
	expect(r, (struct request){ .type = VIRTIO_BLK_T_IN, .sector = SECTORS }, VIRTIO_BLK_S_OK);
}

static void test_ranges_of_discards(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	struct rig *r = *state;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		uint32_t t = types[i];
		static const uint8_t two[32];

		expect_range(r, t, SECTORS, 1, 0, VIRTIO_BLK_S_IOERR);
		expect_range(r, t, 0, SECTORS + 1, 0, VIRTIO_BLK_S_IOERR);
		expect_range(r, t, UINT64_MAX, 1, 0, VIRTIO_BLK_S_IOERR);
		expect_range(r, t, UINT64_MAX - 7, 16, 0, VIRTIO_BLK_S_IOERR);
		expect_range(r, t, UINT64_MAX / 512 + 1, 1, 0, VIRTIO_BLK_S_IOERR);
		expect_range(r, t, 1, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR);
		expect_range(r, t, 0, 1, 2, VIRTIO_BLK_S_UNSUPP);
		expect_range(r, t, 0, 1, 0x80000000, VIRTIO_BLK_S_UNSUPP);
		expect(r, (struct request){ .type = t, .out = two, .out_len = 32 },
			VIRTIO_BLK_S_IOERR);
		expect(r, (struct request){ .type = t, .out = two, .out_len = 15 },
			VIRTIO_BLK_S_IOERR);
		expect(r, (struct request){ .type = t }, VIRTIO_BLK_S_IOERR);
		expect(r, (struct request){ .type = t, .in_len = 16 }, VIRTIO_BLK_S_IOERR);
	}
	/* unmap is a flag of write-zeroes alone */
	expect_range(r, VIRTIO_BLK_T_DISCARD, 0, 1, 1, VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(r->gate->calls, 0);
}

static void test_read_only(void **state)
{
	struct rig r = rig_new(true, false, 0, ALL);
	uint8_t data[512];

	assert_true(r.dev->features & VIRTIO_BIT(VIRTIO_BLK_F_RO));
	assert_false(r.dev->features & VIRTIO_BIT(VIRTIO_BLK_F_DISCARD));
	expect(&r, (struct request){ .type = VIRTIO_BLK_T_OUT, .out = data, .out_len = 512 },
		VIRTIO_BLK_S_IOERR);
	expect_range(&r, VIRTIO_BLK_T_DISCARD, 0, 1, 0, VIRTIO_BLK_S_UNSUPP);
	expect_range(&r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0, VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(r.gate->calls, 0);
	expect(&r, (struct request){ .type = VIRTIO_BLK_T_IN, .in = data, .in_len = 512 },
		VIRTIO_BLK_S_OK);
	expect(&r, (struct request){ .type = VIRTIO_BLK_T_FLUSH }, VIRTIO_BLK_S_OK);
	assert_true(all(data, 512, 1) && all(r.gate->data, 512, 1));
	rig_free(&r);
}

static void test_unknown_types(void **state)
{
	static const uint32_t types[] = { 2, 3, 5, 7, 9, 10, 12, 14, 15, 24, 0x80000000, 0x80000001,
		UINT32_MAX };
	struct rig *r = *state;

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		expect(r, (struct request){ .type = types[i], .in_len = 512 }, VIRTIO_BLK_S_UNSUPP);
}

static void test_features_not_accepted(void **state)
{
	struct rig r = rig_new(false, true, 0,
		ALL & ~VIRTIO_BIT(VIRTIO_BLK_F_DISCARD) & ~VIRTIO_BIT(VIRTIO_BLK_F_WRITE_ZEROES));

	expect_range(&r, VIRTIO_BLK_T_DISCARD, 0, 1, 0, VIRTIO_BLK_S_UNSUPP);
	expect_range(&r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0, VIRTIO_BLK_S_UNSUPP);
	expect(&r, (struct request){ .type = VIRTIO_BLK_T_FLUSH }, VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(r.gate->calls, 0);
	rig_free(&r);
}

/* Chains that are no request at all: they come back, with a status where there is room for one. */
static void test_misshapen_chains(void **state)
{
	struct rig *r = *state;
	uint8_t header[16], in[3] = { NOTHING, NOTHING, NOTHING };

	put_header(header, VIRTIO_BLK_T_IN, 0);
	assert_int_equal(fake_request(r->drv, 0, header, 16, NULL, 0), 0);
	assert_int_equal(fake_request(r->drv, 0, header, 1, NULL, 0), 0);
	assert_int_equal(fake_request(r->drv, 0, NULL, 0, in, 1), 1);
	assert_int_equal(in[0], VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_request(r->drv, 0, header, 15, in, 1), 1);
	assert_int_equal(in[0], VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_request(r->drv, 0, NULL, 0, in, 3), 0);
	assert_int_equal(in[2], VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_request(r->drv, 0, header, 16, in, 3), 0);
	assert_int_equal(in[2], VIRTIO_BLK_S_IOERR);
	assert_false(fake_is_broken(r->drv));
	assert_int_equal(r->gate->calls, 0);
}

static void await_broken(struct rig *r)
{
	struct timespec nap = { .tv_nsec = 1000000 };

	for (int i = 0; i < WAIT_MS && !fake_is_broken(r->drv); i++)
		(void)nanosleep(&nap, NULL);
	assert_true(fake_is_broken(r->drv));
}

static void test_broken_ring(void **state)
{
	struct rig *r = *state;

	fake_write_desc(r->drv, 0, 9, (struct virtq_desc){ 0, 16, VIRTQ_DESC_F_NEXT, 9 });
	fake_post_head(r->drv, 0, 9);
	fake_kick(r->drv, 0);
	await_broken(r);
	fake_driver_stop(r->drv);
	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
	expect(r, (struct request){ .type = VIRTIO_BLK_T_IN, .in_len = 512 }, VIRTIO_BLK_S_OK);
}

/* --- the host's failures, and flushes --- */

static void test_host_errors(void **state)
{
	struct rig *r = *state;
	uint8_t data[512];
	struct request in = { .type = VIRTIO_BLK_T_IN, .in = data, .in_len = 512 };

	r->gate->fail = -ENOSPC;
	expect(r, (struct request){ .type = VIRTIO_BLK_T_OUT, .out_len = 512 }, VIRTIO_BLK_S_IOERR);
	expect(r, (struct request){ .type = VIRTIO_BLK_T_FLUSH }, VIRTIO_BLK_S_IOERR);
	expect_range(r, VIRTIO_BLK_T_DISCARD, 0, 1, 0, VIRTIO_BLK_S_IOERR);
	run(r, &in);
	assert_int_equal(in.status, VIRTIO_BLK_S_IOERR);
	assert_int_equal(in.written, 0);
	r->gate->fail = 0;
	expect(r, in, VIRTIO_BLK_S_OK);
}

/* struct lines - what was logged; @n: how often */
struct lines {
	unsigned n;
	char last[256];
};

static void count_line(void *ctx, enum log_level level, const char *line)
{
	struct lines *lines = ctx;

	lines->n++;
	(void)snprintf(lines->last, sizeof(lines->last), "%s", line);
}

/* The user hears once of which disk it was; of what a guest asks for wrongly, nothing. */
static void test_host_errors_are_said(void **state)
{
	struct request out = { .type = VIRTIO_BLK_T_OUT, .out_len = 512 };
	struct rig *r = *state;
	struct lines lines = { 0 };

	r->gate->block.label = "disk image 'my.raw'";
	log_set_sink(count_line, &lines, LOG_WARN);
	r->gate->fail = -EINVAL;
	expect(r, out, VIRTIO_BLK_S_IOERR);
	r->gate->fail = -EOPNOTSUPP;
	expect(r, out, VIRTIO_BLK_S_UNSUPP);
	out.sector = SECTORS;
	expect(r, out, VIRTIO_BLK_S_IOERR);
	assert_int_equal(lines.n, 0);
	out.sector = 0;
	r->gate->fail = -ENOSPC;
	expect(r, out, VIRTIO_BLK_S_IOERR);
	expect(r, (struct request){ .type = VIRTIO_BLK_T_FLUSH }, VIRTIO_BLK_S_IOERR);
	log_set_sink(NULL, NULL, LOG_OFF);
	assert_int_equal(lines.n, 1);
	assert_string_equal(lines.last,
		"disk image 'my.raw': cannot write: No space left on device; the guest gets an I/O "
		"error");
}

static unsigned flushes_of_a_write(bool unsafe, uint64_t features)
{
	struct rig r = rig_new(false, unsafe, 0, features);
	unsigned n;

	expect(&r, (struct request){ .type = VIRTIO_BLK_T_OUT, .out_len = 512 }, VIRTIO_BLK_S_OK);
	expect(&r, (struct request){ .type = VIRTIO_BLK_T_IN, .in_len = 512 }, VIRTIO_BLK_S_OK);
	n = r.gate->flushes;
	rig_free(&r);
	return n;
}

static void test_write_through_without_flush(void **state)
{
	assert_int_equal(flushes_of_a_write(false, ALL), 0);
	assert_int_equal(flushes_of_a_write(false, ALL & ~VIRTIO_BIT(VIRTIO_BLK_F_FLUSH)), 1);
	assert_int_equal(flushes_of_a_write(true, ALL), 0);
}

/* --- several at once --- */

static void test_requests_run_side_by_side(void **state)
{
	struct rig r = rig_new(false, false, 4, ALL);
	struct request in = { .type = VIRTIO_BLK_T_IN, .in_len = 512 };

	gate_set(r.gate, true);
	/* one by one, kicking as Linux does: only when the device has asked for it (event-idx) */
	for (unsigned i = 0; i < 4; i++) {
		uint16_t old = r.drv->q[0].avail_idx;

		(void)post(&r, &in, NULL);
		assert_true(fake_wants_kick(r.drv, 0, old));
		fake_kick(r.drv, 0);
		gate_await(r.gate, i + 1);
	}
	gate_set(r.gate, false);
	for (unsigned i = 0; i < 4; i++)
		assert_true(fake_wait_used(r.drv, 0, NULL, NULL, WAIT_MS));
	/* and a batch with a single kick spreads over the workers by itself */
	gate_set(r.gate, true);
	for (unsigned i = 0; i < 6; i++)
		(void)post(&r, &in, NULL);
	fake_kick(r.drv, 0);
	gate_await(r.gate, 4);
	gate_set(r.gate, false);
	for (unsigned i = 0; i < 6; i++)
		assert_true(fake_wait_used(r.drv, 0, NULL, NULL, WAIT_MS));
	assert_int_equal(r.gate->most_inside, 4);
	rig_free(&r);
}

static void *reset_device(void *arg)
{
	struct rig *r = arg;
	unsigned inside;

	fake_driver_stop(r->drv);
	(void)pthread_mutex_lock(&r->gate->lock);
	inside = r->gate->inside;
	(void)pthread_mutex_unlock(&r->gate->lock);
	return inside ? r : NULL;
}

static void test_reset_waits_for_requests(void **state)
{
	struct rig r = rig_new(false, false, 2, ALL);
	struct request in = { .type = VIRTIO_BLK_T_IN, .in_len = 512 };
	pthread_t thread;
	void *left;

	gate_set(r.gate, true);
	for (unsigned i = 0; i < 30; i++)
		(void)post(&r, &in, NULL);
	fake_kick(r.drv, 0);
	gate_await(r.gate, 2);
	assert_int_equal(pthread_create(&thread, NULL, reset_device, &r), 0);
	gate_set(r.gate, false);
	assert_int_equal(pthread_join(thread, &left), 0);
	assert_null(left); /* nobody was inside when reset returned */
	assert_int_equal(fake_driver_start(r.drv, ALL, NULL), 0);
	expect(&r, in, VIRTIO_BLK_S_OK);
	rig_free(&r);
}

static void test_constructor(void **state)
{
	struct rig *r = *state;
	struct virtio_block_config cfg = { .image = &r->gate->block,
		.serial = "more than twenty bytes!",
		.threads = VIRTIO_BLOCK_MAX_THREADS + 1 };
	struct virtio_dev *dev = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(virtio_block_new(&cfg, &dev, &err), -EINVAL);
	assert_string_equal(err.msg, "a block device has at most 8 threads, not 9");
	assert_null(dev);
}

static void test_serial_and_real_image(void **state)
{
	struct virtio_block_config cfg = { .serial = "more than twenty bytes!" };
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct rig r = { 0 };
	uint8_t data[512];
	char id[20];
	struct request get = { .type = VIRTIO_BLK_T_GET_ID, .in = id, .in_len = 20 };

	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(block_raw_open(fd, false, &cfg.image, NULL), 0);
	assert_int_equal(virtio_block_new(&cfg, &r.dev, NULL), 0);
	assert_int_equal(fake_driver_new(r.dev, NULL, &r.drv, NULL), 0);
	assert_int_equal(fake_driver_start(r.drv, ALL, NULL), 0);
	run(&r, &get);
	assert_memory_equal(id, "more than twenty byt", 20);
	memset(data, 'r', sizeof(data));
	expect(&r,
		(struct request){
			.type = VIRTIO_BLK_T_OUT, .sector = 9, .out = data, .out_len = 512 },
		VIRTIO_BLK_S_OK);
	memset(data, 0, sizeof(data));
	assert_int_equal(pread(fd, data, 512, 9 * 512), 512);
	assert_true(all(data, 512, 'r'));
	rig_free(&r);
	close(fd);
}

#define rig_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rig_test(test_read_write),
		rig_test(test_flush_and_id),
		rig_test(test_discard_and_zeroes),
		rig_test(test_config_space),
		rig_test(test_any_layout),
		rig_test(test_ranges_of_reads_and_writes),
		rig_test(test_ranges_of_discards),
		cmocka_unit_test(test_read_only),
		rig_test(test_unknown_types),
		cmocka_unit_test(test_features_not_accepted),
		rig_test(test_misshapen_chains),
		rig_test(test_broken_ring),
		rig_test(test_host_errors),
		rig_test(test_host_errors_are_said),
		cmocka_unit_test(test_write_through_without_flush),
		cmocka_unit_test(test_requests_run_side_by_side),
		cmocka_unit_test(test_reset_waits_for_requests),
		rig_test(test_constructor),
		cmocka_unit_test(test_serial_and_real_image),
	};

	log_set_sink(NULL, NULL, LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
