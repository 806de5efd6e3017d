/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user with a front end that keeps to the protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>

#include "virtio/vhost_user_front_test.h"

static void test_requests_are_served(void **state)
{
	struct front *f = *state;

	start_ring(f);
	(void)called(f);
	unsigned kicks = f->nd->kicks;
	post(f, 2);
	assert_int_equal(eventfd_write(f->kick, 1), 0);
	run_loop(f);
	assert_int_equal(f->nd->kicks, kicks + 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 2);
	memset(f->chain.iov[0].iov_base, 0x77, 64);
	complete(f, 2);
	assert_true(called(f));
	assert_int_equal(used_idx(f), 1);
	assert_int_equal(f->ram[BUF + 63], 0x77);
	assert_true(virtio_dev_has(f->dev, VIRTIO_F_VERSION_1));
	assert_false(virtio_dev_has(f->dev, VHOST_USER_F_PROTOCOL_FEATURES));
}

static void test_stop_and_start_again(void **state)
{
	struct front *f = *state;

	start_ring(f);
	post(f, 0);
	post(f, 1);
	assert_int_equal(pop(f), 1);
	complete(f, 0);
	assert_int_equal(get_base(f, 0), 1);
	assert_false(f->dev->active);
	assert_int_equal(f->nd->resets, 1);
	assert_int_equal(pop(f), 0);
	describe_ring(f, 0, 1);
	assert_true(f->dev->active); /* still enabled */
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 1);
	complete(f, 1);
	assert_int_equal(used_idx(f), 2);
}

static void test_stop_waits_for_requests(void **state)
{
	struct front *f = *state;
	uint32_t s[2] = { 0, 0 };

	start_ring(f);
	post(f, 0);
	post(f, 1);
	assert_int_equal(pop(f), 1);
	send_msg(f, VHOST_USER_GET_VRING_BASE, s, 8, NULL, 0);
	send_msg(f, VHOST_USER_GET_QUEUE_NUM, NULL, 0, NULL, 0);
	assert_false(receive(f, VHOST_USER_GET_VRING_BASE));
	assert_int_equal(pop(f), 0); /* takes no more */
	complete(f, 0);
	run_loop(f);
	uint8_t b[40];

	assert_int_equal(recv(f->sock, b, sizeof(b), MSG_DONTWAIT), 40); /* both, in order */
	assert_int_equal(load_le32(b), VHOST_USER_GET_VRING_BASE);
	assert_int_equal(load_le32(b + 16), 1);
	assert_int_equal(load_le32(b + 20), VHOST_USER_GET_QUEUE_NUM);
	assert_int_equal(load_le64(b + 32), NULL_DEV_QUEUES);
	assert_int_equal(used_idx(f), 1);
}

static void test_stop_resets_a_device_that_does_not_finish(void **state)
{
	struct front *f = *state;
	uint32_t s[2] = { 0, 0 };

	start_ring(f);
	post(f, 0);
	assert_int_equal(pop(f), 1);
	send_msg(f, VHOST_USER_GET_VRING_BASE, s, 8, NULL, 0);
	vu_on_drain_timeout(f->vu);
	assert_true(receive(f, VHOST_USER_GET_VRING_BASE));
	assert_int_equal(load_le32(f->reply + 4), 1);
	assert_int_equal(f->nd->resets, 1);
	complete(f, 0); /* late: goes nowhere */
	assert_int_equal(used_idx(f), 0);
	assert_int_equal(ask(f, VHOST_USER_GET_QUEUE_NUM, NULL, 0), NULL_DEV_QUEUES);
}

static void test_front_end_dies_while_stopping(void **state)
{
	struct front *f = *state;
	uint32_t s[2] = { 0, 0 };

	start_ring(f);
	post(f, 0);
	assert_int_equal(pop(f), 1);
	send_msg(f, VHOST_USER_GET_VRING_BASE, s, 8, NULL, 0);
	shutdown(f->sock, SHUT_RDWR);
	run_loop(f);
	assert_int_equal(f->hangups, 1);
	assert_int_equal(f->nd->resets, 1);
}

static void test_disable_pauses(void **state)
{
	struct front *f = *state;

	start_ring(f);
	assert_true(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 0));
	post(f, 0);
	assert_int_equal(pop(f), 0);
	unsigned kicks = f->nd->kicks;

	assert_true(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
	assert_int_equal(f->nd->kicks, kicks + 1);
	assert_int_equal(pop(f), 1);
	assert_false(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 2));
}

