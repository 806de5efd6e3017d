/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of the stack. The path of a frame from the guest:
 *
 *	net_from_guest -> parse -> neigh | icmp | udp | tcp
 *	                           udp -> dns | dhcp | session's host socket
 *	                           tcp -> admit -> dial -> (inspect) -> splice
 *
 * A flow is one conversation with a host socket. TCP flows are run, not pushed: whatever happens
 * only notes it and marks the flow; tcp_run() then does all that has become possible.
 */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include "lib/buf.h"
#include "net/net.h"
#include "net/packet.h"

#define UDP_FLOWS_DEFAULT 1024
#define TCP_FLOWS_MAX	  60000 /* ports of one guest towards one peer, and memory in reason */
#define UDP_FLOWS_MAX	  8192
#define PING_FLOWS_MAX	  64
#define TCP_DIALS_MAX	  2048 /* connects in progress */
#define HELD_BYTES_MAX	  MIB(64)

/* struct pkt - a frame being handled: its parsed start and where its bytes are */
struct pkt {
	const uint8_t *hdr; /* private copy of the first hdr_len bytes */
	size_t hdr_len, frame_len;
	const struct iovec *iov;
	unsigned iov_n;
	struct net_offload off;
	struct eth_hdr eth;
	struct ip_hdr ip;
};

enum flow_kind { FLOW_TCP, FLOW_UDP, FLOW_PING, FLOW_KINDS };

/* struct flow_key - guest side and far side as the guest sees it; no padding bytes */
struct flow_key {
	struct ip_addr guest, peer;
	uint16_t guest_port, peer_port; /* ping: identifier and 0 */
	uint32_t kind;			/* enum flow_kind */
};

/* struct flow - what all kinds have in common; first member of each */
struct flow {
	struct flow_key key;
	struct net *net;
	struct flow *hash_next;
	struct flow *lru_prev, *lru_next;  /* of its kind; front: least recently used */
	struct flow *run_next, **run_link; /* in net->run_head; *run_link points here */
	bool queued;			   /* in that list */
	void (*run)(struct flow *f);	   /* do all that has become possible */
	int fd;				   /* host socket, -1: none */
	struct loop_watch *watch;
	struct loop_timer *timer;
	uint64_t deadline_ns; /* when timer_fn is wanted; 0: never */
	uint64_t timer_at_ns; /* when the timer is armed for; 0: not */
	void (*on_deadline)(struct flow *f);
};

struct flow_list {
	struct flow *front, *back;
	size_t count, max;
};

struct flow_table {
	struct flow **slots;
	size_t n_slots, count; /* n_slots: power of two */
	uint64_t seed[2];
	struct flow_list kinds[FLOW_KINDS];
};

/* struct bucket - a token bucket; credit is nanoseconds of filling, see limit.c */
struct bucket {
	struct net_bucket conf;
	uint64_t credit, burst;
	uint64_t last_ns;
};

struct limiter {
	struct bucket bytes, ops;
};

struct frag_set;
struct dns;
struct publish;

struct net {
	struct loop *loop;
	struct net_config config;
	struct net_plan plan;
	struct net_events events;
	struct name_index *names;
	struct mac guest_mac;	   /* as last seen */
	struct ip_addr gateway_ll; /* IPv6 link-local */

	const struct net_link_ops *link; /* NULL: no cable */
	void *link_ctx;
	unsigned takes;
	bool want_flush;

	struct flow_table flows;
	struct flow *run_head, **run_tail;
	bool blocked; /* somebody waits for net_to_guest_ready() */
	size_t dialing;
	size_t held_bytes;
	bool peek_off4, peek_off6; /* the kernel has SO_PEEK_OFF for TCP */
	bool has_domains;

	struct limiter limit_from, limit_to;
	struct loop_timer *from_timer, *to_timer; /* armed while a limiter has no credit */

	struct frag_set *frags; /* FRAG_SETS */
	struct dns *dns;
	struct publish *publish;
	struct loop_timer *sweep_timer; /* name index, fragments */
	uint64_t sweep_needed_ns;	/* 0: not armed */

	uint64_t rng[2];
	uint32_t frag_id;
	uint64_t deny_window_ns, deny_unreported;
	unsigned deny_in_window;
	unsigned icmp_in_window;
	uint64_t icmp_window_ns;
	int warned_fds, warned_ping; /* log_once() flags */
	struct net_stats stats;
	uint8_t *scratch; /* 64 KiB: throw-away reads and datagrams on their way */
};

