/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user with a front end played by the test, over a socket pair, on one thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/num.h"
#include "virtio/null_dev_test.h"
#include "virtio/vhost_user_internal.h"

#define QSIZE 8
#define RAM   0x40000ULL
#define USER  0x7f1234000000ULL
#define GPA   0x100000ULL
#define DESC  0x1000
#define AVAIL 0x2000
#define USED  0x3000
#define BUF   0x10000

struct front {
	struct null_dev *nd;
	struct virtio_dev *dev;
	struct loop *loop;
	struct vhost_user *vu;
	int sock;
	int ram_fd, kick, call;
	uint8_t *ram;
	unsigned hangups;
	struct err why;
	uint16_t avail_idx;
	unsigned fds_before;
	uint8_t reply[300];
	uint32_t reply_len;
	int reply_fd;
	struct iovec iov[QSIZE];
	struct virtq_chain chain;
};

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void on_hangup(void *ctx, const struct err *why)
{
	struct front *f = ctx;

	f->hangups++;
	f->why = *why;
}

static void connect_front(struct front *f)
{
	int sv[2];

	f->nd = null_dev_new(QSIZE);
	f->dev = &f->nd->dev;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	f->sock = sv[0];
	assert_int_equal(vhost_user_attach(f->dev, sv[1], f->loop, on_hangup, f, &f->vu, NULL), 0);
}

static void disconnect_front(struct front *f)
{
	vhost_user_free(f->vu);
	f->vu = NULL;
	virtio_dev_free(f->dev);
	close(f->sock);
}

static int setup(void **state)
{
	struct front *f = calloc(1, sizeof(*f));

	*state = f;
	f->fds_before = count_fds();
	assert_int_equal(loop_new(&f->loop, NULL), 0);
	f->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->ram_fd, RAM), 0);
	f->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED, f->ram_fd, 0);
	f->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->reply_fd = -1;
	f->chain = (struct virtq_chain){ .iov = f->iov, .iov_max = QSIZE };
	connect_front(f);
	return 0;
}

static int teardown(void **state)
{
	struct front *f = *state;

	disconnect_front(f);
	loop_free(f->loop);
	munmap(f->ram, RAM);
	close(f->ram_fd);
	close(f->kick);
	close(f->call);
	if (f->reply_fd >= 0)
		close(f->reply_fd);
	assert_int_equal(count_fds(), f->fds_before); /* whatever was sent is closed again */
	free(f);
	return 0;
}

static void run_loop(struct front *f)
{
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(loop_run_once(f->loop, 0, NULL), 0);
}

/* ---- messages ---- */

static void send_raw(struct front *f, const void *data, size_t len, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(32 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > 0) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(f->sock, &mh, MSG_NOSIGNAL), len);
}

static size_t build(
	uint8_t *to, uint32_t request, uint32_t flags, const void *payload, uint32_t len)
{
	store_le32(to, request);
	store_le32(to + 4, VHOST_USER_VERSION | flags);
	store_le32(to + 8, len);
	if (len > 0)
		memcpy(to + 12, payload, len);
	return 12 + len;
}

static void send_msg(struct front *f, uint32_t request, const void *payload, uint32_t len,
	const int *fds, unsigned n_fds)
{
	uint8_t b[600];

	send_raw(f, b, build(b, request, VHOST_USER_NEED_REPLY, payload, len), fds, n_fds);
	run_loop(f);
}

/* receive() - an answer to @request, if there is one */
static bool receive(struct front *f, uint32_t request)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	uint8_t b[400];
	struct iovec iov = { b, sizeof(b) };
	struct msghdr mh = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(f->sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n <= 0)
		return false;
	assert_true(n >= 12);
	assert_int_equal(load_le32(b), request);
	assert_int_equal(load_le32(b + 4), VHOST_USER_VERSION | VHOST_USER_REPLY);
	f->reply_len = load_le32(b + 8);
	assert_int_equal(n, 12 + f->reply_len);
	memcpy(f->reply, b + 12, f->reply_len);
	if (CMSG_FIRSTHDR(&mh)) {
		assert_int_equal(f->reply_fd, -1);
		memcpy(&f->reply_fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(int));
	}
	return true;
}

/* ask() - a request with an answer of 8 bytes */
static uint64_t ask(struct front *f, uint32_t request, const void *payload, uint32_t len)
{
	send_msg(f, request, payload, len, NULL, 0);
	assert_true(receive(f, request));
	assert_int_equal(f->reply_len, 8);
	return load_le64(f->reply);
}

/* tell() - a request without an answer but the acknowledgement. Return: did it succeed? */
static bool tell_fds(struct front *f, uint32_t request, const void *payload, uint32_t len,
	const int *fds, unsigned n_fds)
{
	send_msg(f, request, payload, len, fds, n_fds);
	assert_true(receive(f, request));
	assert_int_equal(f->reply_len, 8);
	return load_le64(f->reply) == 0;
}

