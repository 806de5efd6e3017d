/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/fs_test_util.h"
#include "lib/num.h"
#include "virtio/fake_driver.h"
#include "virtio/fs.h"

#define HIPRIO 0
#define REQ    1
#define ALL    UINT64_MAX
#define WAIT   10000

/* struct rig - the device over a temporary directory, driven by a fake guest */
struct rig {
	struct tfs t;
	struct virtio_dev *dev;
	struct fake_driver *drv;
	uint64_t unique;
};

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	tfs_new(&r->t, NULL);
	assert_int_equal(virtio_fs_new("share", r->t.fs, &r->dev, NULL), 0);
	r->t.fs = NULL; /* the device's now */
	assert_int_equal(fake_driver_new(r->dev, NULL, &r->drv, NULL), 0);
	r->drv->q[HIPRIO].size = 16;
	r->drv->q[REQ].size = 64;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	fake_driver_free(r->drv);
	virtio_dev_free(r->dev);
	tfs_free(&r->t);
	free(r);
	return 0;
}

struct request {
	struct fuse_in_header hdr;
	union {
		struct fuse_init_in init;
		struct fuse_getattr_in getattr;
		struct fuse_open_in open;
		struct fuse_forget_in forget;
		char name[32];
	};
};

static struct request request(struct rig *r, uint32_t opcode, uint64_t node, uint32_t arg_len)
{
	return (struct request){ .hdr = {
					 .len = sizeof(struct fuse_in_header) + arg_len,
					 .opcode = opcode,
					 .unique = ++r->unique,
					 .nodeid = node,
				 } };
}

/* Send and wait. Return: the server's error; *ret_len is the used length. */
static int transact(struct rig *r, struct request *q, void *out, uint32_t room, int *ret_len)
{
	struct fuse_out_header oh;
	int len = fake_request(r->drv, REQ, q, q->hdr.len, out, room);

	*ret_len = len;
	assert_true(len >= 0 && (uint32_t)len <= room);
	if (len == 0)
		return 1;
	memcpy(&oh, out, sizeof(oh));
	assert_int_equal(oh.len, len);
	assert_int_equal(oh.unique, q->hdr.unique);
	return oh.error;
}

static void rig_start(struct rig *r, uint64_t features)
{
	struct request q = request(r, FUSE_INIT, 0, sizeof(struct fuse_init_in));
	uint8_t out[128];
	int len;

	assert_int_equal(fake_driver_start(r->drv, features, NULL), 0);
	q.init = (struct fuse_init_in){ .major = 7, .minor = 38 };
	assert_int_equal(transact(r, &q, out, sizeof(out), &len), 0);
	assert_int_equal(len, 16 + 64);
}

static uint64_t lookup(struct rig *r, const char *name)
{
	struct request q = request(r, FUSE_LOOKUP, 1, (uint32_t)strlen(name) + 1);
	uint8_t out[256];
	int len;

	strncpy(q.name, name, sizeof(q.name) - 1);
	assert_int_equal(transact(r, &q, out, sizeof(out), &len), 0);
	return load_le64(out + 16);
}

static int getattr(struct rig *r, uint64_t node)
{
	struct request q = request(r, FUSE_GETATTR, node, sizeof(struct fuse_getattr_in));
	uint8_t out[256];
	int len;

	return transact(r, &q, out, sizeof(out), &len);
}

static void tag_and_queues_are_in_config_space(void **state)
{
	struct rig *r = *state;
	char tag[36];
	uint32_t n;

	fake_config_read(r->drv, 0, tag, sizeof(tag));
	assert_string_equal(tag, "share");
	fake_config_read(r->drv, 36, &n, sizeof(n));
	assert_int_equal(n, 1);
	assert_int_equal(r->dev->config_len, 40);
}

static void tags_are_checked(void **state)
{
	struct virtio_dev *dev;
	char tag[] = "0123456789012345678901234567890123456";
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(virtio_fs_new("", NULL, &dev, &err), -EINVAL);
	assert_int_equal(strlen(tag), 37);
	assert_int_equal(virtio_fs_new(tag, NULL, &dev, &err), -EINVAL);
}

