/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All layers of a pull at once. This thread moves bytes from the network into files and looks
 * after every job; a thread per running job makes the EROFS file (ingest.h).
 *
 * A job waits until it may download and nobody else does the same (another msb may pull an image
 * with the same layer: its result is then used). No job holds a lock while it waits for another
 * one, so two pulls cannot wait for each other. (But for its turn to use much memory: then it waits
 * for a job of the same pull, which has all the locks it needs.)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/ingest.h"
#include "image/pull_internal.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"

/* Look again after so long whether another process has released a layer. */
#define BUSY_POLL_MS 250
#define POLL_MS	     1000
/* Steps of the download's progress, in bytes. */
#define PROGRESS_STEP KIB(256)

enum job_state { JOB_NEW, JOB_RUNNING, JOB_DONE };

/* struct job - one layer; @resumed: the file had bytes of an earlier pull; @fresh: no more trust */
struct job {
	struct pull *p;
	struct turn *memory; /* of all jobs */
	size_t layer;
	const struct descriptor *d;
	const char *diff_id;
	enum job_state state;
	uint64_t busy_since;
	struct lock download_lock, artifact_lock;
	int part_fd;
	bool resumed, fresh, downloaded;
	struct download *download;
	struct ingest ingest;
	uint64_t at, told, told_ingest;
};

struct jobs {
	struct pull *p;
	struct turn memory;
	struct job *job;
	size_t n, done;
	bool busy; /* at least one waits for another process */
};

static void layer_event(struct job *j, enum image_event_kind kind, uint64_t done)
{
	pull_event(j->p, (struct image_event){ .kind = kind,
				 .layer = j->layer,
				 .digest = j->d->digest,
				 .done = done,
				 .total = j->d->size });
}

static void on_progress(void *ctx, uint64_t len)
{
	struct job *j = ctx;

	j->at = len;
	ingest_more(&j->ingest, len);
	if (len - j->told < PROGRESS_STEP && len < j->d->size)
		return;
	j->told = len;
	layer_event(j, IMAGE_LAYER_DOWNLOAD, len);
}

static void wake(void *ctx)
{
	registry_wake(ctx);
}

static void job_stop(struct job *j)
{
	int fd = -1;

	download_free(j->download);
	j->download = NULL;
	(void)ingest_join(&j->ingest, true, &fd, NULL);
	close_fd(&fd);
}

static void job_release(struct job *j)
{
	job_stop(j);
	close_fd(&j->part_fd);
	lock_release(&j->artifact_lock);
	lock_release(&j->download_lock);
}

