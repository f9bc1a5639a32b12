/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned._fast.Owner - the one mechanism by which Python holds what the C core made.
 *
 * An Owner exists before the thing: the core writes its pointer into the Owner itself (`_cell`), so that an exception
 * at any moment, KeyboardInterrupt between two instructions included, leaves a thing with an owner. A Guard
 * (fast_guard.c) counts a call on it: close() waits for those inside, whichever thread they are in, and later ones are
 * refused. What is still owned when the object goes is given back then; no Python code runs for that, so no signal can
 * cut it short.
 */
#include "fast.h"

_Thread_local int zd_inside_here;

/* Under the GIL. Of this process: a forked child goes through them. */
static Owner *owners;
/* The type; one interpreter only, see module_exec(). */
static PyObject *owner_type;

/* ---------------------------------------------------------------- entering, leaving */

int zd_owner_refuse(Owner *self)
{
	if (self->raw == NULL || self->closing) {
		PyErr_Format(PyExc_ValueError, "%s is closed", self->name ? self->name : "it");
		return -1;
	}
	/* The call under way may hold a zone's lock: waiting for it here would never end. */
	if (self->handler_thread == PyThread_get_thread_ident()) {
		PyErr_Format(PyExc_RuntimeError, "a signal handler cannot use %s while a call on it is under way in its thread",
			     strncmp(self->name, "the device", 10) ? self->name : "a device");
		return -1;
	}
	return 0;
}

/*
 * An exception came between the call and its end, or there is nobody to raise for: what a signal handler raised in the
 * call is not to come out of another one later.
 */
void zd_owner_forget_interrupt(Owner *self)
{
	if (self->exc_type == NULL || self->exc_thread != PyThread_get_thread_ident())
		return;
	Py_CLEAR(self->exc_type);
	Py_CLEAR(self->exc_value);
	Py_CLEAR(self->exc_tb);
}

static void add_note(PyObject *exception, const char *whom)
{
	PyObject *text = PyUnicode_FromFormat("it waited for %s", whom);
	PyObject *done = text == NULL || exception == NULL ? NULL : PyObject_CallMethod(exception, "add_note", "O", text);

	if (done == NULL)
		PyErr_Clear();
	Py_XDECREF(text);
	Py_XDECREF(done);
}

void zd_owner_raise(Owner *self)
{
	const char *whom = zd_waited_for();
	PyObject *type = self->exc_type, *value = self->exc_value, *tb = self->exc_tb;

	self->exc_type = self->exc_value = self->exc_tb = NULL;
	if (whom != NULL) {
		PyErr_NormalizeException(&type, &value, &tb);
		add_note(value, whom);
	}
	PyErr_Restore(type, value, tb);
}

/* 0, or -1 with a TypeError of that text. */
int zd_owner_need(PyObject *op, const char *text)
{
	int ok = PyObject_IsInstance(op, owner_type);

	if (ok == 0)
		PyErr_SetString(PyExc_TypeError, text);
	return ok > 0 ? 0 : -1;
}

/* ---------------------------------------------------------------- uses */

static void unlink_use(struct zd_use *use)
{
	*use->at = use->beside;
	if (use->beside)
		use->beside->at = use->at;
	use->at = NULL;
}

/* What it owned is given back, and uses nothing any more. */
static void end_uses(Owner *self)
{
	struct zd_use *use;

	while ((use = self->uses) != NULL) {
		Owner *used = use->used;

		self->uses = use->next;
		if (use->at) {
			unlink_use(use);
			zd_owner_leave(used);
		}
		free(use);
		Py_DECREF((PyObject *)used);
	}
}

PyDoc_STRVAR(use_doc,
	     "_use($self, other, /)\n--\n\n"
	     "What this one owns is about to use what the other owns, with threads of its own, until it is given back: that\n"
	     "counts as a call on the other, which stays as long, and whose close() closes this one first.");

static PyObject *owner_use(PyObject *op, PyObject *arg)
{
	Owner *self = (Owner *)op, *used = (Owner *)arg;
	struct zd_use *use;

	if (zd_owner_need(arg, "what is used is an Owner") < 0 || zd_owner_refuse(self) < 0)
		return NULL;
	use = malloc(sizeof(*use));
	if (use == NULL)
		return PyErr_NoMemory();
	if (zd_owner_enter(used) < 0) {
		free(use);
		return NULL;
	}
	*use = (struct zd_use){ self, (Owner *)Py_NewRef(arg), self->uses, used->used_by, &used->used_by };
	self->uses = use;
	used->used_by = use;
	if (use->beside)
		use->beside->at = &use->beside;
	Py_RETURN_NONE;
}

