/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a vhost-user front end played by the test, over a socket pair, on one thread, and the
 * driver behind it. Include cmocka.h first.
 */
#ifndef VIRTIO_VHOST_USER_FRONT_TEST_H
#define VIRTIO_VHOST_USER_FRONT_TEST_H

#include <dirent.h>
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

static inline unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static inline void on_hangup(void *ctx, const struct err *why)
{
	struct front *f = ctx;

	f->hangups++;
	f->why = *why;
}

static inline void connect_front(struct front *f)
{
	int sv[2];

	f->nd = null_dev_new(QSIZE);
	f->dev = &f->nd->dev;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	f->sock = sv[0];
	assert_int_equal(vhost_user_attach(f->dev, sv[1], f->loop, on_hangup, f, &f->vu, NULL), 0);
}

static inline void disconnect_front(struct front *f)
{
	vhost_user_free(f->vu);
	f->vu = NULL;
	virtio_dev_free(f->dev);
	close(f->sock);
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void run_loop(struct front *f)
{
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(loop_run_once(f->loop, 0, NULL), 0);
}

/* ---- messages ---- */

static inline void send_raw(
	struct front *f, const void *data, size_t len, const int *fds, unsigned n_fds)
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

static inline size_t build(
	uint8_t *to, uint32_t request, uint32_t flags, const void *payload, uint32_t len)
{
	store_le32(to, request);
	store_le32(to + 4, VHOST_USER_VERSION | flags);
	store_le32(to + 8, len);
	if (len > 0)
		memcpy(to + 12, payload, len);
	return 12 + len;
}

static inline void send_msg(struct front *f, uint32_t request, const void *payload, uint32_t len,
	const int *fds, unsigned n_fds)
{
	uint8_t b[600];

	send_raw(f, b, build(b, request, VHOST_USER_NEED_REPLY, payload, len), fds, n_fds);
	run_loop(f);
}

/* receive() - an answer to @request, if there is one */
static inline bool receive(struct front *f, uint32_t request)
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
static inline uint64_t ask(struct front *f, uint32_t request, const void *payload, uint32_t len)
{
	send_msg(f, request, payload, len, NULL, 0);
	assert_true(receive(f, request));
	assert_int_equal(f->reply_len, 8);
	return load_le64(f->reply);
}

/* tell() - a request without an answer but the acknowledgement. Return: did it succeed? */
static inline bool tell_fds(struct front *f, uint32_t request, const void *payload, uint32_t len,
	const int *fds, unsigned n_fds)
{
	send_msg(f, request, payload, len, fds, n_fds);
	assert_true(receive(f, request));
	assert_int_equal(f->reply_len, 8);
	return load_le64(f->reply) == 0;
}

static inline bool tell(struct front *f, uint32_t request, const void *payload, uint32_t len)
{
	return tell_fds(f, request, payload, len, NULL, 0);
}

static inline bool tell_u64(struct front *f, uint32_t request, uint64_t v)
{
	return tell(f, request, &v, 8);
}

static inline bool tell_state(struct front *f, uint32_t request, uint32_t qi, uint32_t num)
{
	uint32_t s[2] = { qi, num };

	return tell(f, request, s, 8);
}

static inline bool tell_addr(struct front *f, uint32_t qi, uint64_t d, uint64_t u, uint64_t a)
{
	uint64_t m[5] = { qi, d, u, a, 0 };

	return tell(f, VHOST_USER_SET_VRING_ADDR, m, sizeof(m));
}

static inline bool tell_table(
	struct front *f, uint64_t gpa, uint64_t size, uint64_t user, uint64_t offset)
{
	uint64_t m[5] = { 1, gpa, size, user, offset };

	return tell_fds(f, VHOST_USER_SET_MEM_TABLE, m, sizeof(m), &f->ram_fd, 1);
}

static inline bool tell_file(struct front *f, uint32_t request, uint64_t v, int fd)
{
	return tell_fds(f, request, &v, 8, &fd, 1);
}

static inline void negotiate(struct front *f)
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

static inline void describe_ring(struct front *f, uint32_t qi, uint16_t base)
{
	assert_true(tell_state(f, VHOST_USER_SET_VRING_NUM, qi, QSIZE));
	assert_true(tell_state(f, VHOST_USER_SET_VRING_BASE, qi, base));
	assert_true(tell_addr(f, qi, USER + DESC, USER + USED, USER + AVAIL));
	assert_true(tell_file(f, VHOST_USER_SET_VRING_CALL, qi, f->call));
	assert_true(tell_file(f, VHOST_USER_SET_VRING_KICK, qi, f->kick));
}

static inline void start_ring(struct front *f)
{
	negotiate(f);
	assert_true(tell_table(f, GPA, RAM, USER, 0));
	describe_ring(f, 0, 0);
	assert_false(f->dev->active);
	assert_true(tell_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1));
	assert_true(f->dev->queue[0].enabled);
	assert_true(f->dev->active);
}

static inline uint32_t get_base(struct front *f, uint32_t qi)
{
	uint32_t s[2] = { qi, 0 };

	assert_true((uint32_t)ask(f, VHOST_USER_GET_VRING_BASE, s, 8) == qi);
	return load_le32(f->reply + 4);
}

/* ---- the driver behind the front end ---- */

static inline void post(struct front *f, uint16_t head)
{
	struct virtq_desc d = { GPA + BUF, 64, VIRTQ_DESC_F_WRITE, 0 };

	memcpy(f->ram + DESC + 16 * head, &d, 16);
	store_le16(f->ram + AVAIL + 4 + 2 * (f->avail_idx % QSIZE), head);
	__atomic_store_n(
		(uint16_t *)(void *)(f->ram + AVAIL + 2), ++f->avail_idx, __ATOMIC_RELEASE);
}

static inline uint16_t used_idx(struct front *f)
{
	return load_le16(f->ram + USED + 2);
}

static inline int pop(struct front *f)
{
	return virtqueue_pop(&f->dev->queue[0], &f->chain);
}

static inline void complete(struct front *f, uint16_t head)
{
	virtio_dev_complete(f->dev, 0, head, 1);
	virtio_dev_flush(f->dev, 0);
}

static inline bool called(struct front *f)
{
	eventfd_t n;

	return eventfd_read(f->call, &n) == 0;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
