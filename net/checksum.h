/* SPDX-License-Identifier: Apache-2.0 */
/* The Internet checksum (RFC 1071), in pieces and over scattered memory. */
#ifndef NET_CHECKSUM_H
#define NET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "net/addr.h"

/*
 * csum_add() - add @len bytes to a running sum of big-endian 16 bit words
 * An odd piece is padded with zero, so only the last piece of a packet may be odd.
 */
uint32_t csum_add(uint32_t sum, const void *data, size_t len);

/* csum_add_iov() - the same over [off, off + len) of @iov; entries may have odd lengths. */
uint32_t csum_add_iov(uint32_t sum, const struct iovec *iov, unsigned n, size_t off, size_t len);

/* csum_pseudo() - the pseudo header of IPv4 (RFC 793) or IPv6 (RFC 8200, 8.1). */
uint32_t csum_pseudo(
	const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto, uint32_t l4_len);

/* csum_fold() - the sum in 16 bits, not inverted: what an offloading sender leaves in the field. */
uint16_t csum_fold(uint32_t sum);

/* csum_finish() - the value for the header field, to be stored big-endian. */
static inline uint16_t csum_finish(uint32_t sum)
{
	return (uint16_t)~csum_fold(sum);
}

#endif