/* Close who uses it. 0, also where one is inside a call and ends behind it; -1 with an exception set. */
static int close_users(Owner *self)
{
	while (self->used_by != NULL) {
		struct zd_use *use = self->used_by;
		PyObject *user = Py_NewRef((PyObject *)use->user);
		PyObject *done;

		if (self->kind->hurry)
			self->kind->hurry(self, self->raw);
		done = zd_owner_close(user, NULL);
		Py_DECREF(user);
		if (done == NULL)
			return -1;
		Py_DECREF(done);
		if (self->used_by == use)
			break;
	}
	return 0;
}

/* ---------------------------------------------------------------- giving back */

/* Give back what is owned: the one place that does while the object lives. 0, or -1 with an exception set. */
static int free_now(Owner *self)
{
	struct zd_error err;
	void *raw = self->raw;
	int code;

	self->raw = NULL;
	self->deferred = 0;
	self->freeing = 1;
	code = self->kind->release(self, raw, &err);
	self->freeing = 0;
	end_uses(self);
	if (code < 0 && self->kind->fail) {
		self->kind->fail(self, code, &err);
		return -1;
	}
	return zd_owner_interrupt(self) ? -1 : 0; /* it came meanwhile, and the thing is given back all the same */
}

void zd_owner_last(Owner *self)
{
	PyObject *type, *value, *tb;

	if (self->raw == NULL)
		return;
	PyErr_Fetch(&type, &value, &tb);
	if (free_now(self) < 0)
		PyErr_WriteUnraisable((PyObject *)self);
	for (Owner *at = self->parent; at != NULL; at = at->parent)
		zd_owner_forget_interrupt(at);
	PyErr_Restore(type, value, tb);
}

static void pause_for(long ns)
{
	const struct timespec pause = { 0, ns };

	Py_BEGIN_ALLOW_THREADS
	nanosleep(&pause, NULL);
	Py_END_ALLOW_THREADS
}

void zd_owner_leave_all(Owner *self)
{
	for (; self != NULL; self = self->parent)
		zd_owner_leave(self);
}

/* Enter an owner and what it uses; wait for one's turn where only one at a time may. */
int zd_owner_enter_all(Owner *self)
{
	Owner *at;
	long ns = 20000;

	while (self->alone && self->inside > 0 && self->raw != NULL && !self->closing) {
		if (self->user == PyThread_get_thread_ident()) {
			PyErr_Format(PyExc_RuntimeError, "reentrant call: %s is at work in this very thread", self->name);
			return -1;
		}
		pause_for(ns);
		ns = ns < 500000 ? 2 * ns : ns;
		if (PyErr_CheckSignals() < 0)
			return -1;
	}
	for (at = self; at != NULL; at = at->parent) {
		if (zd_owner_enter(at) < 0) {
			for (Owner *done = self; done != at; done = done->parent)
				zd_owner_leave(done);
			return -1;
		}
	}
	self->user = PyThread_get_thread_ident();
	return 0;
}

/* ---------------------------------------------------------------- life */

static void link_in(Owner *self)
{
	self->next = owners;
	self->at = &owners;
	if (self->next)
		self->next->at = &self->next;
	owners = self;
}

void zd_owner_begin(Owner *self, const struct zd_owner_kind *kind, const char *name, Owner *parent)
{
	self->kind = kind;
	self->name = name;
	self->parent = parent;
	Py_XINCREF((PyObject *)parent);
	if (self->at == NULL)
		link_in(self);
}

void zd_owner_end(Owner *self)
{
	struct zd_error err;

	if (self->raw != NULL) {
		PyObject *type, *value, *tb;
		void *raw = self->raw;

		PyErr_Fetch(&type, &value, &tb);
		self->raw = NULL;
		self->kind->release(self, raw, &err);
		for (Owner *at = self->parent; at != NULL; at = at->parent)
			zd_owner_forget_interrupt(at);
		PyErr_Restore(type, value, tb);
	}
	end_uses(self);
	if (self->at != NULL) {
		*self->at = self->next;
		if (self->next)
			self->next->at = self->at;
		self->at = NULL;
	}
	Py_CLEAR(self->exc_type);
	Py_CLEAR(self->exc_value);
	Py_CLEAR(self->exc_tb);
	Py_XDECREF((PyObject *)self->parent);
	self->parent = NULL;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
			"Wait for calls under way in other threads, then give it back; later calls do nothing.");