/* Give the layer to every position of the image that has it. */
static int job_done(struct job *j, int fd, struct err *err)
{
	struct pull *p = j->p;

	p->fd[j->layer] = fd;
	j->state = JOB_DONE;
	for (size_t i = j->layer + 1; i < p->manifest.layer_count; i++) {
		if (strcmp(p->config.diff_ids[i], j->diff_id) != 0)
			continue;
		p->fd[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (p->fd[i] < 0)
			return err_set(err, errno, "keep a layer open");
	}
	return 0;
}

/* How much of the file can be used. */
static int open_part(struct job *j, struct err *err)
{
	struct stat st;
	int rc = 0;

	if (j->part_fd < 0)
		rc = cache_part_open(j->p->cache, j->d->digest, &j->part_fd, err);
	if (rc < 0)
		return rc;
	if (fstat(j->part_fd, &st) < 0)
		return err_set(err, errno, "look at a partial download");
	j->fresh |= j->p->o.force || (uint64_t)st.st_size > j->d->size;
	if (j->fresh && ftruncate(j->part_fd, 0) < 0)
		return err_set(err, errno, "empty a partial download");
	j->at = j->told = j->fresh ? 0 : (uint64_t)st.st_size;
	j->resumed = j->at > 0;
	return 0;
}

static int job_begin(struct job *j, struct err *err)
{
	int rc = open_part(j, err);

	rc = rc ? rc
		: ingest_start(&j->ingest, j->p->cache, j->d, j->diff_id, j->part_fd, j->memory,
			  wake, j->p->registry, err);
	rc = rc ? rc
		: download_start(j->p->registry, j->d, j->part_fd, j->at, on_progress, j,
			  &j->download, err);
	if (rc < 0)
		return rc;
	j->state = JOB_RUNNING;
	j->downloaded = false;
	j->told_ingest = 0;
	j->p->built = true;
	layer_event(j, IMAGE_LAYER_STARTED, 0);
	ingest_more(&j->ingest, j->at);
	return 0;
}

/* Return: 0 both locks are held; -EBUSY another process has one; -errno */
static int take_locks(struct job *j, struct err *err)
{
	int rc = cache_lock_download(j->p->cache, j->d->digest, 0, &j->download_lock, err);

	if (rc == 0)
		rc = cache_lock_artifact(
			j->p->cache, CACHE_LAYER, j->diff_id, 0, &j->artifact_lock, err);
	if (rc < 0)
		lock_release(&j->download_lock);
	return rc;
}

static int still_busy(struct jobs *js, struct job *j, const struct err *why, struct err *err)
{
	uint64_t now = clock_mono_ns();

	if (!j->busy_since) {
		j->busy_since = now;
		log_info("waiting: %s", why->msg);
	}
	if (now - j->busy_since > IMAGE_LOCK_MS * NS_PER_MS)
		return err_msg(err, ETIMEDOUT, "%s", why->msg);
	js->busy = true;
	return 0;
}

/* Start it if it can be; 0 also when it cannot yet. */
static int job_try(struct jobs *js, struct job *j, struct err *err)
{
	struct err why = ERR_INIT;
	int fd = -1, rc;

	rc = take_locks(j, &why);
	if (rc == -EBUSY)
		return still_busy(js, j, &why, err);
	if (rc < 0)
		return err_msg(err, -rc, "%s", why.msg);
	/* Made while we waited, or there all along. */
	if ((!j->p->o.force || j->busy_since) &&
		!cache_artifact_open(j->p->cache, CACHE_LAYER, j->diff_id, &fd, NULL, NULL)) {
		lock_release(&j->artifact_lock);
		lock_release(&j->download_lock);
		js->done++;
		return job_done(j, fd, err);
	}
	return job_begin(j, err);
}

/* What an earlier pull left was bad, or the registry has changed its mind: once more from zero. */
static int job_restart(struct job *j, const struct err *why, struct err *err)
{
	log_info("layer %s: %s; downloading it again", j->d->digest, why->msg);
	job_stop(j);
	j->fresh = true;
	return job_begin(j, err);
}

static int job_fail(struct job *j, int rc, const struct err *why, struct err *err)
{
	if ((rc == -EBADMSG || rc == -ERANGE || rc == -E2BIG || rc == -EPROTO) && j->resumed)
		return job_restart(j, why, err);
	/* It went on behind an interruption of its own, which this registry cannot. */
	if (rc == -ERANGE && !j->fresh)
		return job_restart(j, why, err);
	if (rc == -EBADMSG)
		(void)cache_part_remove(j->p->cache, j->d->digest, NULL);
	return err_msg(err, -rc, "layer %zu (%.19s): %s", j->layer + 1, j->d->digest, why->msg);
}

static int job_finish(struct jobs *js, struct job *j, struct err *err)
{
	struct err why = ERR_INIT;
	int fd = -1, rc = ingest_join(&j->ingest, false, &fd, &why);

	if (rc < 0)
		return job_fail(j, rc, &why, err);
	job_stop(j);
	(void)cache_part_remove(j->p->cache, j->d->digest, NULL);
	close_fd(&j->part_fd);
	lock_release(&j->artifact_lock);
	lock_release(&j->download_lock);
	layer_event(j, IMAGE_LAYER_COMPLETE, j->d->size);
	js->done++;
	return job_done(j, fd, err);
}

static int job_step(struct jobs *js, struct job *j, struct err *err)
{
	struct err why = ERR_INIT;
	bool finished;
	uint64_t taken;
	int rc;

	if (!j->downloaded) {
		rc = download_step(j->download, &why);
		if (rc < 0)
			return job_fail(j, rc, &why, err);
		if (rc == 0) {
			j->downloaded = true;
			layer_event(j, IMAGE_LAYER_DOWNLOADED, j->d->size);
			download_free(j->download);
			j->download = NULL;
			ingest_more(&j->ingest, j->at);
		}
	}
	taken = ingest_consumed(&j->ingest, &finished);
	if (taken - j->told_ingest >= PROGRESS_STEP) {
		j->told_ingest = taken;
		layer_event(j, IMAGE_LAYER_PROGRESS, taken);
	}
	return finished ? job_finish(js, j, err) : 0;
}

/* Those running make a step; as many as may be are started. */
static int step_all(struct jobs *js, struct err *err)
{
	unsigned downloads = 0, running = 0;
	int rc = 0;

	js->busy = false;
	for (size_t i = 0; i < js->n && rc == 0; i++) {
		if (js->job[i].state == JOB_RUNNING)
			rc = job_step(js, &js->job[i], err);
		if (js->job[i].state == JOB_RUNNING) {
			running++;
			downloads += !js->job[i].downloaded;
		}
	}
	for (size_t i = 0; i < js->n && rc == 0; i++) {
		struct job *j = &js->job[i];

		if (j->state != JOB_NEW || downloads >= js->p->o.parallel ||
			running >= 2 * js->p->o.parallel)
			continue;
		rc = job_try(js, j, err);
		if (j->state == JOB_RUNNING) {
			running++;
			downloads++;
		}
	}
	return rc;
}

static int run_all(struct jobs *js, struct err *err)
{
	int rc = step_all(js, err);

	while (rc == 0 && js->done < js->n) {
		rc = registry_poll(js->p->registry, js->busy ? BUSY_POLL_MS : POLL_MS, err);
		rc = rc ? rc : step_all(js, err);
	}
	return rc;
}

static bool seen_before(const struct pull *p, size_t layer)
{
	for (size_t i = 0; i < layer; i++) {
		if (!strcmp(p->config.diff_ids[i], p->config.diff_ids[layer]))
			return true;
	}
	return false;
}

static int init_jobs(struct jobs *js, struct err *err)
{
	struct pull *p = js->p;
	size_t n = p->manifest.layer_count;

	p->fd = calloc(n, sizeof(*p->fd));
	for (size_t i = 0; p->fd && i < n; i++)
		p->fd[i] = -1;
	js->job = calloc(n, sizeof(*js->job));
	if (!js->job || !p->fd)
		return err_set(err, ENOMEM, "pull layers");
	for (size_t i = 0; i < n; i++) {
		if (seen_before(p, i))
			continue;
		js->job[js->n++] = (struct job){ .p = p,
			.memory = &js->memory,
			.layer = i,
			.d = &p->manifest.layers[i],
			.diff_id = p->config.diff_ids[i],
			.part_fd = -1,
			.download_lock = LOCK_INIT,
			.artifact_lock = LOCK_INIT };
	}
	return 0;
}

/* Without locks: what is in the cache already. */
static int use_cached(struct jobs *js, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < js->n && rc == 0 && !js->p->o.force; i++) {
		struct job *j = &js->job[i];
		int fd = -1;

		if (cache_artifact_open(js->p->cache, CACHE_LAYER, j->diff_id, &fd, NULL, NULL))
			continue;
		js->done++;
		rc = job_done(j, fd, err);
	}
	return rc;
}

int pull_layers(struct pull *p, struct err *err)
{
	struct jobs js = { .p = p };
	int rc;

	turn_init(&js.memory);
	rc = init_jobs(&js, err);
	rc = rc ? rc : use_cached(&js, err);
	rc = rc ? rc : run_all(&js, err);
	for (size_t i = 0; i < js.n; i++)
		job_release(&js.job[i]);
	free(js.job);
	turn_release(&js.memory);
	return rc;
}