#define SCRATCH_LEN 65536

/* Random number that a guest cannot predict. */
uint64_t net_random(struct net *net);

/* --- out.c: frames to the guest --- */

/* struct out - an open reservation */
struct out {
	struct iovec iov[NET_LINK_IOV];
	unsigned n;
	size_t len;
};

/* out_begin() - Return: true with room for @len bytes; false and the waiter must retry when
 * net_to_guest_ready() comes (net->blocked is set). */
bool out_begin(struct net *net, size_t len, struct out *o);
void out_commit(struct net *net, struct out *o, const struct net_offload *off, size_t len);
void out_cancel(struct net *net);

/* out_frame() - a complete small frame; dropped and counted without room. Return: sent? */
bool out_frame(struct net *net, const uint8_t *frame, size_t len);

/* out_eth() - Ethernet header to the guest. Return: end. */
uint8_t *out_eth(struct net *net, uint8_t *p, bool v4);

/* out_flush() - after a burst of commits. */
void out_flush(struct net *net);

/* out_datagram() - UDP to the guest, @payload fragmented to the MTU if need be. */
void out_datagram(struct net *net, const struct ip_addr *src, uint16_t sport,
	const struct ip_addr *dst, uint16_t dport, const uint8_t *payload, size_t len);

/* --- flow.c --- */

int flow_table_init(struct net *net);
void flow_table_release(struct net *net);
struct flow *flow_find(struct net *net, const struct flow_key *key);

/*
 * flow_init() - enter @f (key, fd and run set, the rest zero) into the table with a timer
 * Return: 0; -ENOMEM (nothing entered)
 */
int flow_init(struct net *net, struct flow *f, void (*on_deadline)(struct flow *f));

/* flow_watch() - listen to f->fd. Return: 0, -errno. */
int flow_watch(struct flow *f, uint32_t events, loop_fd_fn *fn);

/* flow_release() - leave the table, close the socket; the memory is the caller's. */
void flow_release(struct flow *f);

/* flow_touch() - most recently used. */
void flow_touch(struct flow *f);

/* flow_deadline() - call on_deadline at @at_ns (0: never). Cheap when moved later. */
void flow_deadline(struct flow *f, uint64_t at_ns);

/* flow_queue() - have it run by flow_run_all(). */
void flow_queue(struct flow *f);
void flow_run_all(struct net *net);

/* flow_drop_all() - free every flow; @reset host peers of TCP. */
void flow_drop_all(struct net *net);

/* --- admit.c: may this flow be? --- */

/*
 * net_admit() - policy for a flow, reported when denied
 * @name: for POLICY_NAME_SNI, else NULL
 */
struct policy_answer net_admit(struct net *net, uint8_t dir, uint8_t proto,
	const struct ip_addr *addr, bool has_port, uint16_t port, enum policy_name source,
	const char *name);
void net_denied(struct net *net, struct net_denial *d);
struct policy_env net_policy_env(const struct net *net);
bool net_is_gateway(const struct net *net, const struct ip_addr *a);

/* net_host_target() - where to dial for a guest's destination: loopback behind the gateway. */
struct ip_addr net_host_target(const struct net *net, const struct ip_addr *dst);

/* --- limit.c --- */

void bucket_init(struct bucket *b, const struct net_bucket *conf, uint64_t now_ns);

/*
 * bucket_take() - pay @units. Return: 0 paid; else nanoseconds until it is worth asking again.
 * More than the bucket holds is granted when it is full, and then owed.
 */
uint64_t bucket_take(struct bucket *b, uint64_t units, uint64_t now_ns);

/* limiter_take() - one frame of @len bytes. Return as bucket_take(); nothing is paid unless both.
 */
uint64_t limiter_take(struct limiter *l, size_t len, uint64_t now_ns);
/* The same in two steps, for frames whose final length is not known when room is taken. */
uint64_t limiter_wait(struct limiter *l, size_t len, uint64_t now_ns);
void limiter_pay(struct limiter *l, size_t len);
bool limiter_on(const struct limiter *l);

/* --- neigh.c, icmp.c, frag.c, udp.c, dhcp.c --- */

