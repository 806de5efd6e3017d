/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An epoll event loop. One thread runs it; that thread owns every watch and timer. Another thread
 * may only call loop_post(), loop_is_current() and loop_stop(). While no thread runs the loop, any
 * one thread may prepare or dismantle it.
 *
 * Lifetime rule: a callback may remove any watch or timer, its own included; a removed one is never
 * called again, even if its event was already fetched in the same round.
 */
#ifndef LIB_LOOP_H
#define LIB_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

struct loop;
struct loop_watch;
struct loop_timer;

typedef void loop_fd_fn(void *ctx, int fd, uint32_t events);
typedef void loop_fn(void *ctx);

/* loop_new() - Return: 0 and *ret_loop, freed with loop_free(); -errno (EMFILE, ENOMEM). */
int loop_new(struct loop **ret_loop, struct err *err);

/* loop_free() - frees the loop and what is left of its watches, timers and posts; NULL is fine. */
void loop_free(struct loop *loop);

/*
 * loop_add() - call @fn whenever @fd is ready
 * @fd:     borrowed; must stay open until loop_remove()
 * @events: EPOLLIN, EPOLLOUT, ...; level triggered; 0 watches for EPOLLERR/EPOLLHUP only
 * Return: 0 and *ret_watch (owned by the loop, ended by loop_remove()); -EPERM for files epoll
 * cannot watch (regular files); -errno
 */
int loop_add(struct loop *loop, int fd, uint32_t events, loop_fd_fn *fn, void *ctx,
	struct loop_watch **ret_watch, struct err *err);

/* loop_modify() - change the events waited for; cannot fail on a live watch. No call if unchanged.
 */
void loop_modify(struct loop_watch *watch, uint32_t events);

/*
 * loop_pause() - no calls until the next loop_modify(), not even for EPOLLHUP and EPOLLERR, which
 * cannot be masked otherwise and would spin the loop while their owner has no use for them.
 */
void loop_pause(struct loop_watch *watch);

/* loop_remove() - end a watch and set *watch to NULL; *watch may be NULL. Does not close the fd. */
void loop_remove(struct loop_watch **watch);

/* loop_timer_new() - a timer that is not armed. Owned by the loop, ended by loop_timer_remove(). */
int loop_timer_new(
	struct loop *loop, loop_fn *fn, void *ctx, struct loop_timer **ret_timer, struct err *err);

/*
 * loop_timer_arm() - fire once at the monotonic time @at_ns (in the past: next round); re-arms.
 * Never early; late by up to 1 ms plus whatever other callbacks take.
 */
void loop_timer_arm(struct loop_timer *timer, uint64_t at_ns);

/* loop_timer_disarm() - as if never armed. */
void loop_timer_disarm(struct loop_timer *timer);

/* loop_timer_remove() - end it and set *timer to NULL; *timer may be NULL. */
void loop_timer_remove(struct loop_timer **timer);

/*
 * loop_post() - run @fn on the loop's thread, in order; any thread
 * Return: 0, or -ENOMEM (nothing will be called)
 */
int loop_post(struct loop *loop, loop_fn *fn, void *ctx);

/*
 * loop_unpost() - drop the posts of @fn with @ctx that have not run yet; for destructors. On the
 * loop's thread or while the loop is not running.
 */
void loop_unpost(struct loop *loop, loop_fn *fn, void *ctx);

/* loop_is_current() - is the calling thread inside loop_run() or loop_run_once() of @loop? */
bool loop_is_current(const struct loop *loop);

/*
 * loop_run() - run until loop_stop(); a stop that came before makes it return at once
 * Return: the code given to loop_stop(), which is then forgotten, or -errno of epoll
 */
int loop_run(struct loop *loop, struct err *err);

/* loop_run_once() - wait at most @timeout_ms (-1: no limit) for one round of events. Return: 0,
 * -errno */
int loop_run_once(struct loop *loop, int timeout_ms, struct err *err);

/* loop_stop() - make loop_run() return @code (>= 0) after the current callback; any thread. */
void loop_stop(struct loop *loop, int code);

#endif
