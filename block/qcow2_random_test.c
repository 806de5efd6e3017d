/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random sequences over qcow2 images of every shape, beside a flat copy in memory. Afterwards
 * qemu-img check finds neither errors nor leaks, and qemu-img compare sees the same bytes. The
 * same is asked in the middle, of what a killed process and a host that crashed leave behind, and
 * after a time in which the host was full.
 * MSB_TEST_SEQUENCES, MSB_TEST_CRASHES and MSB_TEST_KILLS set how many (CONTRIBUTING.md);
 * MSB_TEST_SEED repeats one.
 */
#include "block/recorder_test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#define SEQUENCES 30
#define CRASHES	  8
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

	/* what the last flush covered, and the sectors that have changed since */
	uint8_t *flushed;
	bool touched[SIZE / 512 + 1];
	uint64_t crash_seed;
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

static void mark_flushed(struct run *run)
{
	if (!run->flushed)
		return;
	memcpy(run->flushed, run->flat, SIZE);
	memset(run->touched, 0, sizeof(run->touched));
}

static void touch(struct run *run, uint64_t off, uint64_t len)
{
	for (uint64_t s = off / 512; s < (off + len + 511) / 512; s++)
		run->touched[s] = true;
}

/* Where the host was full: what is there now, old or new or zeroes, is what is there. */
static void settle(struct run *run, int r, uint64_t off, uint64_t len, const uint8_t *now)
{
	uint8_t sector[512], zero[512] = { 0 };

	if (r != -ENOSPC || !recorder.full)
		assert_int_equal(r, 0);
	for (uint64_t at = 0; r < 0 && at < len; at += 512) {
		size_t n = MIN_OF(len - at, 512U);

		assert_int_equal(rig_read(run->b, sector, n, off + at), 0);
		if (memcmp(sector, run->flat + off + at, n) != 0 && memcmp(sector, zero, n) != 0)
			assert_memory_equal(sector, now + at, n);
		memcpy(run->flat + off + at, sector, n);
	}
}

static void reopen(struct run *run)
{
	struct err err = ERR_INIT;

	block_free(run->b);
	run->b = NULL;
	mark_flushed(run);
	if (rig_open(run->rig, "d", BLOCK_QCOW2, false, &run->b, &err) != 0)
		fail_msg("reopen: %s", err.msg);
}

static void do_write(struct run *run)
{
	uint64_t off, len;
	int r;

	some_range(run, pick(run, 2) ? 4096 : MAX_LEN, &off, &len);
	for (size_t i = 0; i < len; i += 8)
		store_le64(run->data + i, rig_random(&run->seed));
	touch(run, off, len);
	r = rig_write(run->b, run->data, len, off);
	settle(run, r, off, len, run->data);
	if (r == 0)
		memcpy(run->flat + off, run->data, len);
}

static void do_zeroes(struct run *run)
{
	static const uint8_t zeroes[SIZE / 2];
	uint64_t off, len;
	int r;

	some_range(run, SIZE / 2, &off, &len);
	touch(run, off, len);
	r = block_write_zeroes(run->b, off, len, pick(run, 2));
	settle(run, r, off, len, zeroes);
	if (r == 0)
		memset(run->flat + off, 0, len);
}

