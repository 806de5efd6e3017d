/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "lib/clock.h"
#include "lib/num.h"

#define FRAME_NS  (80 * NS_PER_MS)
#define LINES_MAX 10 /* of layers; others are only counted */
#define BAR_WIDTH 24

static const char *const frames[] = { "⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏" };

void progress_init(struct progress *p, const char *verb, const char *target, bool quiet)
{
	memset(p, 0, sizeof(*p));
	p->out = !quiet && isatty(STDERR_FILENO) ? stderr : NULL;
	p->verb = verb;
	p->target = target;
	p->last_ns = clock_mono_ns(); /* what is done at once shows nothing */
}

/* Back to the first of our lines, each of them empty. */
static void erase(struct progress *p)
{
	if (p->lines)
		(void)fprintf(p->out, "\033[%uA", p->lines);
	(void)fputs("\r\033[J", p->out);
	p->lines = 0;
}

static void draw_heading(struct progress *p)
{
	uint64_t done = 0, total = 0;
	size_t complete = 0;
	char a[OUTPUT_TEXT_MAX], b[OUTPUT_TEXT_MAX];

	for (size_t i = 0; i < p->n_layers; i++) {
		complete += p->layers[i].complete;
		done += p->layers[i].complete ? p->layers[i].total : p->layers[i].done;
		total += p->layers[i].total;
	}
	(void)fprintf(p->out, "   %s %-12s %s", frames[p->frame++ % ARRAY_LEN(frames)], p->verb,
		p->target);
	if (total) {
		output_size(done, a);
		output_size(total, b);
		(void)fprintf(
			p->out, " (%zu of %zu layers, %s of %s)", complete, p->n_layers, a, b);
	}
	(void)fputc('\n', p->out);
	p->lines++;
}

static void draw_layer(struct progress *p, const struct progress_layer *l)
{
	uint64_t full = l->total ? MIN_OF(l->done, l->total) : 0;
	unsigned bar = l->total ? (unsigned)((double)full / (double)l->total * BAR_WIDTH) : 0;
	char done[OUTPUT_TEXT_MAX], line[BAR_WIDTH + 1];

	for (unsigned i = 0; i < BAR_WIDTH; i++)
		line[i] = i < bar ? '=' : i == bar ? '>' : ' ';
	line[BAR_WIDTH] = '\0';
	output_size(l->done, done);
	(void)fprintf(p->out, "     %s [%s] %10s %s\n", l->digest, line, done, l->doing);
	p->lines++;
}

static void draw(struct progress *p)
{
	unsigned shown = 0;

	erase(p);
	draw_heading(p);
	for (size_t i = 0; i < p->n_layers && shown < LINES_MAX; i++) {
		if (!p->layers[i].started || p->layers[i].complete)
			continue;
		draw_layer(p, &p->layers[i]);
		shown++;
	}
	(void)fflush(p->out);
	p->last_ns = clock_mono_ns();
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
	switch (ev->kind) {
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
