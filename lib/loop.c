/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A round: wait in epoll no longer than the next timer allows; call the watches that are ready;
 * run the posts that were queued when the round began to look; fire the timers that are due. What
 * a callback adds is served in the next round, so a callback that keeps posting or re-arming
 * cannot starve the others.
 *
 * Lifetimes: epoll hands out pointers to watches, fetched in batches. A removed watch is therefore
 * only marked dead and unlinked; its memory goes when the outermost round ends. Timers and posts
 * are never referenced across a callback and are freed at once.
 *
 * Other threads touch three things: the post list (post_lock), the stop code (atomic) and the
 * eventfd that wakes the loop.
 */
#include "lib/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"

#define EVENTS_PER_ROUND 64
#define NO_STOP		 (-1)
#define NOT_IN_HEAP	 SIZE_MAX

struct loop_watch {
	struct loop *loop;
	struct loop_watch *prev, *next; /* in loop->watches, or next alone in loop->dead */
	loop_fd_fn *fn;			/* NULL: dead */
	void *ctx;
	int fd;
	uint32_t events;
	bool paused;
};

/* Idle; armed: heap[slot] is it; or due: in loop->due, about to fire. */
struct loop_timer {
	struct loop *loop;
	struct loop_timer *prev, *next; /* in loop->timers */
	struct loop_timer *due_next;
	loop_fn *fn;
	void *ctx;
	uint64_t at_ns;
	size_t slot;
	bool due;
};

struct loop_post {
	struct loop_post *next;
	loop_fn *fn;
	void *ctx;
};

struct post_list {
	struct loop_post *head, **tail;
};

struct loop {
	int epfd, wake_fd;
	struct loop_watch *watches, *dead;
	struct loop_timer *timers, *due, **due_tail;
	struct loop_timer **heap; /* min-heap by at_ns, with room for every timer */
	size_t n_armed, n_timers, heap_cap;
	unsigned depth; /* of rounds: a callback may run one */

	pthread_mutex_t post_lock;
	struct post_list posted;  /* under post_lock */
	struct post_list running; /* taken for this round */
	atomic_int stop;	  /* NO_STOP or the code */
	atomic_bool has_thread;
	_Atomic(pthread_t) thread;
};

/* --- life cycle --- */

int loop_new(struct loop **ret_loop, struct err *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return err_set(err, ENOMEM, "create event loop");
	(void)pthread_mutex_init(&l->post_lock, NULL);
	l->due_tail = &l->due;
	l->posted.tail = &l->posted.head;
	l->running.tail = &l->running.head;
	atomic_init(&l->stop, NO_STOP);
	l->wake_fd = -1;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd >= 0)
		l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0 || epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->wake_fd, &ev) < 0) {
		int code = errno;

		loop_free(l);
		return err_set(err, code, "create event loop");
	}
	*ret_loop = l;
	return 0;
}

static void post_list_free(struct post_list *list)
{
	while (list->head) {
		struct loop_post *p = list->head;

		list->head = p->next;
		free(p);
	}
	list->tail = &list->head;
}

static void free_dead(struct loop *l)
{
	while (l->dead) {
		struct loop_watch *w = l->dead;

		l->dead = w->next;
		free(w);
	}
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	while (l->watches) {
		struct loop_watch *w = l->watches;

		loop_remove(&w);
	}
	while (l->timers) {
		struct loop_timer *t = l->timers;

		loop_timer_remove(&t);
	}
	free_dead(l);
	free(l->heap);
	post_list_free(&l->posted);
	post_list_free(&l->running);
	close_fd(&l->wake_fd);
	close_fd(&l->epfd);
	(void)pthread_mutex_destroy(&l->post_lock);
	free(l);
}

/* --- watches --- */

int loop_add(struct loop *l, int fd, uint32_t events, loop_fd_fn *fn, void *ctx,
	struct loop_watch **ret_watch, struct err *err)
{
	struct epoll_event ev = { .events = events };
	struct loop_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set(err, ENOMEM, "watch descriptor %d", fd);
	ev.data.ptr = w;
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		int code = errno;

		free(w);
		return err_set(err, code, "watch descriptor %d", fd);
	}
	*w = (struct loop_watch){
		.loop = l, .next = l->watches, .fn = fn, .ctx = ctx, .fd = fd, .events = events
	};
	if (w->next)
		w->next->prev = w;
	l->watches = w;
	*ret_watch = w;
	return 0;
}

static void watch_set(struct loop_watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	/* MOD of a registered descriptor allocates nothing and has no way to fail */
	(void)epoll_ctl(w->loop->epfd, EPOLL_CTL_MOD, w->fd, &ev);
}

