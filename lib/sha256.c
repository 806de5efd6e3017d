/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sha256.h"

#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 64
#define WORDS 8

/* FIPS 180-4, 4.2.2 */
static const uint32_t k[BLOCK] = { 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b,
	0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6,
	0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d,
	0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
	0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585,
	0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa,
	0xa4506ceb, 0xbef9a3f7, 0xc67178f2 };

static uint32_t rotr(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

/* 6.2.2, step 1 */
static void schedule(const uint8_t block[static BLOCK], uint32_t w[static BLOCK])
{
	for (unsigned i = 0; i < 16; i++) {
		memcpy(&w[i], block + (size_t)4 * i, 4);
		w[i] = be32toh(w[i]);
	}
	for (unsigned i = 16; i < BLOCK; i++) {
		uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;

		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
}

/* Steps 2 to 4; v[0..7] are the standard's a..h. */
static void take_block(uint32_t state[static WORDS], const uint8_t block[static BLOCK])
{
	uint32_t w[BLOCK], v[WORDS];

	schedule(block, w);
	memcpy(v, state, sizeof(v));
	for (unsigned i = 0; i < BLOCK; i++) {
		uint32_t s1 = rotr(v[4], 6) ^ rotr(v[4], 11) ^ rotr(v[4], 25);
		uint32_t s0 = rotr(v[0], 2) ^ rotr(v[0], 13) ^ rotr(v[0], 22);
		uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
		uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
		uint32_t t1 = v[7] + s1 + choice + k[i] + w[i];

		memmove(v + 1, v, sizeof(v) - sizeof(v[0]));
		v[4] += t1;
		v[0] = t1 + s0 + majority;
	}
	for (unsigned i = 0; i < WORDS; i++)
		state[i] += v[i];
}

/* The rest, a one bit, zeros, and the length in bits: one block or two. */
static void take_end(uint32_t state[static WORDS], const uint8_t *rest, size_t n, size_t total)
{
	uint8_t end[2 * BLOCK] = { 0 };
	size_t size = n < BLOCK - sizeof(uint64_t) ? BLOCK : sizeof(end);
	uint64_t bits = htobe64((uint64_t)total * 8);

	if (n)
		memcpy(end, rest, n);
	end[n] = 0x80;
	memcpy(end + size - sizeof(bits), &bits, sizeof(bits));
	for (size_t at = 0; at < size; at += BLOCK)
		take_block(state, end + at);
}

void sha256_text(const void *data, size_t len, char ret[static SHA256_TEXT_MAX])
{
	uint32_t state[WORDS] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
		0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	const uint8_t *bytes = data;
	size_t at = 0;

	for (; len - at >= BLOCK; at += BLOCK)
		take_block(state, bytes + at);
	take_end(state, bytes + at, len - at, len);
	for (size_t i = 0; i < WORDS; i++)
		(void)snprintf(ret + 8 * i, 9, "%08x", state[i]);
}
