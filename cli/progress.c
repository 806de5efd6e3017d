/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/output.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"

#define FRAME_NS   (80 * NS_PER_MS)
#define LINES_MAX  10 /* of layers; others are only counted */
#define BAR_WIDTH  24
#define LINE_BYTES 512
/* Of a terminal that does not say. */
#define DEFAULT_COLUMNS 79
#define DEFAULT_ROWS	23

static const char *const frames[] = { "⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏" };

void progress_init(struct progress *p, const char *verb, const char *target, bool quiet)
{
	memset(p, 0, sizeof(*p));
	p->out = !quiet && isatty(STDERR_FILENO) ? stderr : NULL;
	p->verb = verb;
	p->target = target;
	p->last_ns = clock_mono_ns();
}

/*
 * Back to the first of our lines, each of them empty. A terminal that became narrower may have made
 * two of one: then a piece stays, rather than that we take away what is not ours.
 */
static void erase(struct progress *p)
{
	if (p->lines)
		(void)fprintf(p->out, "\033[%uA", p->lines);
	(void)fputs("\r\033[J", p->out);
	p->lines = 0;
}

/* How many lines and columns may be used: all but the last, where the cursor would go on. */
static void measure(struct progress *p)
{
	struct winsize w = { 0 };

	(void)ioctl(fileno(p->out), TIOCGWINSZ, &w);
	p->columns = w.ws_col ? w.ws_col - 1 : DEFAULT_COLUMNS;
	p->rows = w.ws_row ? w.ws_row - 1 : DEFAULT_ROWS;
}

/* Bytes of the character at @s, and the columns it takes: two from where East Asian letters begin.
 */
static size_t character(const char *s, unsigned *ret_columns)
{
	unsigned char c = (unsigned char)*s;
	size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1, n = 1;

	while (n < want && ((unsigned char)s[n] & 0xc0) == 0x80)
		n++;
	*ret_columns = c >= 0xf0 || (c >= 0xe3 && c < 0xf0) || (c == 0xe1 && s[1] & 0x3c) ? 2 : 1;
	return n;
}

/* A line, cut to what fits: one that wraps could not be erased. */
static void put_line(struct progress *p, char *line)
{
	unsigned used = 0, columns;
	size_t len = 0, n;

	if (p->lines >= p->rows)
		return;
	log_clean(line);
	for (; line[len]; len += n) {
		n = character(line + len, &columns);
		if (used + columns > p->columns)
			break;
		used += columns;
	}
	(void)fprintf(p->out, "%.*s\n", (int)len, line);
	p->lines++;
}

static void draw_heading(struct progress *p)
{
	uint64_t done = 0, total = 0;
	size_t complete = 0;
	char a[OUTPUT_TEXT_MAX], b[OUTPUT_TEXT_MAX], line[LINE_BYTES];
	int n;

	for (size_t i = 0; i < p->n_layers; i++) {
		complete += p->layers[i].complete;
		done += p->layers[i].complete ? p->layers[i].total : p->layers[i].done;
		total += p->layers[i].total;
	}
	n = snprintf(line, sizeof(line), "   %s %-12s %.300s",
		frames[p->frame++ % ARRAY_LEN(frames)], p->verb, p->target);
	if (total) {
		output_size(done, a);
		output_size(total, b);
		(void)snprintf(line + n, sizeof(line) - (size_t)n, " (%zu of %zu layers, %s of %s)",
			complete, p->n_layers, a, b);
	}
	put_line(p, line);
}

static void draw_layer(struct progress *p, const struct progress_layer *l)
{
	uint64_t full = l->total ? MIN_OF(l->done, l->total) : 0;
	unsigned bar = l->total ? (unsigned)((double)full / (double)l->total * BAR_WIDTH) : 0;
	char done[OUTPUT_TEXT_MAX], drawn[BAR_WIDTH + 1], line[LINE_BYTES];

	for (unsigned i = 0; i < BAR_WIDTH; i++)
		drawn[i] = i < bar ? '=' : i == bar ? '>' : ' ';
	drawn[BAR_WIDTH] = '\0';
	output_size(l->done, done);
	(void)snprintf(
		line, sizeof(line), "     %s [%s] %10s %s", l->digest, drawn, done, l->doing);
	put_line(p, line);
}

static void draw(struct progress *p)
{
	char line[LINE_BYTES];
	unsigned shown = 0;

	erase(p);
	measure(p);
	draw_heading(p);
	for (size_t i = 0; i < p->n_layers && shown < LINES_MAX; i++) {
		if (!p->layers[i].started || p->layers[i].complete)
			continue;
		draw_layer(p, &p->layers[i]);
		shown++;
	}
	if (p->trouble[0]) {
		(void)snprintf(line, sizeof(line), "     ! %s", p->trouble);
		put_line(p, line);
	}
	(void)fflush(p->out);
	p->last_ns = clock_mono_ns();
}

/* What may take a while is said at once: a wait, or a registry that does not answer. */
static void say_trouble(struct progress *p, const struct image_event *ev)
{
	(void)snprintf(p->trouble, sizeof(p->trouble), "again in %.1f s: %s",
		(double)ev->done / 1000, ev->reason);
	draw(p);
}

static void update_layer(struct progress *p, const struct image_event *ev, const char *doing)
{
	struct progress_layer *l;
	char digest[OUTPUT_TEXT_MAX];

	if (ev->layer >= IMAGE_LAYERS_MAX)
		return;
	p->n_layers = MAX_OF(p->n_layers, ev->layer + 1);
	l = &p->layers[ev->layer];
	if (ev->digest && !l->started) {
		output_short_digest(ev->digest, digest);
		(void)snprintf(l->digest, sizeof(l->digest), "%.19s", digest);
	}
	l->started = true;
	l->doing = doing;
	l->complete = ev->kind == IMAGE_LAYER_COMPLETE;
	if (ev->total)
		l->total = ev->total;
	if (ev->done)
		l->done = ev->done;
}

void progress_event(void *ctx, const struct image_event *ev)
{
	struct progress *p = ctx;

	if (!p->out)
		return;
	if (ev->kind == IMAGE_RETRYING) {
		say_trouble(p, ev);
		return;
	}
	p->trouble[0] = '\0';
	switch (ev->kind) {
	case IMAGE_RESOLVING:
		draw(p);
		break;
	case IMAGE_RESOLVED:
		p->n_layers = MIN_OF(ev->layers, (size_t)IMAGE_LAYERS_MAX);
		break;
	case IMAGE_LAYER_DOWNLOAD:
		update_layer(p, ev, "downloading");
		break;
	case IMAGE_LAYER_DOWNLOADED:
	case IMAGE_LAYER_STARTED:
	case IMAGE_LAYER_PROGRESS:
	case IMAGE_LAYER_COMPLETE:
		update_layer(p, ev, "unpacking");
		break;
	default:
		break;
	}
	if (clock_mono_ns() - p->last_ns >= FRAME_NS)
		draw(p);
}

void progress_end(struct progress *p)
{
	if (!p->out)
		return;
	erase(p);
	(void)fflush(p->out);
	p->out = NULL;
}
