/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/iov.h"

#include <stdint.h>
#include <string.h>

#include "lib/num.h"

size_t iov_len(const struct iovec *iov, unsigned n)
{
	size_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* struct span - walks the pieces of [off, off + len) of an iovec list */
struct span {
	const struct iovec *iov;
	unsigned n;
	size_t off, len;
};

/* The next non-empty piece; false at the end of the range or of the list. */
static bool span_next(struct span *s, struct iovec *piece)
{
	while (s->n && s->len) {
		const struct iovec *v = s->iov++;

		s->n--;
		if (s->off >= v->iov_len) {
			s->off -= v->iov_len;
			continue;
		}
		piece->iov_base = (uint8_t *)v->iov_base + s->off;
		piece->iov_len = MIN_OF(v->iov_len - s->off, s->len);
		s->off = 0;
		s->len -= piece->iov_len;
		return true;
	}
	return false;
}

size_t iov_read(const struct iovec *iov, unsigned n, size_t off, void *dst, size_t len)
{
	struct span s = { iov, n, off, len };
	struct iovec p;
	size_t done = 0;

	while (span_next(&s, &p)) {
		memcpy((uint8_t *)dst + done, p.iov_base, p.iov_len);
		done += p.iov_len;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, unsigned n, size_t off, const void *src, size_t len)
{
	struct span s = { iov, n, off, len };
	struct iovec p;
	size_t done = 0;

	while (span_next(&s, &p)) {
		memcpy(p.iov_base, (const uint8_t *)src + done, p.iov_len);
		done += p.iov_len;
	}
	return done;
}

size_t iov_fill(const struct iovec *iov, unsigned n, size_t off, int byte, size_t len)
{
	struct span s = { iov, n, off, len };
	struct iovec p;
	size_t done = 0;

	while (span_next(&s, &p)) {
		memset(p.iov_base, byte, p.iov_len);
		done += p.iov_len;
	}
	return done;
}

unsigned iov_slice(const struct iovec *iov, unsigned n, size_t off, size_t len, struct iovec *dst,
	unsigned dst_max)
{
	struct span s = { iov, n, off, len };
	unsigned used = 0;

	while (used < dst_max && span_next(&s, &dst[used]))
		used++;
	return used;
}
