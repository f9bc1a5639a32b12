/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fast.h - what the C files of zoned._fast share: the Owner (fast_owner.c), which everything that Python holds of the
 * C core derives from, the Core (fast_core.c, its data calls in fast_data.c), and how a call enters and leaves them.
 */
#ifndef ZD_FAST_H
#define ZD_FAST_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "zoned/fs.h"
#include "zoned/zoned.h"

#ifdef Py_GIL_DISABLED
#error "zoned needs a CPython with the GIL"
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

typedef struct Owner Owner;

/* That what one owner owns uses what another does, with threads of its own: from _use() until it is given back. */
struct zd_use {
	Owner *user, *used;          /* a reference to the used; none to the user, which takes the use with it */
	struct zd_use *next;         /* of the user */
	struct zd_use *beside, **at; /* of the used; at is NULL once it does not count there */
};

/* What differs between the kinds of owners. */
struct zd_owner_kind {
	/*
	 * Give back what was owned: 0, or the negative code of what could not be done. Called with the GIL, which it lets go
	 * around what takes long; no exception may be set by it.
	 */
	int (*release)(Owner *self, void *raw, struct zd_error *err);
	/* Raise for that code; returns NULL. May be NULL where release never fails. */
	PyObject *(*fail)(Owner *self, int code, const struct zd_error *err);
	/* In a forked child, for what else threads held that are not there. May be NULL. */
	void (*forked)(Owner *self);
	/* Somebody closes it while calls are inside: those that would wait for ever are to end. May be NULL. */
	void (*hurry)(Owner *self, void *raw);
};

/*
 * One thing of the C core, and the calls on it that are under way. The thing lies in `raw`, into which the core puts
 * it by itself: there is no moment at which it has no owner. It is given back once: by close(), which waits for the calls
 * inside, or with the object. Fields are read and written under the GIL only, which is why they are plain.
 */
struct Owner {
	PyObject_HEAD
	void *raw; /* NULL: nothing yet, or closed */
	const struct zd_owner_kind *kind;
	const char *name;                        /* what it is, for sentences: "the device" */
	Owner *parent;                           /* what raw uses: a call on this one is a call on that one, too */
	Py_ssize_t inside;                       /* calls under way */
	int closing;                             /* no new call may enter */
	int freeing;                             /* release() is running */
	int deferred;                            /* the last call to leave closes */
	int alone;                               /* the core's calls for it must not overlap: one at a time enters */
	unsigned long user;                      /* alone: the thread inside */
	void (*free)(void *);                    /* of release_plain() */
	void (*drop)(void *);                    /* the same once the parent is closed */
	void (*forget)(void *);                  /* the same in a forked child, which has no part in it; NULL: it has */
	PyObject *exc_type, *exc_value, *exc_tb; /* raised by a signal handler during a call */
	unsigned long exc_thread;
	unsigned long handler_thread;  /* runs a signal handler in the middle of a call; 0: none */
	Owner *next, **at;             /* all owners, for a forked child */
	struct zd_use *uses, *used_by; /* each use counts as a call on the used */
};

typedef struct {
	Owner owner;
	PyObject *on_error; /* callable(core, code, raw): raises */
	PyObject *on_range; /* callable(core, name, value): raises */
	uint64_t size;      /* of the disk, bytes */
	atomic_int cancel;  /* long calls end with -EINTR, in any thread */
} Core;

/* The state of the module. */
struct zd_fast_state {
	PyObject *owner, *core; /* types */
};

/*
 * How deep this thread is inside calls that can run Python code (a signal handler, a `with guard`). close() from
 * there must not wait for itself. Per thread by nature, hence no field of an Owner.
 */
extern _Thread_local int zd_inside_here;

/* Set the exception that a signal handler raised, with a note that says for whom the call had waited. */
void zd_owner_raise(Owner *self);

/* The exception that a signal handler raised during this thread's call: 1 when it is now set. */
static inline int zd_owner_interrupt(Owner *self)
{
	if (likely(self->exc_type == NULL) || self->exc_thread != PyThread_get_thread_ident())
		return 0;
	zd_owner_raise(self);
	return 1;
}

/* For a PyMethodDef: what is called with an array of arguments. */
#define FAST(f) (PyCFunction)(void (*)(void))(f), METH_FASTCALL | METH_KEYWORDS

/* The spec LOWER_spec of a type, made of a sentence, LOWER_methods, LOWER_getset and LOWER_dealloc. */
#define ZD_TYPE(lower, type, make, more, doc)                                           \
	static PyType_Slot lower##_slots[] = {                                          \
		{ Py_tp_doc, (void *)doc },         { Py_tp_new, make },                \
		{ Py_tp_dealloc, lower##_dealloc }, { Py_tp_methods, lower##_methods }, \
		{ Py_tp_getset, lower##_getset },   { 0, NULL },                        \
	};                                                                              \
	static PyType_Spec lower##_spec = {                                             \
		.name = "zoned._fast." #type,                                           \
		.basicsize = sizeof(type),                                              \
		.flags = Py_TPFLAGS_DEFAULT | (more),                                   \
		.slots = lower##_slots,                                                 \
	}

