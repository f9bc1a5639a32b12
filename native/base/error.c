/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling struct zd_error, and what a thread waited for when it gave up: the sentence of a failure of the host tells it.
 */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>

struct zd_error zd_asking;

void zd_error_clear(struct zd_error *err, int code)
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
		zd_error_clear(err, code);
		va_start(args, format);
		vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
	}
	return code;
}

/* For whom this thread's last call waited that gave up; empty: for nobody. */
static _Thread_local char waited[160];

char *zd_waited(size_t *room)
{
	*room = sizeof(waited);
	return waited;
}

void zd_forget_waited(void)
{
	waited[0] = 0;
}

const char *zd_waited_for(void)
{
	return waited[0] ? waited : NULL;
}

int zd_fail_host(struct zd_error *err, int host_errno, const char *doing)
{
	const char *whom = host_errno == EINTR || host_errno == ETIMEDOUT ? zd_waited_for() : NULL;

	zd_fail(err, -host_errno, whom ? "%s; it waited for %s" : "%s", doing, whom);
	if (err && err != &zd_asking)
		err->host_errno = host_errno;
	return -host_errno;
}