static bool tell(struct front *f, uint32_t request, const void *payload, uint32_t len)
{
	return tell_fds(f, request, payload, len, NULL, 0);
}

static bool tell_u64(struct front *f, uint32_t request, uint64_t v)
{
	return tell(f, request, &v, 8);
}

static bool tell_state(struct front *f, uint32_t request, uint32_t qi, uint32_t num)
{
	uint32_t s[2] = { qi, num };

	return tell(f, request, s, 8);
}

static bool tell_addr(struct front *f, uint32_t qi, uint64_t d, uint64_t u, uint64_t a)
{
	uint64_t m[5] = { qi, d, u, a, 0 };

	return tell(f, VHOST_USER_SET_VRING_ADDR, m, sizeof(m));
}

static bool tell_table(struct front *f, uint64_t gpa, uint64_t size, uint64_t user, uint64_t offset)
{
	uint64_t m[5] = { 1, gpa, size, user, offset };

	return tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, sizeof(m), &f->ram_fd, 1);
}

static bool tell_file(struct front *f, uint32_t request, uint64_t v, int fd)
{
	return tell_fds(f, request, &v, 8, &fd, 1);
}

static void negotiate(struct front *f)
{
	uint64_t v;

	v = ask(f, VHOST_USER_GET_FEATURES, NULL, 0);
	assert_true(v & VIRTIO_BIT(VHOST_USER_F_PROTOCOL_FEATURES));
	v = ask(f, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0);
	send_msg(f, VHOST_USER_SET_PROTOCOL_FEATURES, &v, 8, NULL, 0);
	assert_true(receive(f, VHOST_USER_SET_PROTOCOL_FEATURES));
	assert_true(tell(f, VHOST_USER_SET_OWNER, NULL, 0));
	v = VIRTIO_BIT(VHOST_USER_F_PROTOCOL_FEATURES) | VIRTIO_BIT(VIRTIO_F_VERSION_1) |
	    VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC);
	assert_true(tell_u64(f, VHOST_USER_SET_FEATURES, v));
}

static void describe_ring(struct front *f, uint32_t qi, uint16_t base)
{
	assert_true(tell_state(f, VHOST_USER_SET_VRING_NUM, qi, QSIZE));
	assert_true(tell_state(f, VHOST_USER_SET_VRING_BASE, qi, base));
	assert_true(tell_addr(f, qi, USER + DESC, USER + USED, USER + AVAIL));
	assert_true(tell_file(f, VHOST_USER_SET_VRING_CALL, qi, f->call));
	assert_true(tell_file(f, VHOST_USER_SET_VRING_KICK, qi, f->kick));
}

static void start_ring(struct front *f)
{
	negotiate(f);
	assert_true(tell_table(f, GPA, RAM, USER, 0));
	describe_ring(f, 0, 0);
	assert_false(f->dev->active);
	assert_true(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
	assert_true(f->dev->queue[0].enabled);
	assert_true(f->dev->active);
}

static uint32_t get_base(struct front *f, uint32_t qi)
{
	uint32_t s[2] = { qi, 0 };

	assert_true((uint32_t)ask(f, VHOST_USER_GET_VRING_BASE, s, 8) == qi);
	return load_le32(f->reply + 4);
}

/* ---- the driver behind the front end ---- */

static void post(struct front *f, uint16_t head)
{
	struct virtq_desc d = { GPA + BUF, 64, VIRTQ_DESC_F_WRITE, 0 };

	memcpy(f->ram + DESC + 16 * head, &d, 16);
	store_le16(f->ram + AVAIL + 4 + 2 * (f->avail_idx % QSIZE), head);
	__atomic_store_n(
		(uint16_t *)(void *)(f->ram + AVAIL + 2), ++f->avail_idx, __ATOMIC_RELEASE);
}

static uint16_t used_idx(struct front *f)
{
	return load_le16(f->ram + USED + 2);
}

static int pop(struct front *f)
{
	return virtqueue_pop(&f->dev->queue[0], &f->chain);
}

static void complete(struct front *f, uint16_t head)
{
	virtio_dev_complete(f->dev, 0, head, 1);
	virtio_dev_flush(f->dev, 0);
}

static bool called(struct front *f)
{
	eventfd_t n;

	return eventfd_read(f->call, &n) == 0;
}

/* ---- tests: the ordinary life ---- */

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

/* ---- malformed messages ---- */

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

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

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
		T(test_table_replaced_in_flight),
		T(test_table_without_the_ring),
		T(test_memory_slots),
		T(test_config),
		T(test_hangup_gives_everything_back),
		T(test_rekick_and_reset_device),
		T(test_successor_serves_what_was_in_flight),
		T(test_bad_inflight_logs),
		T(test_bad_memory_tables),
		T(test_bad_rings),
		T(test_bad_descriptors),
		T(test_refused_features),
		T(test_what_ends_the_connection),
		T(test_messages_in_pieces),
		T(test_front_end_that_does_not_read),
		T(test_drain_across_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
