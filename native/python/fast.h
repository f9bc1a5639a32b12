/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fast.h - what the C files of zoned._fast share: the Core (fast.c), and how a call enters and leaves it.
 */
#ifndef ZD_FAST_H
#define ZD_FAST_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fast_table.h"

#ifdef Py_GIL_DISABLED
#error "zoned needs a CPython with the GIL"
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

typedef struct {
	PyObject_HEAD
	zd_dev *dev;                    /* NULL: closed, or never attached */
	const struct zd_fast_table *fn;
	PyObject *on_error;             /* callable(core, code, raw): raises */
	PyObject *on_range;             /* callable(core, name, value): raises */
	uint64_t size;                  /* of the disk, bytes */
	Py_ssize_t inside;              /* calls under way */
	int closing;                    /* no new call may enter */
	int freeing;                    /* zd_close() is running */
	int deferred;                   /* the last call to leave closes */
	atomic_int cancel;              /* long calls end with -EINTR, in any thread */
	PyObject *exc_type, *exc_value, *exc_tb; /* raised by a signal handler during a call */
	unsigned long exc_thread;
	unsigned long handler_thread;   /* runs a signal handler in the middle of a call; 0: none */
} Core;

/* 0, or -1 with an exception set: the device is closed, or this is a signal handler inside a call. */
int zd_core_enter(Core *self);
/* 1: a signal handler raised during the call; its exception is set and must go out. */
int zd_core_leave(Core *self);

/* Fill out[0..want-1] from positional and keyword arguments. */
int zd_bind(const char *func, const char *const *names, Py_ssize_t want, PyObject *const *args, Py_ssize_t nargs,
	    PyObject *kwnames, PyObject **out);
/* A contiguous buffer. Says in one sentence what is wrong with an object that has none. */
int zd_get_buffer(PyObject *arg, const char *name, int flags, Py_buffer *view);

/* fast_file.c: adds the type File to the module, whose state is the type Core. */
int zd_file_add(PyObject *module);

#endif
