/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a DNS query, and as a DNS answer to a fixed question. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/dns_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint8_t question[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x07"
				  "example\x00\x00\x01\x00\x01";

static void check_answer(const uint8_t *data, size_t len)
{
	struct dns_query q;
	struct dns_answer a;

	if (dns_read_query(question, sizeof(question) - 1, &q) < 0 || strcmp(q.name, "x.example"))
		abort();
	if (dns_read_answer(data, len, &q, 0x1234, &a) == 0 &&
		(a.n_addrs > a.n_all || a.n_all > DNS_ADDRS_MAX))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t out[DNS_SHORT_MAX];
	struct dns_query q, again;
	struct ip_addr addr = IP_V4(1, 2, 3, 4);

	if (dns_read_query(data, len, &q) == 0) {
		size_t n = dns_put_address(out, data, &q, &addr, 60);

		if (n > sizeof(out))
			abort();
		out[2] &= 0x7f; /* the question must read the same in the answer */
		if (dns_read_query(out, n, &again) == 0 && strcmp(q.name, again.name) != 0)
			abort();
	}
	check_answer(data, len);
	return 0;
}