void loop_modify(struct loop_watch *w, uint32_t events)
{
	if (w->events == events && !w->paused)
		return;
	w->events = events;
	w->paused = false;
	watch_set(w, events);
}

void loop_pause(struct loop_watch *w)
{
	if (w->paused)
		return;
	w->paused = true;
	/* one report of a hang-up may still come, is dropped by dispatch, and disables the entry */
	watch_set(w, EPOLLONESHOT);
}

void loop_remove(struct loop_watch **watch)
{
	struct loop_watch *w = *watch;

	if (!w)
		return;
	*watch = NULL;
	(void)epoll_ctl(w->loop->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	if (w->prev)
		w->prev->next = w->next;
	else
		w->loop->watches = w->next;
	if (w->next)
		w->next->prev = w->prev;
	w->fn = NULL;
	w->next = w->loop->dead;
	w->loop->dead = w;
	if (!w->loop->depth)
		free_dead(w->loop);
}

/* --- timers --- */

static void heap_put(struct loop *l, size_t slot, struct loop_timer *t)
{
	l->heap[slot] = t;
	t->slot = slot;
}

static void heap_up(struct loop *l, size_t slot, struct loop_timer *t)
{
	while (slot && l->heap[(slot - 1) / 2]->at_ns > t->at_ns) {
		heap_put(l, slot, l->heap[(slot - 1) / 2]);
		slot = (slot - 1) / 2;
	}
	heap_put(l, slot, t);
}

static void heap_down(struct loop *l, size_t slot, struct loop_timer *t)
{
	for (;;) {
		size_t kid = 2 * slot + 1;

		if (kid + 1 < l->n_armed && l->heap[kid + 1]->at_ns < l->heap[kid]->at_ns)
			kid++;
		if (kid >= l->n_armed || l->heap[kid]->at_ns >= t->at_ns)
			break;
		heap_put(l, slot, l->heap[kid]);
		slot = kid;
	}
	heap_put(l, slot, t);
}

static void heap_remove(struct loop *l, struct loop_timer *t)
{
	size_t slot = t->slot;
	struct loop_timer *moved = l->heap[--l->n_armed];

	t->slot = NOT_IN_HEAP;
	if (moved == t)
		return;
	if (slot && l->heap[(slot - 1) / 2]->at_ns > moved->at_ns)
		heap_up(l, slot, moved);
	else
		heap_down(l, slot, moved);
}

int loop_timer_new(
	struct loop *l, loop_fn *fn, void *ctx, struct loop_timer **ret_timer, struct err *err)
{
	struct loop_timer *t = calloc(1, sizeof(*t));

	if (t && l->n_timers == l->heap_cap) { /* room now, so that arming cannot fail */
		size_t cap = l->heap_cap ? 2 * l->heap_cap : 8;
		struct loop_timer **heap = reallocarray(l->heap, cap, sizeof(*heap));

		if (heap) {
			l->heap = heap;
			l->heap_cap = cap;
		}
	}
	if (!t || l->n_timers == l->heap_cap) {
		free(t);
		return err_set(err, ENOMEM, "create timer");
	}
	*t = (struct loop_timer){
		.loop = l, .next = l->timers, .fn = fn, .ctx = ctx, .slot = NOT_IN_HEAP
	};
	if (t->next)
		t->next->prev = t;
	l->timers = t;
	l->n_timers++;
	*ret_timer = t;
	return 0;
}

static void due_unlink(struct loop *l, struct loop_timer *t)
{
	struct loop_timer **at = &l->due;

	while (*at != t)
		at = &(*at)->due_next;
	*at = t->due_next;
	if (!*at)
		l->due_tail = at;
	t->due = false;
}

void loop_timer_disarm(struct loop_timer *t)
{
	if (t->due)
		due_unlink(t->loop, t);
	if (t->slot != NOT_IN_HEAP)
		heap_remove(t->loop, t);
}

void loop_timer_arm(struct loop_timer *t, uint64_t at_ns)
{
	loop_timer_disarm(t);
	t->at_ns = at_ns;
	heap_up(t->loop, t->loop->n_armed++, t);
}

void loop_timer_remove(struct loop_timer **timer)
{
	struct loop_timer *t = *timer;

	if (!t)
		return;
	*timer = NULL;
	loop_timer_disarm(t);
	if (t->prev)
		t->prev->next = t->next;
	else
		t->loop->timers = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->loop->n_timers--;
	free(t);
}

/* --- other threads --- */

static void loop_wake(struct loop *l)
{
	/* fails only when the counter is full, and then the loop is awake already */
	(void)!eventfd_write(l->wake_fd, 1);
}

int loop_post(struct loop *l, loop_fn *fn, void *ctx)
{
	struct loop_post *p = malloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	*p = (struct loop_post){ .fn = fn, .ctx = ctx };
	(void)pthread_mutex_lock(&l->post_lock);
	*l->posted.tail = p;
	l->posted.tail = &p->next;
	(void)pthread_mutex_unlock(&l->post_lock);
	loop_wake(l);
	return 0;
}

static void post_list_drop(struct post_list *list, loop_fn *fn, void *ctx)
{
	struct loop_post **at = &list->head;

	while (*at) {
		struct loop_post *p = *at;

		if (p->fn != fn || p->ctx != ctx) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		free(p);
	}
	list->tail = at;
}

void loop_unpost(struct loop *l, loop_fn *fn, void *ctx)
{
	(void)pthread_mutex_lock(&l->post_lock);
	post_list_drop(&l->posted, fn, ctx);
	(void)pthread_mutex_unlock(&l->post_lock);
	post_list_drop(&l->running, fn, ctx);
}

void loop_stop(struct loop *l, int code)
{
	atomic_store(&l->stop, MAX_OF(code, 0));
	loop_wake(l);
}

bool loop_is_current(const struct loop *l)
{
	/* whoever sees its own id here wrote it itself, so the two loads need no common moment */
	return atomic_load(&l->has_thread) &&
	       pthread_equal(atomic_load(&l->thread), pthread_self());
}

/* --- rounds --- */

static bool stopping(struct loop *l)
{
	return atomic_load(&l->stop) != NO_STOP;
}

/* How long epoll may wait: rounded up, as a timer must not fire early. */
static int round_timeout_ms(struct loop *l, int limit_ms)
{
	uint64_t now, ms;

	if (l->due || l->running.head || stopping(l))
		return 0;
	if (!l->n_armed)
		return limit_ms;
	now = clock_mono_ns();
	if (l->heap[0]->at_ns <= now)
		return 0;
	ms = (l->heap[0]->at_ns - now - 1) / NS_PER_MS + 1;
	ms = MIN_OF(ms, (uint64_t)INT_MAX);
	return limit_ms >= 0 && (uint64_t)limit_ms < ms ? limit_ms : (int)ms;
}

static void run_watches(struct loop *l, const struct epoll_event *ev, int n)
{
	for (int i = 0; i < n && !stopping(l); i++) {
		struct loop_watch *w = ev[i].data.ptr;
		eventfd_t count;

		if (!w)
			(void)!eventfd_read(l->wake_fd, &count);
		else if (w->fn && !w->paused)
			w->fn(w->ctx, w->fd, ev[i].events);
	}
}

static void run_posts(struct loop *l)
{
	/* what a stop or a nested round left over comes first */
	(void)pthread_mutex_lock(&l->post_lock);
	if (l->posted.head) {
		*l->running.tail = l->posted.head;
		l->running.tail = l->posted.tail;
		l->posted.head = NULL;
		l->posted.tail = &l->posted.head;
	}
	(void)pthread_mutex_unlock(&l->post_lock);

	while (l->running.head && !stopping(l)) {
		struct loop_post p = *l->running.head;

		free(l->running.head);
		l->running.head = p.next;
		if (!p.next)
			l->running.tail = &l->running.head;
		p.fn(p.ctx);
	}
}

static void run_timers(struct loop *l)
{
	uint64_t now = l->n_armed ? clock_mono_ns() : 0;

	while (l->n_armed && l->heap[0]->at_ns <= now) {
		struct loop_timer *t = l->heap[0];

		heap_remove(l, t);
		t->due = true;
		t->due_next = NULL;
		*l->due_tail = t;
		l->due_tail = &t->due_next;
	}
	while (l->due && !stopping(l)) {
		struct loop_timer *t = l->due;

		due_unlink(l, t);
		t->fn(t->ctx);
	}
}

int loop_run_once(struct loop *l, int timeout_ms, struct err *err)
{
	struct epoll_event ev[EVENTS_PER_ROUND];
	int n;

	atomic_store(&l->thread, pthread_self());
	atomic_store(&l->has_thread, true);
	l->depth++;
	n = epoll_wait(l->epfd, ev, EVENTS_PER_ROUND, round_timeout_ms(l, timeout_ms));
	if (n < 0 && errno != EINTR) {
		n = -errno;
	} else {
		run_watches(l, ev, n);
		run_posts(l);
		run_timers(l);
		n = 0;
	}
	if (--l->depth == 0) {
		free_dead(l);
		atomic_store(&l->has_thread, false);
	}
	return n < 0 ? err_set(err, n, "wait for events") : 0;
}

int loop_run(struct loop *l, struct err *err)
{
	while (!stopping(l)) {
		int r = loop_run_once(l, -1, err);

		if (r < 0)
			return r;
	}
	return atomic_exchange(&l->stop, NO_STOP);
}
