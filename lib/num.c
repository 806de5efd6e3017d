/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/num.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>

_Static_assert(
	__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "load_le* and store_le* are plain copies");

/* Leading digits of *s into *ret, *s behind them; -EINVAL without a digit, -ERANGE on overflow. */
static int parse_digits(const char **s, uint64_t *ret)
{
	uint64_t v = 0;
	const char *p = *s;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	}
	*s = p;
	*ret = v;
	return 0;
}

int num_parse_u64(
	const char *s, const char *what, uint64_t min, uint64_t max, uint64_t *ret, struct err *err)
{
	const char *p = s;
	uint64_t v = 0;
	int rc = parse_digits(&p, &v);

	if (rc == -EINVAL || (rc == 0 && *p))
		return err_msg(err, EINVAL, "%s '%s' is not a whole number", what, s);
	if (rc == -ERANGE || v < min || v > max)
		return err_msg(err, ERANGE,
			"%s %s is out of range: %" PRIu64 " to %" PRIu64 " are allowed", what, s,
			min, max);
	*ret = v;
	return 0;
}

/* The factor a suffix stands for, or 0 for an unknown one. */
static uint64_t suffix_factor(const char *s, uint64_t unit)
{
	static const char letters[] = "kmgt";
	const char *l;

	if (!*s)
		return unit;
	if (!strcmp(s, "b") || !strcmp(s, "B"))
		return 1;
	l = strchr(letters, tolower((unsigned char)*s));
	if (!l)
		return 0;
	s++;
	if (*s == 'i')
		s++;
	if (*s == 'b' || *s == 'B')
		s++;
	return *s ? 0 : 1ULL << (10 * (l - letters + 1));
}

/* A fraction like ".25" of @factor, in bytes; *s behind it. */
static int parse_fraction(const char **s, uint64_t *ret_num, uint64_t *ret_den)
{
	const char *p = *s + 1;

	*ret_num = 0;
	*ret_den = 1;
	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++) {
		if (*ret_den >= 1000000)
			continue; /* digits below a millionth of the unit do not count */
		*ret_num = *ret_num * 10 + (uint64_t)(*p - '0');
		*ret_den *= 10;
	}
	*s = p;
	return 0;
}

int num_parse_size(const char *s, const char *what, uint64_t unit, uint64_t *ret, struct err *err)
{
	uint64_t v = 0, num = 0, den = 1, factor;
	const char *p = s;
	int rc = parse_digits(&p, &v);

	if (rc == 0 && *p == '.')
		rc = parse_fraction(&p, &num, &den);
	factor = suffix_factor(p, unit);
	if (rc == -EINVAL || !factor)
		return err_msg(err, EINVAL,
			"%s '%s' is not a size: use a number, or one with K, M, G or T", what, s);
	if (rc == -ERANGE || __builtin_mul_overflow(v, factor, &v) ||
		__builtin_add_overflow(v, factor * num / den, &v))
		return err_msg(err, ERANGE, "%s %s is too large", what, s);
	*ret = v;
	return 0;
}
