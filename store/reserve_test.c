/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/reserve.h"
#include "store/test_util.h"

static const struct home *home_of(const struct scratch *s, struct home *ret)
{
	*ret = (struct home){ .db_dir = (char *)(uintptr_t)s->path };
	return ret;
}

static unsigned count(const struct scratch *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RESERVE_FILES; i++) {
		char name[32];
		struct stat st;

		(void)snprintf(name, sizeof(name), ".reserve/%u", i);
		if (fstatat(s->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		assert_true((uint64_t)st.st_blocks * 512 >= RESERVE_FILE);
		n++;
	}
	return n;
}

static void it_is_given_and_made_again(void **state)
{
	const struct scratch *s = *state;
	struct home home;

	reserve_give(home_of(s, &home));
	assert_false(exists(s->fd, ".reserve"));
	for (unsigned i = 0; i < 2; i++) {
		reserve_keep(&home, i == 0);
		assert_int_equal(count(s), RESERVE_FILES);
		reserve_keep(&home, false);
		reserve_give(&home);
		reserve_give(&home);
		assert_int_equal(count(s), 0);
	}
}

/* As a process leaves it that is killed while it makes or gives it. */
static void half_of_it_is_made_whole(void **state)
{
	const struct scratch *s = *state;
	struct home home;

	reserve_keep(home_of(s, &home), false);
	put_file(s->fd, ".reserve/3", "", 0);
	assert_int_equal(unlinkat(s->fd, ".reserve/7", 0), 0);
	assert_int_equal(unlinkat(s->fd, ".reserve/6", 0), 0);
	reserve_keep(&home, false);
	assert_int_equal(count(s), RESERVE_FILES);
}

static void what_is_in_the_way_is_left_alone(void **state)
{
	const struct scratch *s = *state;
	struct home home;

	assert_int_equal(symlinkat("/tmp", s->fd, ".reserve"), 0);
	reserve_keep(home_of(s, &home), false);
	reserve_give(&home);
	assert_true(exists(s->fd, ".reserve"));
	assert_false(exists(AT_FDCWD, "/tmp/7"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(it_is_given_and_made_again),
		scratch_test(half_of_it_is_made_whole),
		scratch_test(what_is_in_the_way_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
