/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsers and builders for the headers the stack speaks. A parser turns bytes into a struct in
 * which every field is legal, or refuses; nothing else looks at packet bytes. Parsers work on a
 * private copy of a frame's first bytes (the frame itself lies in memory its sender may change).
 *
 * Offsets count from the start of the frame. All integers in the structs are in host order.
 */
#ifndef NET_PACKET_H
#define NET_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

#define ETH_HDR_LEN  14
#define ETH_TYPE_IP4 0x0800
#define ETH_TYPE_ARP 0x0806
#define ETH_TYPE_IP6 0x86dd

#define IP4_HDR_LEN  20
#define IP6_HDR_LEN  40
#define IP6_FRAG_LEN 8
#define UDP_HDR_LEN  8
#define TCP_HDR_LEN  20
#define ICMP_HDR_LEN 8
#define ARP_LEN	     28

#define IP_PROTO_ICMP  1
#define IP_PROTO_TCP   6
#define IP_PROTO_UDP   17
#define IP_PROTO_ICMP6 58
#define PKT_TTL	       64
#define IP_MAX_LEN     65535
#define FRAME_MAX_LEN  (ETH_HDR_LEN + IP_MAX_LEN)

/* Bytes of a frame that are copied for parsing: all headers, extension headers included. */
#define PKT_HDR_MAX 512
/* IPv6 extension headers walked before giving up. */
#define PKT_EXT_MAX 8

struct mac {
	uint8_t b[6];
};

struct eth_hdr {
	struct mac dst, src;
	uint16_t type;
};

/* struct ip_hdr - IPv4 or IPv6, the extension headers skipped */
struct ip_hdr {
	struct ip_addr src, dst;
	uint8_t proto; /* of what begins at l4_off; for a later fragment, of the whole datagram */
	uint8_t ttl;
	uint8_t tos;
	bool v4, frag, more_frags; /* frag: only a part of a datagram */
	bool dont_frag;
	uint16_t frag_off; /* bytes into the datagram */
	uint32_t frag_id;
	size_t l3_off, l4_off;
	size_t l4_len; /* by the IP header, which the frame was checked to hold */
};

struct udp_hdr {
	uint16_t sport, dport, len, csum;
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20

struct tcp_hdr {
	uint16_t sport, dport, window;
	uint32_t seq, ack;
	uint8_t flags;
	uint8_t hdr_len; /* with options */
	uint16_t mss;	 /* 0: option absent */
	int8_t wscale;	 /* -1: option absent; else 0..14 */
};

struct icmp_hdr {
	uint8_t type, code;
	uint16_t csum, id, seq; /* id and seq only mean something for echo */
};

struct arp_msg {
	uint16_t op; /* ARP_REQUEST or ARP_REPLY */
	struct mac sender_mac, target_mac;
	struct ip_addr sender, target;
};

#define ARP_REQUEST 1
#define ARP_REPLY   2

#define ICMP4_ECHO_REPLY    0
#define ICMP4_UNREACH	    3
#define ICMP4_ECHO	    8
#define ICMP4_TIME_EXCEEDED 11
#define ICMP6_UNREACH	    1
#define ICMP6_TOO_BIG	    2
#define ICMP6_TIME_EXCEEDED 3
#define ICMP6_ECHO	    128
#define ICMP6_ECHO_REPLY    129
#define ICMP6_ROUTER_SOL    133
#define ICMP6_ROUTER_ADV    134
#define ICMP6_NEIGH_SOL	    135
#define ICMP6_NEIGH_ADV	    136

/* struct ndp_msg - a neighbour solicitation or router solicitation */
struct ndp_msg {
	uint8_t type;
	struct ip_addr target; /* NS only */
};

/* Parsers. @p of @len bytes is the copied start of a frame of @frame_len. Return: 0, -EBADMSG. */
int eth_read(const uint8_t *p, size_t len, struct eth_hdr *ret);

/*
 * ip_read() - the IPv4 or IPv6 header at ETH_HDR_LEN, chosen by @type
 * Checks version, lengths against @frame_len, header checksum (IPv4), and refuses source addresses
 * that are multicast, broadcast or IPv4-mapped. Routing headers with segments left are refused.
 * Return: 0; -EBADMSG; -EPROTONOSUPPORT for more extension headers than PKT_EXT_MAX
 */
int ip_read(uint16_t type, const uint8_t *p, size_t len, size_t frame_len, struct ip_hdr *ret);

int arp_read(const uint8_t *p, size_t len, struct arp_msg *ret);
int udp_read(const uint8_t *p, size_t len, const struct ip_hdr *ip, struct udp_hdr *ret);
int tcp_read(const uint8_t *p, size_t len, const struct ip_hdr *ip, struct tcp_hdr *ret);
int icmp_read(const uint8_t *p, size_t len, const struct ip_hdr *ip, struct icmp_hdr *ret);

/* ndp_read() - NS and RS only, with the checks of RFC 4861, 6.1.1 and 7.1.1 (hop limit 255 ...). */
int ndp_read(const uint8_t *p, size_t len, const struct ip_hdr *ip, struct ndp_msg *ret);

/* Builders write at @p, which has room, and return the end of what they wrote. */
uint8_t *eth_put(uint8_t *p, const struct mac *dst, const struct mac *src, uint16_t type);

/* struct ip_out - what ip_put() writes; v4 by the source's family */
struct ip_out {
	const struct ip_addr *src, *dst;
	uint8_t proto, ttl;
	size_t l4_len; /* payload of this packet, without a fragment header */
	bool frag;     /* write the three below */
	bool more_frags;
	uint16_t frag_off; /* bytes, a multiple of 8 */
	uint32_t frag_id;
};

uint8_t *ip_put(uint8_t *p, const struct ip_out *o);

/* ip_hdr_len() - what ip_put() will write. */
static inline size_t ip_hdr_len(const struct ip_addr *src, bool frag)
{
	if (ip_is_v4(src))
		return IP4_HDR_LEN;
	return IP6_HDR_LEN + (frag ? IP6_FRAG_LEN : 0);
}

uint8_t *udp_put(uint8_t *p, uint16_t sport, uint16_t dport, size_t payload_len, uint16_t csum);

/* tcp_put() - writes MSS and window scale options if @h has them; checksum field = @csum. */
uint8_t *tcp_put(uint8_t *p, const struct tcp_hdr *h, uint16_t csum);

/* tcp_hdr_size() - what tcp_put() will write. */
static inline size_t tcp_hdr_size(const struct tcp_hdr *h)
{
	return TCP_HDR_LEN + (h->mss ? 4 : 0) + (h->wscale >= 0 ? 4 : 0);
}

uint8_t *icmp_put(uint8_t *p, const struct icmp_hdr *h);
uint8_t *arp_put(uint8_t *p, const struct arp_msg *m);

#endif
