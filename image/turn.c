/* SPDX-License-Identifier: Apache-2.0 */
#include "image/turn.h"

#include <errno.h>

void turn_init(struct turn *t)
{
	t->taken = false;
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_cond_init(&t->changed, NULL);
}

void turn_release(struct turn *t)
{
	(void)pthread_cond_destroy(&t->changed);
	(void)pthread_mutex_destroy(&t->lock);
}

int turn_take(struct turn *t, bool (*give_up)(void *ctx), void *ctx)
{
	int rc = 0;

	(void)pthread_mutex_lock(&t->lock);
	while (t->taken && !give_up(ctx))
		(void)pthread_cond_wait(&t->changed, &t->lock);
	if (t->taken)
		rc = -ECANCELED;
	t->taken = true;
	(void)pthread_mutex_unlock(&t->lock);
	return rc;
}

void turn_give(struct turn *t)
{
	(void)pthread_mutex_lock(&t->lock);
	t->taken = false;
	(void)pthread_cond_broadcast(&t->changed);
	(void)pthread_mutex_unlock(&t->lock);
}

void turn_wake(struct turn *t)
{
	(void)pthread_mutex_lock(&t->lock);
	(void)pthread_cond_broadcast(&t->changed);
	(void)pthread_mutex_unlock(&t->lock);
}