/* What was discarded reads as before or as zeroes, sector by sector. */
static void do_discard(struct run *run)
{
	uint64_t off, len;
	uint8_t sector[512], zero[512] = { 0 };
	int r;

	some_range(run, SIZE / 2, &off, &len);
	touch(run, off, len);
	r = block_discard(run->b, off, len);
	if (r != -ENOSPC || !recorder.full)
		assert_int_equal(r, 0);
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

static void do_flush(struct run *run)
{
	int r = block_flush(run->b);

	if (r != -ENOSPC || !recorder.full)
		assert_int_equal(r, 0);
	if (r == 0)
		mark_flushed(run);
}

static void step(struct run *run)
{
	switch (pick(run, 12)) {
	case 0:
		do_flush(run);
		break;
	case 1:
		if (!recorder.on)
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

static unsigned first_seed(void)
{
	return from_env("MSB_TEST_SEED", 1);
}

typedef void sequence_fn(struct run *run);

static void for_seeds(struct rig *rig, uint64_t seed, unsigned n, sequence_fn *fn)
{
	struct run *run = calloc(1, sizeof(*run));

	assert_non_null(run);
	run->flat = malloc(SIZE);
	run->rig = rig;
	for (unsigned i = 0; i < n; i++, seed++) {
		run->seed = seed * UINT64_C(0x9e3779b97f4a7c15);
		(void)rig_random(&run->seed);
		run->crash_seed = run->seed;
		print_message("# seed %u\n", (unsigned)seed);
		make_image(run);
		fn(run);
	}
	free(run->flushed);
	free(run->flat);
	free(run);
}

static void sequence(struct run *run)
{
	reopen(run);
	for (unsigned k = 0; k < OPS; k++)
		step(run);
	block_free(run->b);
	run->b = NULL;
	judge(run);
}

static void test_sequences(void **state)
{
	for_seeds(*state, first_seed(), from_env("MSB_TEST_SEQUENCES", SEQUENCES), sequence);
	for_seeds(*state, 836, 1, sequence); /* spares that more than 64 blocks count */
}

/* --- crashes --- */

/* Right by itself, and with all that was flushed. */
static void judge_remains(struct run *run, const char *name)
{
	struct err err = ERR_INIT;
	struct block *b = NULL;
	uint8_t *all;

	rig_run(run->rig, "qemu-img check -q %s", name);
	if (rig_open(run->rig, name, BLOCK_QCOW2, true, &b, &err) != 0)
		fail_msg("%s: %s", name, err.msg);
	all = rig_slurp(b);
	for (uint64_t s = 0; s <= SIZE / 512; s++) {
		size_t n = MIN_OF(512, SIZE - s * 512);

		if (!run->touched[s] && memcmp(all + s * 512, run->flushed + s * 512, n) != 0)
			fail_msg("%s: sector %u is not as it was flushed", name, (unsigned)s);
	}
	free(all);
	block_free(b);
}

/* Before some of the changes: if the process died now, and if the host did. */
static void maybe_crash(void *ctx)
{
	struct run *run = ctx;
	uint8_t *file;
	size_t len;

	if (rig_random(&run->crash_seed) % 16)
		return;
	recorder.on = false;
	rig_run(run->rig, "cp d killed");
	judge_remains(run, "killed");
	file = recorder_crash(&run->crash_seed, &len);
	rig_save(run->rig, "crashed", file, len);
	free(file);
	judge_remains(run, "crashed");
	recorder.on = true;
}

static void nothing(void *ctx)
{
}

static void record(struct run *run, void (*before)(void *ctx))
{
	int fd;

	if (!run->flushed)
		run->flushed = malloc(SIZE);
	reopen(run);
	fd = openat(run->rig->fd, "d", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	recorder_start(fd, before, run);
	close(fd);
}

static void end_record(struct run *run)
{
	block_free(run->b);
	run->b = NULL;
	recorder_stop();
	judge(run);
}

static void crash_sequence(struct run *run)
{
	record(run, maybe_crash);
	for (unsigned k = 0; k < OPS; k++)
		step(run);
	end_record(run);
}

static void test_crash(void **state)
{
	for_seeds(*state, first_seed(), from_env("MSB_TEST_CRASHES", CRASHES), crash_sequence);
}

/* A host without room fails what needs room; when there is room again, all goes on. */
static void full_sequence(struct run *run)
{
	record(run, nothing);
	for (unsigned k = 0; k < OPS; k++) {
		recorder.full = k % 8 >= 4;
		step(run);
	}
	recorder.full = false;
	assert_int_equal(block_flush(run->b), 0);
	end_record(run);
}

static void test_full(void **state)
{
	for_seeds(*state, first_seed(), from_env("MSB_TEST_CRASHES", CRASHES), full_sequence);
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

/* Start a writer, and kill it somewhere: the image has neither errors nor leaks. */
static void kill_once(struct run *run, unsigned round)
{
	struct timespec wait = { .tv_nsec = (long)(round * 7919 % 40) * 1000000 };
	int fds[2];
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
	if (rig_try(run->rig, "qemu-img check -q d") != 0)
		fail_msg("round %u: %s", round, run->rig->out);
}

static void kill_rounds(struct rig *rig, const char *compat, unsigned n)
{
	struct run *run = calloc(1, sizeof(*run));

	assert_non_null(run);
	run->rig = rig;
	run->cluster_bits = 12;
	rig_run(rig, "qemu-img create -q -f qcow2 -o cluster_size=4096,compat=%s d %d", compat,
		SIZE);
	for (unsigned i = 0; i < n; i++)
		kill_once(run, i);
	free(run);
}

static void test_kill(void **state)
{
	unsigned n = from_env("MSB_TEST_KILLS", KILLS);

	kill_rounds(*state, "1.1", n - n / 2);
	kill_rounds(*state, "0.10", n / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rig_test(test_sequences),
		rig_test(test_crash),
		rig_test(test_full),
		rig_test(test_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
