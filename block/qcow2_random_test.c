/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random sequences over qcow2 images of every shape, beside a flat copy in memory. Afterwards
 * qemu-img check finds neither errors nor leaks, and qemu-img compare sees the same bytes.
 * MSB_TEST_SEQUENCES sets how many (CONTRIBUTING.md); MSB_TEST_SEED repeats one.
 */
#include "block/rig_test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#define SEQUENCES 30
#define KILLS	  10
#define OPS	  40
#define SIZE	  (6 * 1024 * 1024 + 512 * 5)
#define MAX_LEN	  (300 * 1024)

static unsigned from_env(const char *name, unsigned fallback)
{
	const char *s = getenv(name);

	return s ? (unsigned)strtoul(s, NULL, 10) : fallback;
}

struct run {
	struct rig *rig;
	struct block *b;
	uint8_t *flat;
	uint64_t seed;
	unsigned cluster_bits;
	bool v2, backing;
	uint8_t data[MAX_LEN];
};

static uint64_t pick(struct run *run, uint64_t n)
{
	return rig_random(&run->seed) % n;
}

/* A snapshot makes every cluster shared; compressed ones come from qemu-img convert. */
static void make_image(struct run *run)
{
	static const unsigned bits[] = { 9, 10, 12, 16, 16, 16, 18, 21 };
	static const unsigned widths[] = { 1, 2, 4, 8, 16, 16, 16, 32, 64 };
	unsigned width = widths[pick(run, ARRAY_LEN(widths))];
	char options[256];
	struct rig *rig = run->rig;

	run->cluster_bits = bits[pick(run, ARRAY_LEN(bits))];
	run->v2 = pick(run, 4) == 0;
	run->backing = pick(run, 3) == 0;
	if (run->v2)
		(void)snprintf(options, sizeof(options), "compat=0.10,cluster_size=%u",
			1U << run->cluster_bits);
	else
		(void)snprintf(options, sizeof(options), "refcount_bits=%u,cluster_size=%u", width,
			1U << run->cluster_bits);
	for (size_t i = 0; i < SIZE; i++)
		run->flat[i] = (uint8_t)(i / 4096 % 3 == 0 ? 0 : 'a' + i / 512 % 26);
	rig_save(rig, "flat", run->flat, SIZE);
	if (run->backing) {
		rig_run(rig, "head -c %d flat > base", SIZE - 100000);
		memset(run->flat + SIZE - 100000, 0, 100000);
		rig_run(rig, "qemu-img create -q -f qcow2 -o %s -F raw -b base d %d", options,
			SIZE);
	} else if (pick(run, 2)) {
		rig_run(rig, "qemu-img convert -q -f raw -O qcow2 %s -o %s flat d",
			pick(run, 2) ? "-c" : "", options);
	} else {
		memset(run->flat, 0, SIZE);
		rig_run(rig, "qemu-img create -q -f qcow2 -o %s d %d", options, SIZE);
	}
	if (pick(run, 4) == 0) /* fails where counts are too narrow, and leaks then */
		(void)rig_try(rig, "qemu-img snapshot -c first d || qemu-img check -q -r leaks d");
}

static void some_range(struct run *run, uint64_t max, uint64_t *off, uint64_t *len)
{
	uint64_t unit = pick(run, 2) ? 512 : 1ULL << run->cluster_bits;

	*off = ALIGN_DOWN(pick(run, SIZE), unit);
	*len = ALIGN_UP(1 + pick(run, max), unit);
	*len = MIN_OF(*len, SIZE - *off);
	*len = MIN_OF(*len, max);
}

static void reopen(struct run *run)
{
	struct err err = ERR_INIT;

	block_free(run->b);
	run->b = NULL;
	if (rig_open(run->rig, "d", BLOCK_QCOW2, false, &run->b, &err) != 0)
		fail_msg("reopen: %s", err.msg);
}

static void do_write(struct run *run)
{
	uint64_t off, len;

	some_range(run, pick(run, 2) ? 4096 : MAX_LEN, &off, &len);
	for (size_t i = 0; i < len; i += 8)
		store_le64(run->data + i, rig_random(&run->seed));
	assert_int_equal(rig_write(run->b, run->data, len, off), 0);
	memcpy(run->flat + off, run->data, len);
}

static void do_zeroes(struct run *run)
{
	uint64_t off, len;

	some_range(run, SIZE / 2, &off, &len);
	assert_int_equal(block_write_zeroes(run->b, off, len, pick(run, 2)), 0);
	memset(run->flat + off, 0, len);
}

