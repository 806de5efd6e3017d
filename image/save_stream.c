/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/save_sink.h"
#include "lib/io.h"
#include "lib/num.h"

#define BUFFER KIB(256)

int save_stream_init(struct save_stream *s, int fd, const char *what, struct err *err)
{
	*s = (struct save_stream){ .fd = fd, .what = what, .buf = malloc(BUFFER) };
	return s->buf ? 0 : err_set(err, ENOMEM, "save images");
}

void save_stream_release(struct save_stream *s)
{
	free(s->buf);
	s->buf = NULL;
}

int save_stream_flush(struct save_stream *s, struct err *err)
{
	int r = io_write(s->fd, s->buf, s->len);

	s->len = 0;
	return r < 0 ? err_set(err, r, "write %s", s->what) : 0;
}

int save_stream_put(struct save_stream *s, const void *data, size_t len, struct err *err)
{
	const uint8_t *p = data;

	while (len) {
		size_t n = MIN_OF(len, BUFFER - s->len);
		int rc;

		memcpy(s->buf + s->len, p, n);
		s->len += n;
		p += n;
		len -= n;
		rc = s->len == BUFFER ? save_stream_flush(s, err) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}
