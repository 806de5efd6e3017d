/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thing that one thread at a time may have, as a mutex, but who waits for it can be told to give
 * up. Whoever has it must not depend on those who wait.
 */
#ifndef IMAGE_TURN_H
#define IMAGE_TURN_H

#include <pthread.h>
#include <stdbool.h>

struct turn {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool taken;
};

void turn_init(struct turn *t);
void turn_release(struct turn *t);

/*
 * turn_take() - wait until nobody has it
 * @give_up: asked before waiting and after every turn_give() and turn_wake(), with the turn's lock
 *	     held: there is no deadline but this
 * Return: 0; -ECANCELED given up
 */
int turn_take(struct turn *t, bool (*give_up)(void *ctx), void *ctx);
void turn_give(struct turn *t);

/* turn_wake() - those who wait are to ask again whether they shall give up */
void turn_wake(struct turn *t);

#endif
