/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP by way of a SOCKS5 proxy (RFC 1928, 7): a TCP connection asks for a relay and keeps it; the
 * datagrams go to the relay with their destination in front. One association per session, so that
 * what comes back can be checked to come from the session's own peer.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/num.h"
#include "net/socks.h"
#include "net/udp_internal.h"

#define WAITING_MAX 8 /* datagrams kept until the relay is there */

/* struct waiting - a datagram without its header */
struct waiting {
	struct waiting *next;
	size_t len;
	uint8_t data[];
};

struct udp_relay {
	int fd; /* the connection to the proxy */
	struct loop_watch *watch;
	struct socks *socks; /* NULL: not connected yet */
	bool ready;
	struct waiting *first, **last;
	unsigned n_waiting;
};

/* --- datagrams to the relay --- */

static void send_one(struct udp_flow *uf, const struct iovec *iov, unsigned n)
{
	struct ip_port to = { uf->f.key.peer, uf->f.key.peer_port };
	struct iovec all[NET_LINK_IOV + 1];
	struct msghdr msg = { .msg_iov = all, .msg_iovlen = n + 1 };
	uint8_t header[SOCKS_UDP_MAX];

	all[0] = (struct iovec){ header, socks_put_udp(header, &to) };
	memcpy(all + 1, iov, n * sizeof(*iov));
	if (sendmsg(uf->f.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		uf->f.net->stats.dropped++;
}

static void keep(struct udp_flow *uf, const struct iovec *iov, unsigned n, size_t len)
{
	struct udp_relay *r = uf->relay;
	struct net *net = uf->f.net;
	struct waiting *w = NULL;

	if (r->n_waiting < WAITING_MAX && net->held_bytes + len <= HELD_BYTES_MAX)
		w = malloc(sizeof(*w) + len);
	if (!w) {
		net->stats.dropped++;
		return;
	}
	w->next = NULL;
	w->len = iov_read(iov, n, 0, w->data, len);
	*r->last = w;
	r->last = &w->next;
	r->n_waiting++;
	net->held_bytes += w->len;
}

static struct waiting *take_waiting(struct udp_flow *uf)
{
	struct udp_relay *r = uf->relay;
	struct waiting *w = r->first;

	if (!w)
		return NULL;
	r->first = w->next;
	if (!r->first)
		r->last = &r->first;
	r->n_waiting--;
	uf->f.net->held_bytes -= w->len;
	return w;
}

void udp_relay_send(struct udp_flow *uf, const struct iovec *iov, unsigned n, size_t seg)
{
	size_t len = iov_len(iov, n), off = 0;

	if (!seg)
		seg = MAX_OF(len, (size_t)1);
	do {
		struct iovec part[NET_LINK_IOV];
		size_t size = MIN_OF(seg, len - off);
		unsigned k = iov_slice(iov, n, off, size, part, NET_LINK_IOV);

		if (uf->relay->ready)
			send_one(uf, part, k);
		else
			keep(uf, part, k, size);
		off += size;
	} while (off < len);
}

bool udp_relay_receive(struct udp_flow *uf)
{
	struct net *net = uf->f.net;
	const struct flow_key *k = &uf->f.key;
	ssize_t n = recv(uf->f.fd, net->scratch, SCRATCH_LEN, MSG_DONTWAIT);
	struct ip_port from;
	int skip;

	if (n < 0)
		return errno == ECONNREFUSED;
	skip = socks_read_udp(net->scratch, (size_t)n, &from);
	if (skip < 0 || !ip_equal(&from.addr, &k->peer) || from.port != k->peer_port) {
		net->stats.dropped++; /* nobody the guest has spoken to */
		return true;
	}
	out_datagram(net, &k->peer, k->peer_port, &k->guest, k->guest_port, net->scratch + skip,
		(size_t)(n - skip));
	return true;
}

/* --- the connection to the proxy --- */

/* Where the relay is; a proxy that does not say means its own address. */
static struct ip_port relay_address(struct udp_flow *uf)
{
	const struct net_proxy *proxy = &uf->f.net->config.proxy;
	struct ip_port a = *socks_bound(uf->relay->socks);

	if (ip_is_martian_dst(&a.addr) || ip_classify(&a.addr) == IP_CLASS_MULTICAST)
		a.addr = proxy->addr.addr; /* as good an answer as 0.0.0.0, which many give */
	return a;
}

static int relay_granted(struct udp_flow *uf)
{
	struct ip_port a = relay_address(uf);
	struct waiting *w;
	int rc;

	if (!a.port)
		return -EPROTO;
	rc = sock_datagram(&a.addr, a.port, 0);
	if (rc < 0)
		return rc;
	uf->f.fd = rc;
	rc = udp_listen(uf);
	if (rc < 0)
		return rc;
	uf->relay->ready = true;
	while ((w = take_waiting(uf))) {
		struct iovec iov = { w->data, w->len };

		send_one(uf, &iov, 1);
		free(w);
	}
	loop_modify(uf->relay->watch, EPOLLIN | EPOLLRDHUP);
	return 0;
}

/* Return: 0 or -errno, of which -EPIPE: the proxy has ended the association. */
static int relay_progress(struct udp_flow *uf)
{
	struct udp_relay *r = uf->relay;
	struct ip_port any = { .addr = IP_V4(0, 0, 0, 0) };
	socklen_t len = sizeof(int);
	int error = 0, rc = 0;

	if (r->ready) {
		ssize_t n = recv(r->fd, uf->f.net->scratch, SCRATCH_LEN, MSG_DONTWAIT);

		return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)) ? 0 : -EPIPE;
	}
	if (!r->socks) {
		(void)getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		rc = error ? -error
			   : socks_start(&uf->f.net->config.proxy, SOCKS_ASSOCIATE, &any, r->fd,
				     &r->socks);
		loop_modify(r->watch, EPOLLIN | EPOLLRDHUP);
	}
	if (rc == 0)
		rc = socks_run(r->socks, r->fd);
	return rc > 0 ? relay_granted(uf) : rc;
}

