/* SPDX-License-Identifier: Apache-2.0 */
#include "net/checksum.h"

#include "lib/iov.h"
#include "lib/num.h"

static uint32_t fold64(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint32_t)((sum & 0xffff) + (sum >> 16));
}

/*
 * One's complement addition does not care about byte order until the end (RFC 1071, 2.B): add
 * native 32 bit words into 64 bits, then swap once.
 */
uint32_t csum_add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t acc = 0;

	for (; len >= 16; p += 16, len -= 16)
		acc += (uint64_t)load_le32(p) + load_le32(p + 4) + load_le32(p + 8) +
		       load_le32(p + 12);
	for (; len >= 2; p += 2, len -= 2)
		acc += load_le16(p);
	if (len)
		acc += *p;
	/* both sums are kept below 2^17, so neither this nor the caller's next addition wraps */
	return csum_fold(sum) + (uint32_t)__builtin_bswap16((uint16_t)fold64(acc));
}

uint32_t csum_add_iov(uint32_t sum, const struct iovec *iov, unsigned n, size_t off, size_t len)
{
	bool odd = false;

	for (unsigned i = 0; i < n && len; i++) {
		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		size_t part = MIN_OF(iov[i].iov_len - off, len);
		uint16_t s = csum_fold(csum_add(0, (const uint8_t *)iov[i].iov_base + off, part));

		/* a piece that starts at an odd offset contributes with its bytes swapped */
		sum = csum_fold(sum) + (odd ? __builtin_bswap16(s) : s);
		odd ^= part & 1;
		len -= part;
		off = 0;
	}
	return sum;
}

uint32_t csum_pseudo(
	const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t l4_len)
{
	bool v4 = ip_is_v4(src);
	uint32_t sum = proto + (l4_len >> 16) + (l4_len & 0xffff);

	sum = csum_add(sum, v4 ? ip_v4_bytes(src) : src->b, v4 ? 4 : 16);
	return csum_add(sum, v4 ? ip_v4_bytes(dst) : dst->b, v4 ? 4 : 16);
}

uint16_t csum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}
