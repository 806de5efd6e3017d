/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/tail.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void tail_add(struct tail *t, const void *data, size_t len)
{
	const char *p = data;

	if (len > TAIL_MAX) {
		t->total += len - TAIL_MAX;
		p += len - TAIL_MAX;
		len = TAIL_MAX;
	}
	while (len > 0) {
		size_t at = t->total % TAIL_MAX;
		size_t n = TAIL_MAX - at < len ? TAIL_MAX - at : len;

		memcpy(t->data + at, p, n);
		t->total += n;
		p += n;
		len -= n;
	}
}

/* struct scrub - what is left of a terminal escape sequence */
struct scrub {
	bool escape, csi;
};

/* The printable form of one byte, or 0 to drop it. */
static char scrub_byte(struct scrub *s, unsigned char c)
{
	if (s->csi) { /* ESC [ parameters, ended by a letter */
		s->csi = !(c >= 0x40 && c <= 0x7e);
		return 0;
	}
	if (s->escape) {
		s->escape = false;
		s->csi = c == '[';
		return 0;
	}
	if (c == 0x1b) {
		s->escape = true;
		return 0;
	}
	if (c == '\t')
		return ' ';
	if (c == '\n')
		return '\n';
	if (c < 0x20 || c == 0x7f)
		return 0;
	return c < 0x80 ? (char)c : '?';
}

/* Clean text of the ring in @text (TAIL_MAX bytes), without empty lines. Return: its length. */
static size_t clean_text(const struct tail *t, char *text)
{
	uint64_t start = t->total > TAIL_MAX ? t->total - TAIL_MAX : 0;
	struct scrub scrub = { 0 };
	size_t len = 0;

	for (uint64_t i = start; i < t->total; i++) {
		char c = scrub_byte(&scrub, (unsigned char)t->data[i % TAIL_MAX]);

		if (!c || (c == '\n' && (len == 0 || text[len - 1] == '\n')))
			continue;
		text[len++] = c;
	}
	while (len > 0 && text[len - 1] == '\n')
		len--;
	return len;
}

size_t tail_lines(const struct tail *t, unsigned max_lines, const char *sep, char *dst, size_t size)
{
	char text[TAIL_MAX];
	size_t len = clean_text(t, text), sep_len = strlen(sep), from = len, need = 1, out = 0;
	unsigned lines = 0;

	if (size == 0)
		return 0;
	/* Walk back line by line while there is room. */
	while (from > 0 && lines < max_lines) {
		size_t start = from - (lines > 0); /* the newline that ends the line before */
		size_t line_end = start;

		while (start > 0 && text[start - 1] != '\n')
			start--;
		if (need + (line_end - start) + (lines ? sep_len : 0) > size)
			break;
		need += (line_end - start) + (lines ? sep_len : 0);
		from = start;
		lines++;
	}
	for (size_t i = from; i < len; i++) {
		if (text[i] == '\n') {
			memcpy(dst + out, sep, sep_len);
			out += sep_len;
		} else {
			dst[out++] = text[i];
		}
	}
	/* One line longer than the room: its end is what matters. */
	if (lines == 0 && len > 0) {
		size_t n = len < size - 1 ? len : size - 1;

		memcpy(dst, text + len - n, n);
		out = n;
	}
	dst[out] = '\0';
	return out;
}

size_t tail_line_with(const struct tail *t, const char *word, char *dst, size_t size)
{
	char text[TAIL_MAX + 1];
	const char *found = NULL;

	if (size == 0)
		return 0;
	text[clean_text(t, text)] = '\0';
	for (const char *p = text; (p = strstr(p, word)); p += strlen(word))
		found = p;
	(void)snprintf(
		dst, size, "%.*s", found ? (int)strcspn(found, "\n") : 0, found ? found : "");
	return strlen(dst);
}