/* What was discarded reads as before or as zeroes, sector by sector. */
static void do_discard(struct run *run)
{
	uint64_t off, len;
	uint8_t sector[512], zero[512] = { 0 };

	some_range(run, SIZE / 2, &off, &len);
	assert_int_equal(block_discard(run->b, off, len), 0);
	for (uint64_t at = off; at < off + len; at += 512) {
		assert_int_equal(rig_read(run->b, sector, 512, at), 0);
		if (memcmp(sector, run->flat + at, 512) != 0)
			assert_memory_equal(sector, zero, 512);
		memcpy(run->flat + at, sector, 512);
	}
}

static void do_read(struct run *run)
{
	uint64_t off = pick(run, SIZE), len = pick(run, MAX_LEN);

	len = MIN_OF(len, SIZE - off);
	assert_int_equal(rig_read(run->b, run->data, len, off), 0);
	assert_memory_equal(run->data, run->flat + off, len);
}

static void step(struct run *run)
{
	switch (pick(run, 12)) {
	case 0:
		assert_int_equal(block_flush(run->b), 0);
		break;
	case 1:
		reopen(run);
		break;
	case 2:
		do_zeroes(run);
		break;
	case 3:
	case 4:
		do_discard(run);
		break;
	case 5:
	case 6:
		do_read(run);
		break;
	default:
		do_write(run);
		break;
	}
}

static void judge(struct run *run)
{
	struct rig *rig = run->rig;

	rig_run(rig, "qemu-img check -q d");
	rig_save(rig, "flat", run->flat, SIZE);
	rig_run(rig, "qemu-img compare -q -f raw -F qcow2 flat d");
}

static void test_sequences(void **state)
{
	unsigned n = from_env("MSB_TEST_SEQUENCES", SEQUENCES);
	uint64_t seed = from_env("MSB_TEST_SEED", 1);
	struct run *run = calloc(1, sizeof(*run));

	assert_non_null(run);
	run->flat = malloc(SIZE);
	run->rig = *state;
	for (unsigned i = 0; i < n; i++, seed++) {
		run->seed = seed * UINT64_C(0x9e3779b97f4a7c15);
		(void)rig_random(&run->seed);
		print_message("# seed %u\n", (unsigned)seed);
		make_image(run);
		reopen(run);
		for (unsigned k = 0; k < OPS; k++)
			step(run);
		block_free(run->b);
		run->b = NULL;
		judge(run);
	}
	free(run->flat);
	free(run);
}

/* --- killed while writing --- */

static _Noreturn void write_for_ever(struct run *run, int started)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	reopen(run);
	(void)!write(started, "x", 1);
	for (;;) {
		uint64_t off, len;

		some_range(run, 65536, &off, &len);
		if (pick(run, 10) == 0)
			(void)block_discard(run->b, off, len);
		else if (pick(run, 8) == 0)
			(void)block_flush(run->b);
		else
			(void)rig_write(run->b, run->data, len, off);
	}
}

/* Start a writer, kill it somewhere. Return: what qemu-img check thinks of the image: 0, or 3 for
 * leaks */
static int kill_once(struct run *run, unsigned round)
{
	struct timespec wait = { .tv_nsec = (long)(round * 7919 % 40) * 1000000 };
	int fds[2], code;
	pid_t pid;
	char c;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	run->seed = 77 + round;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		write_for_ever(run, fds[1]);
	close(fds[1]);
	assert_int_equal(read(fds[0], &c, 1), 1);
	close(fds[0]);
	(void)nanosleep(&wait, NULL);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	code = rig_try(run->rig, "qemu-img check -q d");
	if (code != 0 && code != 3)
		fail_msg("round %u: check says %d: %s", round, code, run->rig->out);
	return code;
}

/* No errors ever. A leak can be there if the kill fell into a commit: until the next opening, or
 * until qemu-img check -r leaks for version 2, which has no dirty bit. */
static void kill_rounds(struct rig *rig, const char *compat, unsigned n)
{
	struct run *run = calloc(1, sizeof(*run));
	unsigned leaks = 0;

	assert_non_null(run);
	run->rig = rig;
	run->cluster_bits = 12;
	rig_run(rig, "qemu-img create -q -f qcow2 -o cluster_size=4096,compat=%s d %d", compat,
		SIZE);
	for (unsigned i = 0; i < n; i++) {
		int code = kill_once(run, i);

		leaks += code == 3;
		if (strcmp(compat, "0.10") == 0) {
			if (code)
				rig_run(rig, "qemu-img check -q -r leaks d");
		} else if (i % 2) {
			reopen(run);
			block_free(run->b);
			run->b = NULL;
			rig_run(rig, "qemu-img check -q d");
		}
	}
	print_message("# compat=%s: killed %u times, with a leak %u times\n", compat, n, leaks);
	free(run);
}

static void test_kill(void **state)
{
	unsigned n = from_env("MSB_TEST_KILLS", KILLS);

	kill_rounds(*state, "1.1", n - n / 3);
	kill_rounds(*state, "0.10", n / 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rig_test(test_sequences),
		rig_test(test_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
