/* SPDX-License-Identifier: Apache-2.0 */
/* The host side of a TCP flow: dialling, reading with MSG_PEEK, writing, inspection. */
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/tcp_internal.h"

#define MANY_FLOWS    1024
#define SMALL_SOCKBUF (128 * 1024)
#define HOST_EVENTS   (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

/* --- dialling --- */

static void set_options(struct tcp_flow *tf)
{
	int one = 1, size = SMALL_SOCKBUF, zero = 0;
	int fd = tf->f.fd;
	bool v4 = ip_is_v4(&tf->f.key.peer);

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	if (v4 ? tf->f.net->peek_off4 : tf->f.net->peek_off6)
		(void)setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero));
	if (tf->f.net->flows.kinds[FLOW_TCP].count > MANY_FLOWS) { /* bound the kernel's memory */
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
}

static bool through_proxy(const struct tcp_flow *tf)
{
	return tf->f.net->config.proxy.kind != NET_PROXY_NONE &&
	       !net_is_gateway(tf->f.net, &tf->f.key.peer);
}

/* Where the next attempt goes: a proxy, the peer, or for the gateway the other loopback. */
static struct ip_addr dial_target(const struct tcp_flow *tf, uint16_t *ret_port)
{
	static const struct ip_addr loop6 = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 } };
	const struct net *net = tf->f.net;
	const struct flow_key *k = &tf->f.key;

	*ret_port = k->peer_port;
	if (!net_is_gateway(net, &k->peer)) {
		if (net->config.proxy.kind == NET_PROXY_NONE)
			return k->peer;
		*ret_port = net->config.proxy.addr.port;
		return net->config.proxy.addr.addr;
	}
	return ip_is_v4(&k->peer) == !tf->dial_tries ? IP_V4(127, 0, 0, 1) : loop6;
}

static void host_ready(void *ctx, int fd, uint32_t events);

int tcp_host_adopt(struct tcp_flow *tf)
{
	set_options(tf);
	return flow_watch(&tf->f, HOST_EVENTS, host_ready);
}