static void test_without_protocol_features_rings_start_enabled(void **state)
{
	struct front *f = *state;

	negotiate(f);
	assert_true(tell_u64(f, VHOST_USER_SET_FEATURES, VIRTIO_BIT(VIRTIO_F_VERSION_1)));
	assert_true(tell_table(f, GPA, RAM, USER, 0));
	describe_ring(f, 0, 0);
	assert_true(f->dev->active);
	assert_false(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
}

/* As QEMU does for net devices: before the driver accepted features, and again afterwards. */
static void test_rings_may_be_enabled_before_features(void **state)
{
	struct front *f = *state;

	static const uint32_t on[2] = { 0, 1 };

	send_msg(f, VHOST_USER_SET_VRING_ENABLE, on, sizeof(on), NULL, 0);
	negotiate(f);
	assert_true(tell_table(f, GPA, RAM, USER, 0));
	assert_false(f->dev->active);
	describe_ring(f, 0, 0);
	assert_true(f->dev->active);
	assert_true(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
}

static void test_order_does_not_matter(void **state)
{
	struct front *f = *state;

	negotiate(f);
	assert_true(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
	describe_ring(f, 0, 0);
	assert_false(f->dev->active);
	assert_true(tell_table(f, GPA, RAM, USER, 0));
	assert_true(f->dev->active);
}

static void test_table_replaced_in_flight(void **state)
{
	struct front *f = *state;

	start_ring(f);
	post(f, 0);
	assert_int_equal(pop(f), 1);
	uint8_t *old = f->iov[0].iov_base;

	/* the same RAM, elsewhere for the guest: rings are found through the front end's addresses
	 */
	assert_true(tell_table(f, 2 * GPA, RAM, USER, 0));
	memset(old, 0x11, 64); /* the request keeps its memory */
	assert_int_equal(f->ram[BUF], 0x11);
	complete(f, 0);
	assert_int_equal(used_idx(f), 1);
	post(f, 1); /* at GPA, which is no memory any more */
	assert_int_equal(pop(f), -EBADMSG);
}

static void test_table_without_the_ring(void **state)
{
	struct front *f = *state;

	start_ring(f);
	assert_false(tell_table(f, GPA, 0x2000, USER, 0));
	assert_true(f->dev->broken);
	assert_int_equal(ask(f, VHOST_USER_GET_STATUS, NULL, 0), 0x40);
	assert_true(tell_u64(f, VHOST_USER_SET_STATUS, 0));
	assert_false(f->dev->active);
	assert_int_equal(ask(f, VHOST_USER_GET_STATUS, NULL, 0), 0);
}

static void test_memory_slots(void **state)
{
	struct front *f = *state;
	uint64_t low[5] = { 0, GPA, 0x8000, USER, 0 };
	uint64_t high[5] = { 0, GPA + 0x8000, RAM - 0x8000, USER + 0x8000, 0x8000 };

	negotiate(f);
	assert_int_equal(ask(f, VHOST_USER_GET_MAX_MEM_SLOTS, NULL, 0), VHOST_USER_MAX_MEM_SLOTS);
	assert_true(tell_fds(f, VHOST_USER_ADD_MEM_REG, low, 40, &f->ram_fd, 1));
	describe_ring(f, 0, 0);
	assert_true(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
	post(f, 0);
	assert_true(tell_fds(f, VHOST_USER_ADD_MEM_REG, high, 40, &f->ram_fd, 1));
	assert_int_equal(pop(f), 1);
	assert_true(tell_fds(f, VHOST_USER_REM_MEM_REG, high, 40, &f->ram_fd, 1));
	memset(f->iov[0].iov_base, 1, 64); /* still in flight, still mapped */
	complete(f, 0);
	post(f, 0);
	assert_int_equal(pop(f), -EBADMSG);
	assert_false(tell(f, VHOST_USER_REM_MEM_REG, high, 40));
	assert_false(tell_fds(f, VHOST_USER_ADD_MEM_REG, low, 40, &f->ram_fd, 1));
	assert_false(tell(f, VHOST_USER_ADD_MEM_REG, high, 40));
}

static void test_config(void **state)
{
	struct front *f = *state;
	uint8_t m[12 + 256] = { 0 };

	negotiate(f);
	memset(f->nd->config, 5, sizeof(f->nd->config));
	store_le32(m, 8);
	store_le32(m + 4, 60);
	send_msg(f, VHOST_USER_GET_CONFIG, m, 72, NULL, 0);
	assert_true(receive(f, VHOST_USER_GET_CONFIG));
	assert_int_equal(f->reply_len, 72);
	assert_int_equal(f->reply[12 + 7], 5);
	assert_int_equal(f->reply[12 + 8], 0); /* beyond our config space */
	static const uint32_t bad[][2] = { { 0, 59 }, { 0, 61 }, { 197, 60 }, { UINT32_MAX, 60 },
		{ 60, UINT32_MAX } };
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		store_le32(m, bad[i][0]);
		store_le32(m + 4, bad[i][1]);
		send_msg(f, VHOST_USER_GET_CONFIG, m, 72, NULL, 0);
		assert_true(receive(f, VHOST_USER_GET_CONFIG));
		assert_int_equal(f->reply_len, 0);
		assert_false(tell(f, VHOST_USER_SET_CONFIG, m, 72));
	}
	store_le32(m, 15);
	store_le32(m + 4, 1);
	m[12] = 9;
	assert_true(tell(f, VHOST_USER_SET_CONFIG, m, 13));
	assert_int_equal(f->nd->config[15], 9);
	store_le32(m, 16);
	assert_false(tell(f, VHOST_USER_SET_CONFIG, m, 13));
}

static void test_hangup_gives_everything_back(void **state)
{
	struct front *f = *state;

	start_ring(f);
	post(f, 0);
	assert_int_equal(pop(f), 1);
	shutdown(f->sock, SHUT_RDWR);
	run_loop(f);
	assert_int_equal(f->hangups, 1);
	assert_int_equal(f->why.code, 0);
	assert_int_equal(f->nd->resets, 1);
	assert_null(f->dev->mem);
	run_loop(f);
	assert_int_equal(f->hangups, 1);
}

static void test_rekick_and_reset_device(void **state)
{
	struct front *f = *state;

	start_ring(f);
	unsigned kicks = f->nd->kicks;

	virtio_dev_rekick(f->dev, 0);
	virtio_dev_rekick(f->dev, 1); /* not running */
	run_loop(f);
	assert_int_equal(f->nd->kicks, kicks + 1);
	assert_true(tell(f, VHOST_USER_RESET_DEVICE, NULL, 0));
	assert_false(f->dev->active);
	virtio_dev_rekick(f->dev, 0);
	run_loop(f);
	assert_int_equal(f->nd->kicks, kicks + 1);
}

/* ---- in-flight log: the back end dies with requests, its successor serves them ---- */

static void set_inflight(struct front *f, int fd)
{
	uint64_t m[3] = { load_le64(f->reply), 0, 1 | QSIZE << 16 };

	assert_true(tell_fds(f, VHOST_USER_SET_INFLIGHT_FD, m, 20, &fd, 1));
}

static void test_successor_serves_what_was_in_flight(void **state)
{
	struct front *f = *state;
	uint64_t m[3] = { 0, 0, 1 | QSIZE << 16 };
	uint8_t log_msg[8];

	negotiate(f);
	send_msg(f, VHOST_USER_GET_INFLIGHT_FD, m, 20, NULL, 0);
	assert_true(receive(f, VHOST_USER_GET_INFLIGHT_FD));
	assert_true(f->reply_fd >= 0);
	assert_true(load_le64(f->reply) >= inflight_log_size(QSIZE));
	memcpy(log_msg, f->reply, 8);
	set_inflight(f, f->reply_fd);
	start_ring(f);
	assert_false(tell_fds(f, VHOST_USER_SET_INFLIGHT_FD, m, 20, &f->reply_fd, 1)); /* busy */
	for (uint16_t head = 0; head < 5; head++)
		post(f, 4 - head);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pop(f), 1);
	complete(f, 3);
	/* died between telling the driver and the log: the last store of a push is missing */
	struct inflight_log *log = f->dev->queue[0].inflight;
	log->desc[3].inflight = 1;
	log->used_idx = 0;
	disconnect_front(f);

	connect_front(f);
	negotiate(f);
	memcpy(f->reply, log_msg, 8);
	set_inflight(f, f->reply_fd);
	start_ring(f);
	static const uint16_t expected[] = { 4, 2, 1, 0 };
	for (unsigned i = 0; i < ARRAY_LEN(expected); i++) {
		assert_true(virtqueue_has_avail(&f->dev->queue[0]));
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.head, expected[i]);
		if (i == 1) { /* an undone one comes again */
			virtqueue_pop_undo(&f->dev->queue[0], &f->chain);
			assert_int_equal(pop(f), 1);
			assert_int_equal(f->chain.head, expected[i]);
		}
		complete(f, expected[i]);
	}
	assert_int_equal(pop(f), 0);
	assert_int_equal(used_idx(f), 5);
	assert_int_equal(get_base(f, 0), 5);
}

static void test_bad_inflight_logs(void **state)
{
	struct front *f = *state;
	const uint64_t size = inflight_log_size(QSIZE);
	const uint64_t bad[][3] = {
		{ size, 0, 0 | QSIZE << 16 },			  /* no queue */
		{ size, 0, (NULL_DEV_QUEUES + 1) | QSIZE << 16 }, /* too many */
		{ size, 0, 1 },					  /* of size 0 */
		{ size, 0, 1 | 0x8000U << 16 },			  /* of too large a size */
		{ size - 1, 0, 1 | QSIZE << 16 },		  /* too small */
		{ RAM, 0x1000, 1 | QSIZE << 16 },		  /* beyond the file */
		{ UINT64_MAX, 0, 1 | QSIZE << 16 }, { size, UINT64_MAX, 1 | QSIZE << 16 },
		{ size, 8, 1 | QSIZE << 16 }, /* offset not page aligned */
	};

	negotiate(f);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(tell_fds(f, VHOST_USER_SET_INFLIGHT_FD, bad[i], 20, &f->ram_fd, 1));
	uint64_t m[3] = { size, 0, 1 | QSIZE << 16 };
	assert_false(tell(f, VHOST_USER_SET_INFLIGHT_FD, m, 20));
	/* a log of another ring size */
	struct inflight_log *log = (void *)f->ram;
	log->version = 1;
	log->desc_num = QSIZE / 2;
	assert_true(tell_fds(f, VHOST_USER_SET_INFLIGHT_FD, m, 20, &f->ram_fd, 1));
	assert_true(tell_table(f, GPA, RAM, USER, 0));
	describe_ring(f, 0, 0);
	assert_false(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
	assert_false(f->dev->queue[0].enabled);
	assert_null(f->dev->queue[0].mem);
}

/* ---- completion on another thread while the front end stops the ring ---- */

static void *complete_late(void *arg)
{
	complete(arg, 0);
	return NULL;
}

static void test_drain_across_threads(void **state)
{
	struct front *f = *state;
	uint32_t s[2] = { 0, 0 };
	pthread_t tid;

	start_ring(f);
	post(f, 0);
	assert_int_equal(pop(f), 1);
	send_msg(f, VHOST_USER_GET_VRING_BASE, s, 8, NULL, 0);
	assert_int_equal(pthread_create(&tid, NULL, complete_late, f), 0);
	while (!receive(f, VHOST_USER_GET_VRING_BASE))
		assert_int_equal(loop_run_once(f->loop, 10000, NULL), 0);
	pthread_join(tid, NULL);
	assert_int_equal(load_le32(f->reply + 4), 1);
	assert_int_equal(used_idx(f), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_requests_are_served),
		T(test_stop_and_start_again),
		T(test_stop_waits_for_requests),
		T(test_stop_resets_a_device_that_does_not_finish),
		T(test_front_end_dies_while_stopping),
		T(test_disable_pauses),
		T(test_without_protocol_features_rings_start_enabled),
		T(test_order_does_not_matter),
		T(test_rings_may_be_enabled_before_features),
		T(test_table_replaced_in_flight),
		T(test_table_without_the_ring),
		T(test_memory_slots),
		T(test_config),
		T(test_hangup_gives_everything_back),
		T(test_rekick_and_reset_device),
		T(test_successor_serves_what_was_in_flight),
		T(test_bad_inflight_logs),
		T(test_drain_across_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
