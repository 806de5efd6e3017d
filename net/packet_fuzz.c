/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a frame, through every parser; offsets handed out must lie within the frame. */
#include <stdint.h>
#include <stdlib.h>

#include "lib/num.h"
#include "net/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t have = MIN_OF(len, (size_t)PKT_HDR_MAX);
	struct eth_hdr eth;
	struct ip_hdr ip;
	struct arp_msg arp;
	struct udp_hdr udp;
	struct tcp_hdr tcp;
	struct icmp_hdr icmp;
	struct ndp_msg ndp;

	if (eth_read(data, have, &eth) < 0)
		return 0;
	(void)arp_read(data, have, &arp);
	if (ip_read(eth.type, data, have, len, &ip) < 0)
		return 0;
	if (!range_ok(ip.l4_off, ip.l4_len, len) || ip.l4_off > have)
		abort();
	if (udp_read(data, have, &ip, &udp) == 0 && udp.len > ip.l4_len)
		abort();
	if (tcp_read(data, have, &ip, &tcp) == 0 && tcp.hdr_len > ip.l4_len)
		abort();
	(void)icmp_read(data, have, &ip, &icmp);
	(void)ndp_read(data, have, &ip, &ndp);
	return 0;
}
