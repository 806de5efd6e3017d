/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user with a front end that sends malformed or impossible messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "virtio/vhost_user_front_test.h"

static void test_bad_memory_tables(void **state)
{
	struct front *f = *state;
	int fds[9];
	uint64_t m[1 + 9 * 4] = { 0 };

	for (unsigned i = 0; i < 9; i++)
		fds[i] = f->ram_fd;
	negotiate(f);
	assert_false(tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, 40, fds, 1)); /* 0 regions */
	assert_false(tell_table(f, GPA, 0, USER, 0));
	assert_false(tell_table(f, GPA, RAM + 1, USER, 0));
	assert_false(tell_table(f, GPA, RAM, USER, 0x1000));
	assert_false(tell_table(f, GPA, UINT64_MAX, USER, 0));
	assert_false(tell_table(f, GPA, RAM, USER, UINT64_MAX));
	assert_false(tell_table(f, UINT64_MAX - 0xfff, RAM, USER, 0));
	assert_false(tell_table(f, GPA, RAM, UINT64_MAX - 0xfff, 0));
	assert_false(tell_table(f, GPA + 0x10, 0x1000, USER, 0));
	m[0] = 2;
	for (unsigned i = 0; i < 2; i++) { /* two at one place */
		m[1 + 4 * i] = GPA;
		m[2 + 4 * i] = 0x1000;
		m[3 + 4 * i] = USER + i * 0x1000;
	}
	assert_false(tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, 72, fds, 2));
	m[5] = GPA + 0x1000; /* now only for the front end */
	m[7] = USER;
	assert_false(tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, 72, fds, 2));
	m[7] = USER + 0x1000;
	assert_true(tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, 72, fds, 2));
	assert_false(tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, 72, fds, 1)); /* one is missing */
	assert_false(tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, 72, fds, 3));
	assert_false(tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, 40, fds, 2)); /* cut off */
	m[0] = 9;
	assert_false(tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, 264, fds, 8));
	m[0] = UINT32_MAX;
	assert_false(tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, 264, fds, 8));
	assert_int_equal(f->hangups, 0);
}

static void test_bad_rings(void **state)
{
	struct front *f = *state;
	static const uint32_t bad_num[] = { 0, 3, 2 * QSIZE, 0x10000 + QSIZE, UINT32_MAX };
	static const uint32_t bad_qi[] = { NULL_DEV_QUEUES, 255, 256, UINT32_MAX };
	static const uint64_t bad_addr[][3] = {
		{ 0, USER + USED, USER + AVAIL },
		{ USER + DESC, USER + RAM, USER + AVAIL },
		{ USER + DESC, USER + USED, USER + RAM - 16 },
		{ UINT64_MAX - 15, USER + USED, USER + AVAIL },
		{ USER + DESC + 8, USER + USED, USER + AVAIL },
		{ USER + DESC, USER + DESC, USER + AVAIL },
	};

	negotiate(f);
	assert_true(tell_table(f, GPA, RAM, USER, 0));
	for (unsigned i = 0; i < ARRAY_LEN(bad_num); i++)
		assert_false(tell_state(f, VHOST_USER_SET_VRING_NUM, 0, bad_num[i]));
	assert_false(tell_state(f, VHOST_USER_SET_VRING_BASE, 0, 0x10000));
	for (unsigned i = 0; i < ARRAY_LEN(bad_qi); i++) {
		assert_false(tell_state(f, VHOST_USER_SET_VRING_NUM, bad_qi[i], QSIZE));
		assert_false(tell_state(f, VHOST_USER_SET_VRING_BASE, bad_qi[i], 0));
		assert_false(tell_state(f, VHOST_USER_SET_VRING_ENABLE, bad_qi[i], 1));
		assert_false(tell_addr(f, bad_qi[i], USER + DESC, USER + USED, USER + AVAIL));
		assert_false(tell_file(f, VHOST_USER_SET_VRING_KICK, bad_qi[i], f->kick));
		assert_false(tell_file(f, VHOST_USER_SET_VRING_CALL, bad_qi[i], f->call));
		assert_false(tell_file(f, VHOST_USER_SET_VRING_ERR, bad_qi[i], f->call));
	}
	describe_ring(f, 0, 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad_addr); i++) {
		assert_true(tell_addr(f, 0, bad_addr[i][0], bad_addr[i][1], bad_addr[i][2]));
		assert_false(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
		assert_true(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 0));
		assert_false(f->dev->queue[0].enabled);
	}
	assert_true(tell_addr(f, 0, USER + DESC, USER + USED, USER + AVAIL));
	assert_true(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
	assert_false(tell_state(f, VHOST_USER_SET_VRING_NUM, 0, 4)); /* while it runs */
	assert_false(tell_state(f, VHOST_USER_SET_VRING_BASE, 0, 4));
	assert_false(tell_addr(f, 0, USER, USER, USER));
	assert_false(tell_u64(f, VHOST_USER_SET_FEATURES, VIRTIO_BIT(VIRTIO_F_VERSION_1)));
}

