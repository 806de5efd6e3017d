/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user-space network of one sandbox: what its only cable is plugged into. Frames go in and come
 * out at a link (a virtio-net device, a TAP in tests); behind it the stack is a gateway that
 * terminates every flow and continues it with an ordinary host socket, as far as policy lets it.
 *
 * Threads: everything happens on the thread of the loop given to net_new(), link callbacks
 * included. Nothing blocks. A frame is consumed before net_from_guest() returns.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/err.h"
#include "lib/loop.h"
#include "net/config.h"

struct net;

/*
 * struct net_offload - the fields of virtio_net_hdr (virtio 1.2, 5.1.6) in host order; num_buffers
 * is the link's business
 */
struct net_offload {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

#define NET_HDR_NEEDS_CSUM 1 /* flags */
#define NET_GSO_NONE	   0 /* gso_type */
#define NET_GSO_TCP4	   1
#define NET_GSO_UDP	   3
#define NET_GSO_TCP6	   4
#define NET_GSO_UDP_L4	   5
#define NET_GSO_ECN	   0x80

/* What the guest takes from the stack: bits for net_attach(), by VIRTIO_NET_F_GUEST_*. */
#define NET_TAKES_CSUM 1u
#define NET_TAKES_TSO4 2u
#define NET_TAKES_TSO6 4u
#define NET_TAKES_UFO  8u

/* Room a link must describe for one frame; a link whose buffers are smaller gives fewer bytes. */
#define NET_LINK_IOV 256

/* struct net_link_ops - how frames reach the guest. At most one reservation is open at a time. */
struct net_link_ops {
	/*
	 * Room for one frame of @len bytes (without virtio_net_hdr). Return: entries put in @iov,
	 * covering @len; 0 when the guest has no buffers: net_to_guest_ready() will be called
	 * when it has.
	 */
	unsigned (*reserve)(void *ctx, size_t len, struct iovec *iov, unsigned max);
	/* The reserved room holds a frame of @len bytes (no more than was reserved). */
	void (*commit)(void *ctx, const struct net_offload *off, size_t len);
	/* The reservation is not needed. */
	void (*cancel)(void *ctx);
	/* Tell the guest about what was committed. */
	void (*flush)(void *ctx);
	/* net_from_guest() said -EAGAIN earlier: offer that frame again. */
	void (*resume)(void *ctx);
};

enum net_deny_reason {
	NET_DENY_POLICY,
	NET_DENY_REBIND, /* a DNS answer named a reserved address */
	NET_DENY_LIMIT,	 /* too many flows */
	NET_DENY_BYPASS, /* DNS by other means: DoT, mDNS, LLMNR, NetBIOS */
	NET_DENY_STRICT, /* allowed by a name that could not be verified */
	NET_DENY_REASONS,
};

/* struct net_denial - one refusal; all pointers are valid during the call only */
struct net_denial {
	enum net_deny_reason reason;
	bool ingress;
	uint8_t proto; /* POLICY_* */
	struct ip_addr addr;
	uint16_t port;
	const char *name; /* host name involved, or NULL */
	int rule;	  /* index into the policy, or POLICY_BY_* */
	const char *rule_text;
	uint64_t unreported; /* refusals before this one that were too many to report */
};

/* What the owner wants to hear; members may be NULL. */
struct net_events {
	void (*denied)(void *ctx, const struct net_denial *d);
	void *ctx;
};

/* struct net_stats - totals since net_new(), but for the flow counts, which are current */
struct net_stats {
	uint64_t frames_from_guest, bytes_from_guest, frames_to_guest, bytes_to_guest;
	uint64_t malformed; /* frames that no parser took */
	uint64_t dropped;   /* well-formed frames nobody serves, or no room */
	uint64_t denied[NET_DENY_REASONS];
	uint64_t tcp_opened, tcp_failed, tcp_retransmits, udp_opened, dns_queries, dns_failures;
	size_t tcp_flows, udp_flows, ping_flows;
	size_t held_bytes; /* guest data waiting for slow host peers */
};

/*
 * net_new() - a stack with its published ports open, no link yet
 * @config: copied
 * @plan:   addresses, from net_plan_make()
 * @events: copied; may be NULL
 * Return: 0 and *ret_net, freed by net_free(); -errno. A published port that cannot be bound is
 * an error that names it.
 */
int net_new(struct loop *loop, const struct net_config *config, const struct net_plan *plan,
	const struct net_events *events, struct net **ret_net, struct err *err);
void net_free(struct net *net);

/* net_attach() - plug the cable in: @ops and @ctx stay valid until net_detach(). */
void net_attach(struct net *net, const struct net_link_ops *ops, void *ctx, unsigned takes);

/* net_detach() - the guest or its driver is gone: every flow is dropped, host sockets are reset. */
void net_detach(struct net *net);

/*
 * net_from_guest() - one frame, without virtio_net_hdr
 * @off: what the header said; untrusted
 * @iov: its bytes; may change while we look
 * Return: 0 consumed; -EAGAIN rate limited: keep it, resume() follows
 */
int net_from_guest(
	struct net *net, const struct net_offload *off, const struct iovec *iov, unsigned n);

/* net_from_guest_done() - end of a batch: sends the answers. */
void net_from_guest_done(struct net *net);

/* net_to_guest_ready() - the guest has provided receive buffers. */
void net_to_guest_ready(struct net *net);

/*
 * net_without_peek_off() - do as on kernels that lack SO_PEEK_OFF for TCP (before Linux 6.9, for
 * IPv6 6.11), for tests; before the first frame
 */
void net_without_peek_off(struct net *net);

void net_get_stats(const struct net *net, struct net_stats *ret);

/*
 * net_published_port() - where published port number @index (as in the configuration) listens;
 * tells the port the kernel chose for 0. Return: 0 when there is no such port.
 */
uint16_t net_published_port(const struct net *net, size_t index);

#endif
