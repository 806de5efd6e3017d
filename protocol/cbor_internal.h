/* SPDX-License-Identifier: Apache-2.0 */
/* What the CBOR writer and reader share: RFC 8949, 3. */
#ifndef PROTOCOL_CBOR_INTERNAL_H
#define PROTOCOL_CBOR_INTERNAL_H

/* Major types */
#define CBOR_UNSIGNED 0
#define CBOR_NEGATIVE 1
#define CBOR_BINARY   2
#define CBOR_STRING   3
#define CBOR_ARRAY    4
#define CBOR_MAP      5
#define CBOR_TAG      6
#define CBOR_SIMPLE   7

/* Whole initial bytes */
#define CBOR_FALSE     0xf4
#define CBOR_TRUE      0xf5
#define CBOR_NULL      0xf6
#define CBOR_UNDEFINED 0xf7
#define CBOR_BREAK     0xff

/* Tags that change the meaning of what follows: bignums */
#define CBOR_TAG_POSITIVE_BIGNUM 2
#define CBOR_TAG_NEGATIVE_BIGNUM 3

#endif