static void relay_event(void *ctx, int fd, uint32_t events)
{
	struct udp_flow *uf = ctx;
	struct net *net = uf->f.net;
	int rc = relay_progress(uf), what;

	if (rc < 0) {
		what = icmp_error_of_errno(-rc);
		if (rc != -EPIPE)
			icmp_error_for_flow(net, &uf->f.key, IP_PROTO_UDP, 0,
				what < 0 ? ICMP_HOST_UNREACH : (enum icmp_error)what, NULL, 0);
		udp_free(&uf->f);
	}
	out_flush(net);
}

static int dial(const struct ip_port *to)
{
	struct sockaddr_storage ss;
	socklen_t len = ip_to_sockaddr(&to->addr, to->port, &ss);
	cleanup_fd int fd = socket(ip_is_v4(&to->addr) ? AF_INET : AF_INET6,
		SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || (connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS))
		return -errno;
	return take_fd(&fd);
}

int udp_relay_open(struct udp_flow *uf)
{
	struct udp_relay *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	uf->relay = r;
	r->last = &r->first;
	r->fd = dial(&uf->f.net->config.proxy.addr);
	rc = r->fd;
	if (rc >= 0)
		rc = loop_add(uf->f.net->loop, r->fd, EPOLLOUT, relay_event, uf, &r->watch, NULL);
	return rc;
}

void udp_relay_free(struct udp_flow *uf)
{
	struct udp_relay *r = uf->relay;
	struct waiting *w;

	if (!r)
		return;
	while ((w = take_waiting(uf)))
		free(w);
	socks_free(r->socks);
	loop_remove(&r->watch);
	close_fd(&r->fd);
	free(r);
	uf->relay = NULL;
}