/* A type of the module that nobody here has to know again; base: NULL, or what it derives from. 0, or -1 with an exception. */
static inline int zd_fast_add(PyObject *module, const char *name, PyType_Spec *spec, PyObject *base)
{
	PyObject *type = PyType_FromModuleAndSpec(module, spec, base);
	int code = type != NULL ? PyModule_AddObjectRef(module, name, type) : -1;

	Py_XDECREF(type);
	return code;
}

/* Set the exception for an owner that cannot be entered; -1. */
int zd_owner_refuse(Owner *self);
/* The last call has left an owner that was closed meanwhile. */
void zd_owner_last(Owner *self);

/* 0, or -1 with an exception set: it is closed, or this is a signal handler inside a call. Parents are not entered. */
static inline int zd_owner_enter(Owner *self)
{
	if (unlikely(self->raw == NULL || self->closing || self->handler_thread != 0) && zd_owner_refuse(self) < 0)
		return -1;
	self->inside++;
	return 0;
}

static inline void zd_owner_leave(Owner *self)
{
	self->inside--;
	if (unlikely(self->deferred) && self->inside <= 0)
		zd_owner_last(self);
}

/* A new owner of a kind that owns nothing yet, in an object that its type has allocated. */
void zd_owner_begin(Owner *self, const struct zd_owner_kind *kind, const char *name, Owner *parent);
/* For dealloc of types that derive from it: give back what is owned, and forget all else. */
void zd_owner_end(Owner *self);
/* A method close() for any of them. */
PyObject *zd_owner_close(PyObject *op, PyObject *unused);

/* 0, or -1 with TypeError: text says what is wanted. */
int zd_owner_need(PyObject *op, const char *text);
/* A call on it and on its parents begins (0, or -1 with an exception set), and ends. */
int zd_owner_enter_all(Owner *self);
void zd_owner_leave_all(Owner *self);
/* What a signal handler raised in this thread's call is not to come out of another one later. */
void zd_owner_forget_interrupt(Owner *self);

/* How many guards of this thread an owner is under. */
Py_ssize_t zd_guard_count(const Owner *self);
/* In a forked child: guards of other threads than me, the only one there is, are no more. */
void zd_guard_forked(unsigned long me);

/* Fill out[0..want-1] from positional and keyword arguments. */
int zd_bind(const char *func, const char *const *names, Py_ssize_t want, PyObject *const *args, Py_ssize_t nargs,
	    PyObject *kwnames, PyObject **out);
/* The two arguments of a call, wherever they were given. NULL, with an exception: they are not two of these names. */
static inline PyObject *const *zd_two(const char *func, const char *const *names, PyObject *const *args, Py_ssize_t nargs,
				      PyObject *kwnames, PyObject **bound)
{
	if (likely(kwnames == NULL && nargs == 2))
		return args;
	return zd_bind(func, names, 2, args, nargs, kwnames, bound) < 0 ? NULL : bound;
}
/* Bytes that are to be filled, at *to. NULL, with an exception: there is no memory. */
static inline PyObject *zd_new_bytes(uint64_t length, char **to)
{
	PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);

	*to = result != NULL ? PyBytes_AsString(result) : NULL;
	return result;
}
/* A contiguous buffer. Says in one sentence what is wrong with an object that has none. */
int zd_get_buffer(PyObject *arg, const char *name, int flags, Py_buffer *view);

/* Raises what code and err say; always returns NULL. */
PyObject *zd_core_fail(Core *self, int64_t code, const struct zd_error *err);

/* The data calls of a Core, with their texts. */
#define ZD_DATA_CALL(name)                        \
	extern const char zd_core_##name##_doc[]; \
	PyObject *zd_core_##name(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)

ZD_DATA_CALL(pread);
ZD_DATA_CALL(preadinto);
ZD_DATA_CALL(pwrite);
ZD_DATA_CALL(pwritev);
ZD_DATA_CALL(append);

/* What the files add to the module: Owner, Guard, Core, File (which belongs to a Core), functions for descriptors. */
int zd_owner_add(PyObject *module, struct zd_fast_state *state);
int zd_guard_add(PyObject *module);
int zd_core_add(PyObject *module, struct zd_fast_state *state);
int zd_file_add(PyObject *module, struct zd_fast_state *state);
int zd_fd_add(PyObject *module);

#endif
