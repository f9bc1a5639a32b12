/* SPDX-License-Identifier: Apache-2.0 */
/* Filling struct zd_error, and the clock and interrupt hook of long calls. */
#include "internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

struct zd_error zd_asking;

static void clear(struct zd_error *err, int code)
{
	memset(err, 0, sizeof(*err));
	err->code = code;
	err->cmd = -1;
	err->zone = ZD_NO_ZONE;
	err->offset = ZD_NONE;
	err->wp = ZD_NONE;
	err->cond = 0xFF;
}

int zd_fail(struct zd_error *err, int code, const char *format, ...)
{
	va_list args;

	if (err && err != &zd_asking) {
		clear(err, code);
		va_start(args, format);
		vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
	}
	return code;
}

int zd_fail_host(struct zd_error *err, int host_errno, const char *doing)
{
	const char *whom = host_errno == EINTR || host_errno == ETIMEDOUT ? zd_waited_for() : NULL;

	zd_fail(err, -host_errno, whom ? "%s; it waited for %s" : "%s", doing, whom);
	if (err && err != &zd_asking)
		err->host_errno = host_errno;
	return -host_errno;
}

int zd_refuse(zd_dev *dev, struct zd_error *err, int code, int cmd, uint32_t zone, uint64_t offset,
	      uint64_t length, uint64_t bound)
{
	int type;

	if (err == &zd_asking)
		return code;
	if (!dev->readonly) { /* a read-only handle cannot count */
		struct zd_zone_rt *rt;

		atomic_fetch_add_explicit(&dev->head->errors_by_rule[ZD_E_FIRST_RULE - code], 1, memory_order_relaxed);
		/* A zone never touched has no record yet; if the host is full, the count by rule must do. */
		if (zone != ZD_NO_ZONE && zd_zone_get(dev, zone, &rt) == 0)
			atomic_fetch_add_explicit(&rt->errors, 1, memory_order_relaxed);
	}
	if (!err)
		return code;
	clear(err, code);
	err->cmd = cmd;
	err->zone = zone;
	err->offset = offset;
	err->length = length;
	err->bound = bound;
	if (zone == ZD_NO_ZONE)
		return code;
	type = zd_zone_type(dev, zone);
	{
		uint64_t word = zd_load_word(dev, zone);
		int cond = zd_word_cond(word, type);

		err->cond = (uint8_t)cond;
		if (cond >= ZD_EMPTY && cond <= ZD_CLOSED)
			err->wp = zd_zone_start(dev, zone) + zd_word_written(word);
	}
	return code;
}

uint64_t zd_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool zd_interrupted(zd_dev *dev, uint64_t *last_look)
{
	uint64_t now;

	if (!dev->interrupt)
		return false;
	now = zd_now();
	if (now - *last_look < 50000000u)
		return false;
	*last_look = now;
	if (!dev->interrupt(dev->interrupt_arg))
		return false;
	zd_note_interrupt();
	return true;
}