PyObject *zd_owner_close(PyObject *op, PyObject *unused)
{
	Owner *self = (Owner *)op;

	(void)unused;
	while (self->raw != NULL || self->freeing) {
		self->closing = 1;
		if (self->raw != NULL && close_users(self) < 0)
			return NULL;
		if (self->raw != NULL && self->inside <= 0) {
			if (free_now(self) < 0)
				return NULL;
			for (Owner *at = self->parent; at != NULL; at = at->parent) {
				if (zd_owner_interrupt(at))
					return NULL; /* it came while the thing was given back, which it is */
			}
			break;
		}
		if (self->raw != NULL && self->kind->hurry)
			self->kind->hurry(self, self->raw);
		if (zd_inside_here > 0) {
			/* In a signal handler during a call of this very thread: waiting would never end. */
			self->deferred = self->raw != NULL;
			break;
		}
		pause_for(500000);
		if (PyErr_CheckSignals() < 0) {
			self->deferred = self->raw != NULL && self->inside > 0;
			return NULL;
		}
	}
	self->closing = 1;
	Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- what is freed by one function */

static int release_plain(Owner *self, void *raw, struct zd_error *err)
{
	Owner *parent = self->parent;
	void (*give_back)(void *) = self->free;
	int entered = 0;

	(void)err;
	if (parent != NULL) {
		entered = zd_owner_enter_all(parent) == 0;
		if (!entered) {
			/* The disk is closed (or this is a signal handler inside a call on it): it is out of reach. */
			PyErr_Clear();
			give_back = self->drop;
		}
	}
	if (give_back != NULL) {
		Py_BEGIN_ALLOW_THREADS
		give_back(raw);
		Py_END_ALLOW_THREADS
	}
	if (entered)
		zd_owner_leave_all(parent);
	return 0;
}

static const struct zd_owner_kind plain = { .release = release_plain };

PyDoc_STRVAR(
	own_doc,
	"_own($self, name, free, drop=0, parent=None, alone=False, forget=0, /)\n--\n\n"
	"What the core is about to make is given back by the function at address free; by that at drop once the parent is\n"
	"closed, which it uses, and by that at forget in a forked child, if the child must not have it. alone: its calls\n"
	"must not overlap. name: what it is, in a sentence (\"the snapshot\").");

static PyObject *owner_own(PyObject *op, PyObject *args)
{
	Owner *self = (Owner *)op;
	unsigned long long free_at, drop_at = 0, forget_at = 0;
	PyObject *name, *parent = Py_None;
	const char *text;
	int alone = 0;

	if (!PyArg_ParseTuple(args, "UK|KOpK:_own", &name, &free_at, &drop_at, &parent, &alone, &forget_at))
		return NULL;
	if (self->kind != NULL) {
		PyErr_SetString(PyExc_ValueError, "an owner begins once");
		return NULL;
	}
	if (parent != Py_None && zd_owner_need(parent, "a parent is an Owner") < 0)
		return NULL;
	/* Interned, and this reference kept: the text lives as long as the process. There are a dozen of them. */
	Py_INCREF(name);
	PyUnicode_InternInPlace(&name);
	text = PyUnicode_AsUTF8AndSize(name, NULL);
	if (text == NULL)
		return NULL;
	self->free = (void (*)(void *))(uintptr_t)free_at;
	self->drop = (void (*)(void *))(uintptr_t)drop_at;
	self->forget = (void (*)(void *))(uintptr_t)forget_at;
	self->alone = alone;
	zd_owner_begin(self, &plain, text, parent == Py_None ? NULL : (Owner *)parent);
	Py_RETURN_NONE;
}

static PyObject *owner_cell(PyObject *op, void *unused)
{
	Owner *self = (Owner *)op;

	(void)unused;
	if (self->kind == NULL || self->raw != NULL || self->closing) {
		PyErr_SetString(PyExc_ValueError, "there is room for one thing, once");
		return NULL;
	}
	return PyLong_FromUnsignedLongLong((uintptr_t)&self->raw);
}

static PyObject *owner_address(PyObject *op, void *unused)
{
	Owner *self = (Owner *)op;

	(void)unused;
	if (self->raw == NULL) {
		PyErr_Format(PyExc_ValueError, "%s is closed", self->name ? self->name : "it");
		return NULL;
	}
	return PyLong_FromUnsignedLongLong((uintptr_t)self->raw);
}

static PyObject *owner_closed(PyObject *op, void *unused)
{
	Owner *self = (Owner *)op;

	(void)unused;
	return PyBool_FromLong(self->raw == NULL || self->closing);
}

static PyObject *owner_inside(PyObject *op, void *unused)
{
	(void)unused;
	return PyLong_FromSsize_t(((Owner *)op)->inside);
}

static PyObject *owner_enter_with(PyObject *op, PyObject *unused)
{
	Owner *self = (Owner *)op;

	(void)unused;
	if (self->raw == NULL || self->closing) {
		PyErr_Format(PyExc_ValueError, "%s is closed", self->name ? self->name : "it");
		return NULL;
	}
	return Py_NewRef(op);
}

static PyObject *owner_exit_with(PyObject *op, PyObject *args)
{
	PyObject *done = PyObject_CallMethod(op, "close", NULL);

	(void)args;
	if (done == NULL)
		return NULL;
	Py_DECREF(done);
	Py_RETURN_FALSE;
}

static void owner_dealloc(PyObject *op)
{
	PyTypeObject *type = Py_TYPE(op);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	zd_owner_end((Owner *)op);
	release(op);
	Py_DECREF(type);
}

static PyGetSetDef owner_getset[] = {
	{ "closed", owner_closed, NULL, "True once close() was called.", NULL },
	{ "_cell", owner_cell, NULL, "Address of the pointer that the core is to fill.", NULL },
	{ "_address", owner_address, NULL, "What the core made. Raises ValueError once it is closed.", NULL },
	{ "_inside", owner_inside, NULL, "How many calls are under way.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef owner_methods[] = {
	{ "close", zd_owner_close, METH_NOARGS, close_doc },
	{ "_own", owner_own, METH_VARARGS, own_doc },
	{ "_use", owner_use, METH_O, use_doc },
	{ "__enter__", owner_enter_with, METH_NOARGS, NULL },
	{ "__exit__", owner_exit_with, METH_VARARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

ZD_TYPE(owner, Owner, PyType_GenericNew, Py_TPFLAGS_BASETYPE,
	"Owns one thing that the C core made: a disk, a file, a snapshot.");

/* ---------------------------------------------------------------- forks */

/* A signal handler forked in the middle of a fast call on it (or on what belongs to it), which goes on here. */
static bool in_handler(const Owner *self)
{
	for (; self != NULL; self = self->parent) {
		if (self->handler_thread != 0 && self->handler_thread == PyThread_get_thread_ident())
			return true;
	}
	return false;
}

PyDoc_STRVAR(after_fork_doc,
	     "after_fork()\n--\n\n"
	     "In a forked child: the threads that were inside calls do not exist here. Calls of this thread go on.");

static PyObject *after_fork(PyObject *module, PyObject *unused)
{
	unsigned long me = PyThread_get_thread_ident();

	(void)module;
	(void)unused;
	zd_guard_forked(me);
	for (Owner *self = owners; self != NULL; self = self->next) {
		Py_ssize_t mine = zd_guard_count(self);

		if (mine == 0 && self->inside > 0 && in_handler(self))
			mine = 1;
		else if (self->kind->forked)
			self->kind->forked(self);
		self->inside = mine;
		self->freeing = 0;
		if (self->forget && self->raw) {
			self->forget(self->raw);
			self->raw = NULL;
		}
	}
	for (Owner *self = owners; self != NULL; self = self->next) {
		for (struct zd_use *use = self->uses; use != NULL; use = use->next) {
			if (self->raw != NULL)
				use->used->inside++;
			else if (use->at)
				unlink_use(use);
		}
	}
	Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
	{ "after_fork", after_fork, METH_NOARGS, after_fork_doc },
	{ NULL, NULL, 0, NULL },
};

int zd_owner_add(PyObject *module, struct zd_fast_state *state)
{
	state->owner = owner_type = PyType_FromModuleAndSpec(module, &owner_spec, NULL);
	if (state->owner == NULL || PyModule_AddObjectRef(module, "Owner", state->owner) < 0)
		return -1;
	return PyModule_AddFunctions(module, functions);
}
