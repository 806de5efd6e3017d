/* SPDX-License-Identifier: Apache-2.0 */
#include "image/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/num.h"

#define COUNT 2000

/* Any sequence does, as long as it is the same in every run. */
static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 4;
}

static struct tree_name *new_name(unsigned i, uint32_t priority)
{
	struct tree_name *n = calloc(1, sizeof(*n) + 16);

	assert_non_null(n);
	n->len = (uint8_t)snprintf(n->name, 16, "%u", i);
	n->priority = priority;
	return n;
}

static struct tree_name *find(struct tree_name *root, unsigned i)
{
	char name[16];
	int len = snprintf(name, sizeof(name), "%u", i);

	return names_find(root, name, (size_t)len);
}

static struct tree_name *take(struct tree_name **root, unsigned i)
{
	char name[16];
	int len = snprintf(name, sizeof(name), "%u", i);

	return names_remove(root, name, (size_t)len);
}

/* struct seen - what names_each() has shown: the one before, and how many */
struct seen {
	const struct tree_name *last;
	unsigned n;
};

static void check_order(void *ctx, struct tree_name *n)
{
	struct seen *s = ctx;

	if (s->last)
		assert_true(strcmp(s->last->name, n->name) < 0);
	s->last = n;
	s->n++;
}

static void drop(void *ctx, struct tree_name *n)
{
	free(n);
}

static unsigned depth(const struct tree_name *n)
{
	unsigned left, right;

	if (!n)
		return 0;
	assert_true(!n->left || n->left->priority <= n->priority);
	assert_true(!n->right || n->right->priority <= n->priority);
	left = depth(n->left);
	right = depth(n->right);
	return 1 + MAX_OF(left, right);
}

static void test_random(void **state)
{
	struct tree_name *root = NULL;
	bool there[COUNT] = { false };
	unsigned count = 0;
	uint32_t seed = 1;

	for (unsigned step = 0; step < 20 * COUNT; step++) {
		unsigned i = next_random(&seed) % COUNT;

		assert_int_equal(find(root, i) != NULL, there[i]);
		if (there[i]) {
			free(take(&root, i));
			count--;
		} else {
			/* Few priorities, so that many are equal. */
			names_add(&root, new_name(i, next_random(&seed) % 512));
			count++;
		}
		there[i] = !there[i];
		if (step % COUNT == 0) {
			struct seen s = { .n = 0 };

			names_each(root, check_order, &s);
			assert_int_equal(s.n, count);
			(void)depth(root);
		}
	}
	names_each(root, drop, NULL);
}

/* Prefixes come first, and bytes count as unsigned. */
static void test_order(void **state)
{
	static const char *const names[] = { "\xff", "ab", "a", "b", "abc", "Z" };
	struct tree_name *root = NULL;
	struct seen s = { .n = 0 };

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		struct tree_name *n = new_name(0, i);

		n->len = (uint8_t)strlen(names[i]);
		memcpy(n->name, names[i], n->len + 1U);
		names_add(&root, n);
	}
	names_each(root, check_order, &s);
	assert_int_equal(s.n, ARRAY_LEN(names));
	assert_null(names_find(root, "abcd", 4));
	assert_null(names_remove(&root, "", 0));
	names_each(root, drop, NULL);
}

/* Ascending, the worst order for a tree that nothing keeps shallow. */
static void test_depth(void **state)
{
	struct tree_name *root = NULL;
	uint32_t seed = 7;

	for (unsigned i = 0; i < 100000; i++)
		names_add(&root, new_name(1000000 + i, next_random(&seed)));
	assert_true(depth(root) < 80);
	names_each(root, drop, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_depth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
