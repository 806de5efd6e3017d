/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user messages on the wire: 12 bytes of header, a payload, descriptors as ancillary data. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/num.h"
#include "virtio/vhost_user_internal.h"

void vu_msg_clear(struct vu_msg *m)
{
	for (unsigned i = 0; i < m->n_fds; i++)
		close_fd(&m->fd[i]);
	m->n_fds = 0;
	m->have = 0;
}

/* keep_fd() - every descriptor that arrives is either in m->fd or closed. */
static bool keep_fd(struct vu_msg *m, int fd)
{
	if (m->n_fds < VHOST_USER_MAX_FDS) {
		m->fd[m->n_fds++] = fd;
		return true;
	}
	close_fd(&fd);
	return false;
}

static bool keep_fds(struct vu_msg *m, struct msghdr *mh)
{
	bool ok = !(mh->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			ok &= keep_fd(m, fd);
		}
	}
	return ok;
}

/* receive_part() - up to @len bytes. Return: bytes; 0 would block; -ENODATA end; -errno */
static ssize_t receive_part(struct vu_msg *m, int sock, void *to, size_t len, struct err *err)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(VHOST_USER_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = to, .iov_len = len };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_set(err, errno, "receive a vhost-user message");
	if (!keep_fds(m, &mh))
		return err_msg(err, EBADMSG, "vhost-user message with more than %d descriptors",
			VHOST_USER_MAX_FDS);
	return n == 0 ? -ENODATA : n;
}

static int parse_header(struct vu_msg *m, struct err *err)
{
	struct cursor c = cursor_init(m->hdr, sizeof(m->hdr));

	m->request = cursor_le32(&c);
	m->flags = cursor_le32(&c);
	m->size = cursor_le32(&c);
	if ((m->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
		(m->flags & VHOST_USER_REPLY))
		return err_msg(err, EBADMSG, "vhost-user message %u with flags 0x%x", m->request,
			m->flags);
	if (m->size > sizeof(m->payload))
		return err_msg(
			err, EBADMSG, "vhost-user message %u of %u bytes", m->request, m->size);
	return 0;
}

/* next_part() - where the next bytes go; complete messages have no next part. */
static size_t next_part(struct vu_msg *m, uint8_t **to)
{
	if (m->have < sizeof(m->hdr)) {
		*to = m->hdr + m->have;
		return sizeof(m->hdr) - m->have;
	}
	*to = m->payload + (m->have - sizeof(m->hdr));
	return m->size - (m->have - sizeof(m->hdr));
}

int vu_msg_receive(struct vu_msg *m, int sock, struct err *err)
{
	uint8_t *to;
	size_t want;

	while ((want = next_part(m, &to)) > 0) {
		ssize_t n = receive_part(m, sock, to, want, err);

		if (n <= 0)
			return (int)n;
		m->have += (size_t)n;
		if (m->have != sizeof(m->hdr))
			continue;
		int ret = parse_header(m, err);

		if (ret < 0)
			return ret;
	}
	return 1;
}

int vu_msg_reply(const struct vu_msg *m, int sock, const void *payload, uint32_t size, int fd,
	struct err *err)
{
	uint8_t hdr[VHOST_USER_HDR_SIZE];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov[2] = {
		{ .iov_base = hdr, .iov_len = sizeof(hdr) },
		{ .iov_base = (void *)(uintptr_t)payload, .iov_len = size },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };

	store_le32(hdr, m->request);
	store_le32(hdr + 4, VHOST_USER_VERSION | VHOST_USER_REPLY);
	store_le32(hdr + 8, size);
	if (fd >= 0) {
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	ssize_t n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return err_set(err, errno, "answer vhost-user message %u", m->request);
	if ((size_t)n != sizeof(hdr) + size)
		return err_msg(err, EPIPE, "the vhost-user front end does not read its answers");
	return 1;
}
