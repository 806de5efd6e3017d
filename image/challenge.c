/* SPDX-License-Identifier: Apache-2.0 */
#include "image/challenge.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Names and tokens end where one of these comes. */
#define ENDS_TOKEN " \t,=\"\n"

static const char *skip_blanks(const char *s)
{
	return s + strspn(s, " \t,");
}

/* A quoted string or a token; *dst is "" if it does not fit. Return: what follows. */
static const char *take_value(const char *s, char *dst, size_t size)
{
	bool quoted = *s == '"';
	size_t n = 0;

	s += quoted;
	while (*s && *s != '\n' && (quoted ? *s != '"' : !strchr(ENDS_TOKEN, *s))) {
		if (quoted && *s == '\\' && s[1] && s[1] != '\n')
			s++;
		if (n < size)
			dst[n++] = *s;
		s++;
	}
	dst[n < size ? n : 0] = '\0';
	return s + (quoted && *s == '"');
}

static const char *take_parameter(const char *s, struct challenge *c)
{
	char ignored[1];
	size_t n = strcspn(s, ENDS_TOKEN);
	const char *value = s + n + strspn(s + n, " \t");

	if (n == 0 || *value != '=')
		return NULL;
	value += 1 + strspn(value + 1, " \t");
	if (n == 5 && !strncasecmp(s, "realm", n))
		return take_value(value, c->realm, sizeof(c->realm));
	if (n == 7 && !strncasecmp(s, "service", n))
		return take_value(value, c->service, sizeof(c->service));
	return take_value(value, ignored, sizeof(ignored));
}

/* One scheme and its parameters. Return: what follows, never @s itself unless at the end. */
static const char *take_challenge(const char *s, struct challenge *c)
{
	size_t n = strcspn(s, ENDS_TOKEN);
	const char *next;

	*c = (struct challenge){ .kind = CHALLENGE_NONE };
	if (n == 6 && !strncasecmp(s, "bearer", n))
		c->kind = CHALLENGE_BEARER;
	else if (n == 5 && !strncasecmp(s, "basic", n))
		c->kind = CHALLENGE_BASIC;
	s += n ? n : 1;
	while ((next = take_parameter(skip_blanks(s), c)))
		s = next;
	return s;
}

void challenge_parse(const char *text, struct challenge *ret)
{
	struct challenge c;

	*ret = (struct challenge){ .kind = CHALLENGE_NONE };
	for (;;) {
		text += strspn(text, " \t,\n");
		if (!*text)
			return;
		text = take_challenge(text, &c);
		if (c.kind > ret->kind && (c.kind != CHALLENGE_BEARER || c.realm[0]))
			*ret = c;
	}
}