static void requests_are_answered(void **state)
{
	struct rig *r = *state;

	tfs_host_write(&r->t, "f", "content");
	rig_start(r, ALL);
	assert_int_equal(getattr(r, lookup(r, "f")), 0);
	assert_int_equal(getattr(r, 4711), -ESTALE);
}

static void a_forget_has_no_answer(void **state)
{
	struct rig *r = *state;
	uint32_t written;

	tfs_host_write(&r->t, "f", "");
	rig_start(r, ALL);
	uint64_t node = lookup(r, "f");
	struct request q = request(r, FUSE_FORGET, node, sizeof(struct fuse_forget_in));
	q.forget.nlookup = 1;
	struct fake_seg seg = { fake_alloc(r->drv, q.hdr.len), q.hdr.len, false };
	memcpy(fake_ptr(r->drv, seg.gpa, seg.len), &q, q.hdr.len);
	assert_true(fake_post(r->drv, HIPRIO, &seg, 1) >= 0);
	fake_kick(r->drv, HIPRIO);
	assert_true(fake_wait_used(r->drv, HIPRIO, NULL, &written, WAIT));
	assert_int_equal(written, 0);
	assert_int_equal(getattr(r, node), -ESTALE);
}

static void bad_chains_go_back_empty(void **state)
{
	struct rig *r = *state;
	struct request q;
	uint8_t out[256] = { 0 };
	int len;

	rig_start(r, ALL);
	q = request(r, FUSE_GETATTR, 1, sizeof(struct fuse_getattr_in));
	assert_int_equal(transact(r, &q, out, 15, &len), 1); /* no room for a header */
	assert_int_equal(fake_request(r->drv, REQ, &q, 39, out, 256), 0);
	assert_int_equal(fake_request(r->drv, REQ, NULL, 0, out, 256), 0);
	assert_int_equal(fake_request(r->drv, REQ, &q, q.hdr.len, NULL, 0), 0);
	q.hdr.len = 4096; /* more than was sent */
	len = fake_request(r->drv, REQ, &q, 56, out, 256);
	assert_int_equal(len, 16);
	assert_int_equal((int32_t)load_le32(out + 4), -EINVAL);
	assert_false(fake_is_broken(r->drv));
	assert_int_equal(getattr(r, 1), 0);
}

static void too_many_segments_are_no_reason_to_stop(void **state)
{
	struct rig *r = *state;
	static struct fake_seg seg[1024];
	uint32_t written;

	rig_start(r, ALL);
	uint64_t byte = fake_alloc(r->drv, 16);

	for (unsigned i = 0; i < ARRAY_LEN(seg); i++)
		seg[i] = (struct fake_seg){ byte, 1, i >= 512 };
	assert_int_equal(fake_post_indirect(r->drv, REQ, seg, 64) >= 0, 1);
	fake_kick(r->drv, REQ);
	assert_true(fake_wait_used(r->drv, REQ, NULL, &written, WAIT));
	assert_int_equal(written, 0);
	assert_int_equal(getattr(r, 1), 0);
}

/* One request is stuck in the host's kernel (its file is leased to us); the next one, posted
 * later, must not wait for it. */