void neigh_arp(struct net *net, struct pkt *p);
/* neigh_ndp() - Return: true if the ICMPv6 packet was NDP and is done with. */
bool neigh_ndp(struct net *net, struct pkt *p, uint8_t type);

void icmp_input(struct net *net, struct pkt *p);
void ping_free(struct flow *f);

/* enum icmp_error - what can be reported to the guest, mapped per family */
enum icmp_error {
	ICMP_NET_UNREACH,
	ICMP_HOST_UNREACH,
	ICMP_PORT_UNREACH,
	ICMP_PROHIBITED,
	ICMP_TTL_EXCEEDED,
	ICMP_TOO_BIG,
};

/*
 * icmp_send_error() - about a packet from the guest; rate limited
 * @from:   sender of the error; NULL: the gateway
 * @quoted: the packet's IP header and first payload bytes
 * @mtu:    ICMP_TOO_BIG only
 */
void icmp_send_error(struct net *net, enum icmp_error what, const struct ip_addr *from,
	const struct ip_addr *guest, const uint8_t *quoted, size_t len, uint32_t mtu);
/* icmp_error_for_pkt() - about @p itself. */
void icmp_error_for_pkt(struct net *net, struct pkt *p, enum icmp_error what);
/*
 * icmp_error_for_flow() - about a packet of this flow, whose headers are made up again
 * @seq: sequence number of the TCP segment or of the echo request meant; for UDP unused
 */
void icmp_error_for_flow(struct net *net, const struct flow_key *key, uint8_t proto, uint32_t seq,
	enum icmp_error what, const struct ip_addr *from, uint32_t mtu);
/* icmp_error_of_errno() - how a failed connect or send looks on the wire; -1: like nothing. */
int icmp_error_of_errno(int code);

/*
 * struct sock_error - one entry of a socket's error queue (IP_RECVERR)
 * @icmp:     an enum icmp_error, -1 for none that a guest should hear of
 * @offender: who said so; all zero: the host itself
 * @echo_seq: ping sockets only: which request it is about
 */
struct sock_error {
	int icmp;
	uint32_t mtu;
	struct ip_addr offender;
	uint16_t echo_seq;
};

/* sock_next_error() - Return: false when the queue is empty. */
bool sock_next_error(int fd, struct sock_error *ret);

/* sock_datagram() - a non-blocking socket connected to @dst that queues errors. Return: fd, -errno
 */
int sock_datagram(const struct ip_addr *dst, uint16_t port, int proto);

/* sock_set_ttl() - for datagrams sent from now on. */
void sock_set_ttl(int fd, bool v4, uint8_t ttl);

void udp_input(struct net *net, struct pkt *p);
void udp_free(struct flow *f);

/* dhcp_input() - a BOOTP request in @msg. */
void dhcp_input(struct net *net, const uint8_t *msg, size_t len);

int frag_init(struct net *net);
void frag_release(struct net *net);
/*
 * frag_input() - take a fragment in
 * Return: true when @p now is the whole datagram (valid until the next call)
 */
bool frag_input(struct net *net, struct pkt *p);
void frag_sweep(struct net *net, uint64_t now_ns);

/* net_ip_input() - a whole IP packet, reassembled or not. */
void net_ip_input(struct net *net, struct pkt *p);

/* net_want_sweep() - something was stored that expires. */
void net_want_sweep(struct net *net);

/* --- tcp.c --- */

void tcp_input(struct net *net, struct pkt *p);
void tcp_run(struct flow *f);
void tcp_drop(struct flow *f);
/*
 * tcp_open_inbound() - connect an accepted host socket to the guest
 * @fd: owned from now on
 */
int tcp_open_inbound(struct net *net, int fd, const struct flow_key *key);

/* --- dns.c --- */

int dns_init(struct net *net, struct err *err);
void dns_release(struct net *net);
/* dns_udp_query() - a datagram to port 53 of any address; @msg is copied. */
void dns_udp_query(struct net *net, const struct flow_key *key, const uint8_t *msg, size_t len);

/* --- publish.c --- */

int publish_init(struct net *net, struct err *err);
void publish_release(struct net *net);
/* publish_udp_reply() - Return: true if the datagram belongs to a published UDP port. */
bool publish_udp_reply(
	struct net *net, const struct flow_key *key, const struct iovec *iov, unsigned n);

#endif
