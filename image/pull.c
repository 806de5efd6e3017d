/* SPDX-License-Identifier: Apache-2.0 */
/* image_pull(): the cache first, then the registry. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/pull_internal.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"

#define IDLE_MS	     30000
#define CONNECT_MS   15000
#define RETRY_MS     500
#define ATTEMPTS     5
#define PARALLEL     6
#define PARALLEL_MAX 32

void pull_event(struct pull *p, struct image_event ev)
{
	ev.reference = p->canonical;
	ev.layers = p->manifest.layer_count;
	if (p->o.progress)
		p->o.progress(p->o.progress_ctx, &ev);
}

static void on_retry(void *ctx, const char *reason, unsigned wait_ms)
{
	struct image_event ev = { .kind = IMAGE_RETRYING, .reason = reason, .done = wait_ms };

	pull_event(ctx, ev);
}

static void set_defaults(struct image_pull_options *o)
{
	o->idle_timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : IDLE_MS;
	o->connect_timeout_ms = o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_MS;
	o->retry_base_ms = o->retry_base_ms ? o->retry_base_ms : RETRY_MS;
	o->attempts = o->attempts ? o->attempts : ATTEMPTS;
	o->parallel = MIN_OF(o->parallel ? o->parallel : PARALLEL, PARALLEL_MAX);
	if (!o->architecture)
		o->architecture = manifest_architecture();
}

static int open_registry(struct pull *p, struct err *err)
{
	struct registry_options ro = {
		.settings = p->o.settings,
		.username = p->o.username,
		.password = p->o.password,
		.insecure = p->o.insecure,
		.ca_certs = p->o.ca_certs,
		.idle_timeout_ms = p->o.idle_timeout_ms,
		.connect_timeout_ms = p->o.connect_timeout_ms,
		.retry_base_ms = p->o.retry_base_ms,
		.attempts = p->o.attempts,
		.on_retry = on_retry,
		.retry_ctx = p,
	};

	return registry_new(&ro, &p->ref, &p->registry, err);
}

static void pull_release(struct pull *p)
{
	for (size_t i = 0; p->fd && i < p->manifest.layer_count; i++)
		close_fd(&p->fd[i]);
	free(p->fd);
	registry_free(p->registry);
	manifest_release(&p->manifest);
	config_release(&p->config);
	buf_release(&p->raw_manifest);
	buf_release(&p->raw_config);
}

#define cleanup_pull __attribute__((cleanup(pull_release)))

static int publish(struct pull *p, struct image **ret, struct err *err)
{
	struct image_parts parts = {
		.reference = p->canonical,
		.manifest_digest = p->manifest_digest,
		.manifest_media_type = p->manifest.media_type,
		.config_digest = p->manifest.config.digest,
		.manifest = &p->raw_manifest,
		.config = &p->raw_config,
		.parsed = &p->config,
		.layers = p->manifest.layers,
		.layer_count = p->manifest.layer_count,
		.layer_fd = p->fd,
	};

	return image_publish(p->cache, &parts, p->o.force, p->o.progress, p->o.progress_ctx,
		&p->built, ret, err);
}

static uint64_t download_bytes(const struct manifest *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->layer_count; i++)
		sum += m->layers[i].size;
	return sum;
}

/* The reference is locked and the image not (or not surely) complete. */
static int pull_missing(struct pull *p, struct image **ret, struct err *err)
{
	int rc = open_registry(p, err);

	rc = rc ? rc : pull_resolve(p, err);
	if (rc < 0)
		return rc;
	pull_event(p, (struct image_event){ .kind = IMAGE_RESOLVED,
			      .digest = p->manifest_digest,
			      .total = download_bytes(&p->manifest) });
	rc = pull_layers(p, err);
	rc = rc ? rc : publish(p, ret, err);
	if (rc == 0)
		(*ret)->was_cached = !p->built;
	return rc;
}

/* Return: 0 and *ret; -ENOENT; -errno. A cache hit emits three events, as a pull does. */
static int open_cached(struct pull *p, struct image **ret, struct err *err)
{
	int rc = image_mend(p->cache, p->canonical, ret, err);

	if (rc < 0)
		return rc;
	pull_event(p,
		(struct image_event){ .kind = IMAGE_RESOLVED, .digest = (*ret)->manifest_digest });
	return 0;
}

static int pull_locked(struct pull *p, struct image **ret, struct err *err)
{
	cleanup_lock struct lock lock = LOCK_INIT;
	bool use_cache = p->o.policy == IMAGE_IF_MISSING && !p->o.force;
	int rc = cache_lock_reference(p->cache, p->canonical, IMAGE_LOCK_MS, &lock, err);

	if (rc < 0)
		return rc;
	/* Whoever held the lock may have pulled it. */
	if (use_cache) {
		rc = open_cached(p, ret, err);
		if (rc != -ENOENT)
			return rc;
		err_clear(err);
	}
	return pull_missing(p, ret, err);
}

int image_pull(struct cache *cache, const char *reference, const struct image_pull_options *o,
	struct image **ret, struct err *err)
{
	cleanup_pull struct pull p = { .cache = cache, .o = *o };
	struct err why = ERR_INIT;
	int rc = reference_parse(reference, &p.ref, err);

	if (rc < 0)
		return rc;
	reference_format(&p.ref, p.canonical);
	set_defaults(&p.o);
	pull_event(&p, (struct image_event){ .kind = IMAGE_RESOLVING });
	rc = -ENOENT;
	if (o->policy != IMAGE_ALWAYS && !(o->force && o->policy != IMAGE_NEVER))
		rc = open_cached(&p, ret, &why);
	if (rc == -ENOENT && o->policy != IMAGE_NEVER)
		rc = pull_locked(&p, ret, &why);
	if (rc < 0 && o->policy == IMAGE_NEVER)
		return err_msg(err, -rc, "%s", why.msg);
	if (rc < 0)
		return err_msg(err, -rc, "pull %s: %s", p.canonical, why.msg);
	pull_event(&p, (struct image_event){ .kind = IMAGE_COMPLETE });
	return 0;
}