static void a_slow_request_holds_up_nobody(void **state)
{
	struct rig *r = *state;
	uint32_t head;

	tfs_host_write(&r->t, "slow", "");
	rig_start(r, ALL);
	uint64_t node = lookup(r, "slow");
	int fd = openat(r->t.root_fd, "slow", O_RDWR | O_CLOEXEC);
	(void)signal(SIGIO, SIG_IGN);
	assert_int_equal(fcntl(fd, F_SETLEASE, F_WRLCK), 0);

	struct request q = request(r, FUSE_OPEN, node, sizeof(struct fuse_open_in));
	struct fake_seg seg[2] = { { fake_alloc(r->drv, q.hdr.len), q.hdr.len, false },
		{ fake_alloc(r->drv, 64), 64, true } };
	memcpy(fake_ptr(r->drv, seg[0].gpa, seg[0].len), &q, q.hdr.len);
	int slow = fake_post(r->drv, REQ, seg, 2);
	fake_kick(r->drv, REQ);
	/* Only once the lease is being broken is the open known to be in the kernel. */
	unsigned ms = 0;
	while (fcntl(fd, F_GETLEASE) == F_WRLCK && ms++ < WAIT)
		(void)usleep(1000);
	assert_int_not_equal(fcntl(fd, F_GETLEASE), F_WRLCK);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(getattr(r, 1), 0);
	assert_int_equal(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
	assert_true(fake_wait_used(r->drv, REQ, &head, NULL, WAIT));
	assert_int_equal(head, slow);
	(void)close(fd);
}

#define BURST 30

/* Post BURST times the same request, each with room of its own for the answer. */
static void post_burst(struct rig *r, const struct request *q, const uint64_t *answers)
{
	struct fake_seg seg[2] = { { fake_alloc(r->drv, q->hdr.len), q->hdr.len, false } };

	memcpy(fake_ptr(r->drv, seg[0].gpa, seg[0].len), q, q->hdr.len);
	for (unsigned i = 0; i < BURST; i++) {
		seg[1] = (struct fake_seg){ answers[i], 120, true };
		assert_true(fake_post(r->drv, REQ, seg, 2) >= 0);
	}
	fake_kick(r->drv, REQ);
}

static void alloc_answers(struct rig *r, uint64_t answers[BURST])
{
	for (unsigned i = 0; i < BURST; i++)
		answers[i] = fake_alloc(r->drv, 120);
}

static void a_burst_is_served_completely(void **state)
{
	struct rig *r = *state;
	uint64_t answers[BURST];
	struct request q;

	tfs_host_write(&r->t, "f", "");
	rig_start(r, ALL);
	uint64_t node = lookup(r, "f");
	q = request(r, FUSE_GETATTR, node, sizeof(struct fuse_getattr_in));
	alloc_answers(r, answers);
	for (unsigned round = 0; round < 50; round++) {
		post_burst(r, &q, answers);
		for (unsigned i = 0; i < BURST; i++) {
			uint32_t written;
			assert_true(fake_wait_used(r->drv, REQ, NULL, &written, WAIT));
			assert_int_equal(written, 120);
		}
	}
}

static void reset_forgets_the_client(void **state)
{
	struct rig *r = *state;

	tfs_host_write(&r->t, "f", "");
	for (unsigned round = 0; round < 3; round++) {
		rig_start(r, round & 1 ? ALL : 0);
		uint64_t node = lookup(r, "f");
		assert_int_equal(getattr(r, node), 0);
		fake_driver_stop(r->drv);
		rig_start(r, ALL);
		assert_int_equal(getattr(r, node), -ESTALE);
		fake_driver_stop(r->drv);
	}
}

/* Reset while requests are queued and being served: nothing may touch the rings afterwards. */
static void reset_in_the_middle_of_work(void **state)
{
	struct rig *r = *state;
	uint64_t answers[BURST];
	struct request q;

	for (unsigned round = 0; round < 30; round++) {
		rig_start(r, ALL);
		q = request(r, FUSE_GETATTR, 1, sizeof(struct fuse_getattr_in));
		alloc_answers(r, answers);
		post_burst(r, &q, answers);
		fake_driver_stop(r->drv);
		uint16_t used = fake_used_idx(r->drv, REQ);
		(void)sched_yield();
		assert_int_equal(fake_used_idx(r->drv, REQ), used);
		fake_alloc_reset(r->drv);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(tag_and_queues_are_in_config_space),
		TEST(tags_are_checked),
		TEST(requests_are_answered),
		TEST(a_forget_has_no_answer),
		TEST(bad_chains_go_back_empty),
		TEST(too_many_segments_are_no_reason_to_stop),
		TEST(a_slow_request_holds_up_nobody),
		TEST(a_burst_is_served_completely),
		TEST(reset_forgets_the_client),
		TEST(reset_in_the_middle_of_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
