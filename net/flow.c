/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow table: a chained hash that grows, a list per kind in order of use, and the list of flows
 * that want to run. The guest chooses the keys, so the hash is keyed.
 *
 * Deadlines are lazy: moving one later, which every packet does, only writes a number; the timer
 * fires at the old time and is armed again.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"
#include "net/net_internal.h"

_Static_assert(sizeof(struct flow_key) == 40, "hashed as bytes: no padding");

#define SLOTS_MIN 64

int flow_table_init(struct net *net)
{
	struct flow_table *t = &net->flows;

	net->run_tail = &net->run_head;
	t->seed[0] = net_random(net);
	t->seed[1] = net_random(net);
	t->n_slots = SLOTS_MIN;
	t->slots = calloc(SLOTS_MIN, sizeof(*t->slots));
	return t->slots ? 0 : -ENOMEM;
}

void flow_table_release(struct net *net)
{
	free(net->flows.slots);
	net->flows.slots = NULL;
}

static size_t key_slot(const struct flow_table *t, const struct flow_key *key)
{
	uint64_t h = t->seed[0];
	const uint8_t *p = (const uint8_t *)key;

	for (size_t i = 0; i < sizeof(*key); i += 8) {
		unsigned __int128 m = (unsigned __int128)(h ^ load_le64(p + i)) * (t->seed[1] | 1);

		h = (uint64_t)m ^ (uint64_t)(m >> 64);
	}
	return h & (t->n_slots - 1);
}

struct flow *flow_find(struct net *net, const struct flow_key *key)
{
	struct flow *f = net->flows.slots[key_slot(&net->flows, key)];

	while (f && memcmp(&f->key, key, sizeof(*key)) != 0)
		f = f->hash_next;
	return f;
}

/* Doubles the slots once chains average one flow. Without memory chains just get longer. */
static void grow(struct flow_table *t)
{
	struct flow_table bigger = *t;

	bigger.n_slots *= 2;
	bigger.slots = calloc(bigger.n_slots, sizeof(*bigger.slots));
	if (!bigger.slots)
		return;
	for (size_t i = 0; i < t->n_slots; i++) {
		while (t->slots[i]) {
			struct flow *f = t->slots[i];
			size_t slot = key_slot(&bigger, &f->key);

			t->slots[i] = f->hash_next;
			f->hash_next = bigger.slots[slot];
			bigger.slots[slot] = f;
		}
	}
	free(t->slots);
	*t = bigger;
}

static void list_append(struct flow_list *l, struct flow *f)
{
	f->lru_next = NULL;
	f->lru_prev = l->back;
	if (l->back)
		l->back->lru_next = f;
	else
		l->front = f;
	l->back = f;
}

static void list_remove(struct flow_list *l, struct flow *f)
{
	if (f->lru_prev)
		f->lru_prev->lru_next = f->lru_next;
	else
		l->front = f->lru_next;
	if (f->lru_next)
		f->lru_next->lru_prev = f->lru_prev;
	else
		l->back = f->lru_prev;
}

static void on_timer(void *ctx)
{
	struct flow *f = ctx;
	uint64_t now = clock_mono_ns();

	f->timer_at_ns = 0;
	if (!f->deadline_ns)
		return;
	if (now < f->deadline_ns) { /* it was moved since */
		f->timer_at_ns = f->deadline_ns;
		loop_timer_arm(f->timer, f->deadline_ns);
		return;
	}
	f->deadline_ns = 0;
	f->on_deadline(f);
}

int flow_init(struct net *net, struct flow *f, void (*on_deadline)(struct flow *f))
{
	struct flow_table *t = &net->flows;
	struct flow_list *l = &t->kinds[f->key.kind];
	size_t slot;

	f->net = net;
	f->on_deadline = on_deadline;
	if (loop_timer_new(net->loop, on_timer, f, &f->timer, NULL) < 0)
		return -ENOMEM;
	if (t->count >= t->n_slots)
		grow(t);
	slot = key_slot(t, &f->key);
	f->hash_next = t->slots[slot];
	t->slots[slot] = f;
	t->count++;
	list_append(l, f);
	l->count++;
	return 0;
}

int flow_watch(struct flow *f, uint32_t events, loop_fd_fn *fn)
{
	return loop_add(f->net->loop, f->fd, events, fn, f, &f->watch, NULL);
}

static void unqueue(struct flow *f)
{
	if (!f->queued)
		return;
	*f->run_link = f->run_next;
	if (f->run_next)
		f->run_next->run_link = f->run_link;
	else
		f->net->run_tail = f->run_link;
	f->queued = false;
}

void flow_release(struct flow *f)
{
	struct flow_table *t = &f->net->flows;
	struct flow **at = &t->slots[key_slot(t, &f->key)];

	while (*at != f)
		at = &(*at)->hash_next;
	*at = f->hash_next;
	t->count--;
	list_remove(&t->kinds[f->key.kind], f);
	t->kinds[f->key.kind].count--;
	unqueue(f);
	loop_remove(&f->watch);
	loop_timer_remove(&f->timer);
	close_fd(&f->fd);
}

void flow_touch(struct flow *f)
{
	struct flow_list *l = &f->net->flows.kinds[f->key.kind];

	if (l->back == f)
		return;
	list_remove(l, f);
	list_append(l, f);
}

void flow_deadline(struct flow *f, uint64_t at_ns)
{
	f->deadline_ns = at_ns;
	if (!at_ns || (f->timer_at_ns && f->timer_at_ns <= at_ns))
		return;
	f->timer_at_ns = at_ns;
	loop_timer_arm(f->timer, at_ns);
}

void flow_queue(struct flow *f)
{
	if (f->queued)
		return;
	f->queued = true;
	f->run_next = NULL;
	f->run_link = f->net->run_tail;
	*f->net->run_tail = f;
	f->net->run_tail = &f->run_next;
}

/*
 * One pass: what queues itself again, because the guest has no buffers, waits for the next. A flow
 * may free itself while it runs, but no other.
 */
void flow_run_all(struct net *net)
{
	struct flow *f, *last = NULL;

	if (net->run_head)
		last = container_of(net->run_tail, struct flow, run_next);
	while (last && net->run_head) {
		bool end = net->run_head == last;

		f = net->run_head;
		unqueue(f);
		f->run(f);
		if (end)
			break;
	}
}

void flow_drop_all(struct net *net)
{
	while (net->flows.kinds[FLOW_TCP].front)
		tcp_drop(net->flows.kinds[FLOW_TCP].front);
	while (net->flows.kinds[FLOW_UDP].front)
		udp_free(net->flows.kinds[FLOW_UDP].front);
	while (net->flows.kinds[FLOW_PING].front)
		ping_free(net->flows.kinds[FLOW_PING].front);
}