int tcp_dial(struct tcp_flow *tf)
{
	struct sockaddr_storage ss;
	uint16_t port;
	struct ip_addr dst = dial_target(tf, &port);
	socklen_t len = ip_to_sockaddr(&dst, port, &ss);
	int rc;

	tf->dial_tries++;
	if (through_proxy(tf) && tf->f.net->config.proxy.kind == NET_PROXY_SOCKS4 &&
		!ip_is_v4(&tf->f.key.peer))
		return -ENETUNREACH; /* the protocol has no IPv6 */
	tf->f.fd = socket(
		ip_is_v4(&dst) ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (tf->f.fd < 0)
		return -errno;
	rc = tcp_host_adopt(tf);
	if (rc < 0)
		return rc;
	if (connect(tf->f.fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return 0;
}

/* A service may listen on one loopback only; the guest cannot know on which. */
static bool try_other_loopback(struct tcp_flow *tf, int error)
{
	if (tf->dial_tries != 1 || !net_is_gateway(tf->f.net, &tf->f.key.peer) ||
		(error != ECONNREFUSED && error != EADDRNOTAVAIL && error != ENETUNREACH &&
			error != EAFNOSUPPORT))
		return false;
	loop_remove(&tf->f.watch);
	(void)close(tf->f.fd);
	tf->f.fd = -1;
	return tcp_dial(tf) == 0;
}

void tcp_dial_failed(struct tcp_flow *tf, int error)
{
	struct net *net = tf->f.net;
	int icmp = icmp_error_of_errno(error);

	if (try_other_loopback(tf, error))
		return;
	net->stats.tcp_failed++;
	if (error == EMFILE || error == ENFILE)
		log_once(net->warned_fds, LOG_WARN, "net: no socket: %s", strerror(error));
	if (error == ETIMEDOUT) /* silence is answered with silence; the guest's timer decides */
		tcp_end(tf, false, false);
	else if (icmp < 0 || icmp == ICMP_PORT_UNREACH)
		tcp_end(tf, true, false);
	else {
		icmp_error_for_flow(
			net, &tf->f.key, IP_PROTO_TCP, tf->irs, (enum icmp_error)icmp, NULL, 0);
		tcp_end(tf, false, false);
	}
}

static int proxy_progress(struct tcp_flow *tf)
{
	struct ip_port dst = { tf->f.key.peer, tf->f.key.peer_port };
	int rc = 0;

	if (!tf->socks)
		rc = socks_start(
			&tf->f.net->config.proxy, SOCKS_CONNECT, &dst, tf->f.fd, &tf->socks);
	return rc < 0 ? rc : socks_run(tf->socks, tf->f.fd);
}

static void dial_progress(struct tcp_flow *tf, uint32_t events)
{
	int error = 0, rc = 1;
	socklen_t len = sizeof(error);

	if (!tf->socks) {
		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		(void)getsockopt(tf->f.fd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error) {
			tcp_dial_failed(tf, error);
			return;
		}
	}
	if (through_proxy(tf))
		rc = proxy_progress(tf);
	if (rc < 0)
		tcp_dial_failed(tf, -rc);
	else if (rc > 0)
		tcp_host_opened(tf);
}

static void host_ready(void *ctx, int fd, uint32_t events)
{
	struct tcp_flow *tf = ctx;
	struct net *net = tf->f.net;
	unsigned tries = tf->dial_tries;

	if (tf->dead)
		return;
	if (tf->state == TCP_ST_DIALING)
		dial_progress(tf, events);
	if (tf->dial_tries != tries)
		events = 0; /* the end of that socket says nothing of its successor */
	if (events & (EPOLLRDHUP | EPOLLHUP))
		tf->host_rdhup = true;
	if (tf->host_open && (events & EPOLLOUT))
		tcp_host_drain(tf);
	if (tf->host_open && (events & EPOLLERR) && tf->state != TCP_ST_OPEN)
		tcp_end(tf, true, false); /* gone before the guest could answer */
	tcp_run(&tf->f);
	out_flush(net);
}

/* --- from the guest --- */

static bool passing(const struct tcp_flow *tf)
{
	return tf->inspect == INSPECT_OFF && !tf->svc && tf->host_open;
}

/* How much of what is held may leave. */
static size_t sendable(const struct tcp_flow *tf)
{
	if (tf->svc || !tf->host_open || tf->inspect == INSPECT_WAIT)
		return 0;
	return tf->inspect == INSPECT_REQUESTS ? tf->cleared : tf->held.len;
}

/* Keep what the socket did not take, within bounds. */
static size_t hold(
	struct tcp_flow *tf, const struct iovec *iov, unsigned iov_n, size_t off, size_t len)
{
	struct net *net = tf->f.net;
	uint8_t *dst;

	len = MIN_OF(len, TCP_RCV_WINDOW - MIN_OF(tf->held.len, (size_t)TCP_RCV_WINDOW));
	if (!len || net->held_bytes + len > HELD_BYTES_MAX || buf_reserve(&tf->held, len, &dst) < 0)
		return 0;
	len = iov_read(iov, iov_n, off, dst, len);
	buf_commit(&tf->held, len);
	net->held_bytes += len;
	return len;
}

size_t tcp_host_take(
	struct tcp_flow *tf, const struct iovec *iov, unsigned iov_n, size_t off, size_t len)
{
	struct iovec body[NET_LINK_IOV];
	struct msghdr msg = { .msg_iov = body };
	ssize_t n = 0;

	if (tf->host_shut)
		return len; /* the host has stopped listening: swallow */
	if (passing(tf) && !tf->held.len) {
		msg.msg_iovlen = iov_slice(iov, iov_n, off, len, body, NET_LINK_IOV);
		n = sendmsg(tf->f.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			tcp_end(tf, true, true);
			return 0;
		}
		n = MAX_OF(n, 0);
	}
	if ((size_t)n < len)
		n += (ssize_t)hold(tf, iov, iov_n, off + (size_t)n, len - (size_t)n);
	if (tf->inspect != INSPECT_OFF) {
		tcp_inspect(tf, false);
		tcp_host_drain(tf);
	}
	return (size_t)n;
}

void tcp_held_consume(struct tcp_flow *tf, size_t len)
{
	buf_consume(&tf->held, len);
	tf->f.net->held_bytes -= len;
	if (!tf->held.len)
		buf_release(&tf->held); /* most flows never hold anything again */
	/* worth a window update? */
	if (tf->rcv_nxt + tcp_window(tf) - tf->rcv_adv >= TCP_RCV_WINDOW / 4 ||
		!seq_lt(tf->rcv_nxt, tf->rcv_adv)) {
		tf->ack_now = true;
		flow_queue(&tf->f);
	}
}

void tcp_host_drain(struct tcp_flow *tf)
{
	size_t left;

	if (tf->inspect != INSPECT_OFF && tf->guest_fin)
		tcp_inspect(tf, true); /* nothing more will come: may end here or in a drain */
	while (!tf->dead && (left = sendable(tf)) > 0) {
		ssize_t n = send(tf->f.fd, buf_head(&tf->held), left, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				tcp_end(tf, true, true);
			return;
		}
		tf->cleared -= MIN_OF(tf->cleared, (size_t)n);
		tcp_held_consume(tf, (size_t)n);
	}
	if (tf->guest_fin && !tf->host_shut && !tf->dead && !tf->held.len && tf->host_open &&
		!tf->svc && tf->inspect != INSPECT_WAIT) {
		tf->host_shut = true;
		(void)shutdown(tf->f.fd, SHUT_WR);
	}
}

/* --- to the guest --- */

/* Without SO_PEEK_OFF: read what is in flight once more, into the scratch area. */
static ssize_t peek_over(struct tcp_flow *tf, uint32_t off, const struct iovec *iov, unsigned n)
{
	struct iovec all[NET_LINK_IOV + 32];
	struct msghdr msg = { .msg_iov = all };
	unsigned k = 0;
	ssize_t got;

	for (uint32_t left = off; left; k++) {
		size_t part = MIN_OF(left, (uint32_t)SCRATCH_LEN);

		if (k == 32)
			return -EAGAIN; /* 2 MiB in flight are enough */
		all[k] = (struct iovec){ tf->f.net->scratch, part };
		left -= (uint32_t)part;
	}
	for (unsigned i = 0; i < n; i++)
		all[k++] = iov[i];
	msg.msg_iovlen = k;
	got = recvmsg(tf->f.fd, &msg, MSG_PEEK | MSG_DONTWAIT);
	if (got < 0)
		return -errno;
	if ((size_t)got > off)
		return got - off;
	return tf->host_rdhup ? 0 : -EAGAIN;
}

static ssize_t peek_from(struct tcp_flow *tf, uint32_t off, const struct iovec *iov, unsigned n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	int value = (int)off;
	ssize_t got;

	if (tf->peeked != off) {
		(void)setsockopt(tf->f.fd, SOL_SOCKET, SO_PEEK_OFF, &value, sizeof(value));
		tf->peeked = off;
	}
	got = recvmsg(tf->f.fd, &msg, MSG_PEEK | MSG_DONTWAIT);
	if (got < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	tf->peeked += (uint32_t)got;
	return got;
}

static ssize_t read_out(struct tcp_flow *tf, uint32_t off, const struct iovec *iov, unsigned n)
{
	if (off < tf->out.len)
		return (ssize_t)iov_write(iov, n, 0, buf_head(&tf->out) + off, tf->out.len - off);
	return tf->svc_eof ? 0 : -EAGAIN;
}

ssize_t tcp_host_read(struct tcp_flow *tf, uint32_t off, const struct iovec *iov, unsigned n)
{
	struct net *net = tf->f.net;

	if (tf->svc)
		return read_out(tf, off, iov, n);
	/* the socket's family may differ from the peer's only behind the gateway or a proxy */
	if (net->peek_off4 && net->peek_off6)
		return peek_from(tf, off, iov, n);
	return peek_over(tf, off, iov, n);
}

void tcp_host_discard(struct tcp_flow *tf, uint32_t len)
{
	tf->head_seq += len;
	if (tf->svc) {
		buf_consume(&tf->out, MIN_OF((size_t)len, tf->out.len));
		return;
	}
	while (len) {
		ssize_t n = recv(tf->f.fd, NULL, len, MSG_TRUNC | MSG_DONTWAIT);

		if (n <= 0) {
			tcp_end(tf, true, true); /* what was there a moment ago is gone */
			return;
		}
		len -= (uint32_t)n;
		tf->peeked -= MIN_OF(tf->peeked, (uint32_t)n);
	}
}

/* --- services --- */

int tcp_svc_send(struct tcp_flow *tf, const void *data, size_t len)
{
	int rc = buf_append(&tf->out, data, len);

	if (rc == 0)
		flow_queue(&tf->f);
	return rc;
}

void tcp_svc_finish(struct tcp_flow *tf)
{
	tf->svc_eof = true;
	tf->host_shut = true;
	flow_queue(&tf->f);
}