static void test_bad_descriptors(void **state)
{
	struct front *f = *state;
	int p[2];

	start_ring(f);
	assert_false(tell_u64(f, VHOST_USER_SET_VRING_KICK, 0)); /* none came */
	assert_false(tell_u64(f, VHOST_USER_SET_VRING_KICK, VHOST_USER_VRING_NOFD));
	assert_false(tell_file(f, VHOST_USER_SET_VRING_CALL, VHOST_USER_VRING_NOFD, f->call));
	assert_true(tell_u64(f, VHOST_USER_SET_VRING_CALL, VHOST_USER_VRING_NOFD));
	assert_false(tell_file(f, VHOST_USER_SET_VRING_KICK, 0, f->ram_fd)); /* not pollable */
	/* a pipe whose writer goes away would be readable for ever */
	assert_int_equal(pipe(p), 0);
	assert_true(tell_file(f, VHOST_USER_SET_VRING_KICK, 0, p[0]));
	close(p[1]);
	close(p[0]);
	run_loop(f);
	unsigned kicks = f->nd->kicks;

	run_loop(f);
	assert_int_equal(f->nd->kicks, kicks);
}

static void test_refused_features(void **state)
{
	struct front *f = *state;

	negotiate(f);
	assert_false(tell_u64(f, VHOST_USER_SET_FEATURES, VIRTIO_BIT(26)));
	assert_false(tell_u64(f, VHOST_USER_SET_FEATURES, UINT64_MAX));
	assert_false(tell_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, UINT64_MAX));
	assert_false(tell_u64(f, VHOST_USER_SET_STATUS, 256));
	assert_false(tell(f, 7, NULL, 0));
	assert_false(tell(f, VHOST_USER_REQUEST_MAX, NULL, 0));
	assert_false(tell(f, UINT32_MAX, NULL, 0));
	assert_false(tell_u64(f, VHOST_USER_SET_OWNER, 0)); /* size */
	assert_false(tell(f, VHOST_USER_SET_FEATURES, NULL, 0));
	assert_false(tell_file(f, VHOST_USER_SET_FEATURES, 0, f->call)); /* unwanted descriptor */
	assert_int_equal(f->hangups, 0);
}

static void hangs_up(struct front *f, const void *data, size_t len, const int *fds, unsigned n_fds)
{
	send_raw(f, data, len, fds, n_fds);
	run_loop(f);
	assert_int_equal(f->hangups, 1);
	assert_true(f->why.code != 0);
	f->hangups = 0;
	disconnect_front(f);
	connect_front(f);
}

static void test_what_ends_the_connection(void **state)
{
	struct front *f = *state;
	uint8_t b[600] = { 0 }, zero[264] = { 0 };
	int fds[20];
	size_t len;

	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = f->ram_fd;
	len = build(b, VHOST_USER_SET_OWNER, 2, "", 0); /* version 3 */
	hangs_up(f, b, len, NULL, 0);
	len = build(b, VHOST_USER_SET_OWNER, VHOST_USER_REPLY, "", 0);
	hangs_up(f, b, len, NULL, 0);
	len = build(b, VHOST_USER_SET_OWNER, 0, "", 0);
	store_le32(b + 8, 513); /* too long */
	hangs_up(f, b, len, NULL, 0);
	store_le32(b + 8, UINT32_MAX);
	hangs_up(f, b, len, NULL, 0);
	len = build(b, VHOST_USER_SET_MEM_TABLE, 0, zero, sizeof(zero));
	hangs_up(f, b, len, fds, 9); /* too many descriptors */
	hangs_up(f, b, len, fds, 20);
	hangs_up(f, b, len, fds, 8); /* fails, and nobody asked for the result */
	len = build(b, VHOST_USER_GET_VRING_BASE, VHOST_USER_NEED_REPLY, "\xff\0\0\0\0\0\0", 8);
	hangs_up(f, b, len, NULL, 0);
}

static void test_messages_in_pieces(void **state)
{
	struct front *f = *state;
	uint8_t b[64];
	uint64_t features = VIRTIO_BIT(VIRTIO_F_VERSION_1);
	size_t len;

	negotiate(f);
	len = build(b, VHOST_USER_SET_FEATURES, VHOST_USER_NEED_REPLY, &features, 8);
	for (size_t i = 0; i < len; i++) {
		assert_false(receive(f, VHOST_USER_SET_FEATURES));
		send_raw(f, b + i, 1, NULL, 0);
		run_loop(f);
	}
	assert_true(receive(f, VHOST_USER_SET_FEATURES));
	send_raw(f, b, 15, &f->call, 1); /* never completed: closed with the rest */
	run_loop(f);
}

static void test_front_end_that_does_not_read(void **state)
{
	struct front *f = *state;
	uint8_t b[12];
	size_t len = build(b, VHOST_USER_GET_FEATURES, 0, "", 0);

	for (unsigned i = 0; i < 1000000 && f->hangups == 0; i++) {
		if (send(f->sock, b, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			run_loop(f);
	}
	assert_int_equal(f->hangups, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_bad_memory_tables),
		T(test_bad_rings),
		T(test_bad_descriptors),
		T(test_refused_features),
		T(test_what_ends_the_connection),
		T(test_messages_in_pieces),
		T(test_front_end_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
