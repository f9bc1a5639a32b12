/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned._fast.Guard - a call of cffi's on one owner or two: counted from `with` to its end, however that comes, and in
 * a forked child as well.
 */
#include "fast.h"

#define MOST 2 /* owners of one Guard */

typedef struct Guard Guard;
struct Guard {
	PyObject_HEAD
	Owner *owners[MOST];
	int count, entered; /* entered: so many of them */
	unsigned long thread;
	Guard *next, **at; /* all guards that are entered, for a forked child */
};

/* Those that are entered, of all threads; under the GIL. */
static Guard *guards;

PyDoc_STRVAR(guard_doc,
	     "Guard(*owners)\n--\n\n"
	     "`with Guard(device):` around a cffi call: close() waits for it, and a signal handler's exception comes out.\n"
	     "Several owners are entered in this order.");

static PyObject *guard_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	Py_ssize_t count = PyTuple_Size(args);
	Guard *self;

	if ((kwargs != NULL && PyDict_Size(kwargs) > 0) || count < 1 || count > MOST) {
		PyErr_Format(PyExc_TypeError, "Guard() takes 1 to %d owners", MOST);
		return NULL;
	}
	for (Py_ssize_t i = 0; i < count; i++)
		if (zd_owner_need(PyTuple_GetItem(args, i), "Guard() takes a Core, or another Owner") < 0)
			return NULL;
	self = (Guard *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (self == NULL)
		return NULL;
	for (Py_ssize_t i = 0; i < count; i++)
		self->owners[i] = (Owner *)Py_NewRef(PyTuple_GetItem(args, i));
	self->count = (int)count;
	return (PyObject *)self;
}

static void guard_leave(Guard *self)
{
	if (self->at != NULL) {
		*self->at = self->next;
		if (self->next)
			self->next->at = self->at;
		self->at = NULL;
		if (self->thread == PyThread_get_thread_ident())
			zd_inside_here--;
	}
	while (self->entered > 0)
		zd_owner_leave_all(self->owners[--self->entered]);
}

static PyObject *guard_enter(PyObject *op, PyObject *unused)
{
	Guard *self = (Guard *)op;

	(void)unused;
	if (self->at != NULL) {
		PyErr_SetString(PyExc_ValueError, "a Guard is entered once");
		return NULL;
	}
	for (int i = 0; i < self->count; i++) {
		if (zd_owner_enter_all(self->owners[i]) < 0) {
			guard_leave(self);
			return NULL;
		}
		self->entered = i + 1;
	}
	self->thread = PyThread_get_thread_ident();
	zd_inside_here++;
	self->next = guards;
	self->at = &guards;
	if (self->next)
		self->next->at = &self->next;
	guards = self;
	Py_RETURN_NONE;
}

static PyObject *guard_exit(PyObject *op, PyObject *args)
{
	Guard *self = (Guard *)op;
	int raised = 0;

	(void)args;
	if (self->at != NULL) {
		guard_leave(self);
		for (int i = 0; i < self->count && !raised; i++) {
			for (Owner *at = self->owners[i]; at != NULL && !raised; at = at->parent)
				raised = zd_owner_interrupt(at);
		}
	}
	if (raised)
		return NULL;
	Py_RETURN_FALSE;
}

static void guard_dealloc(PyObject *op)
{
	Guard *self = (Guard *)op;
	PyTypeObject *type = Py_TYPE(op);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
	bool left = self->at != NULL;

	if (left)
		guard_leave(self);
	for (int i = 0; i < self->count; i++) {
		for (Owner *at = self->owners[i]; left && at != NULL; at = at->parent)
			zd_owner_forget_interrupt(at);
		Py_DECREF((PyObject *)self->owners[i]);
	}
	release(op);
	Py_DECREF(type);
}

static PyMethodDef guard_methods[] = {
	{ "__enter__", guard_enter, METH_NOARGS, NULL },
	{ "__exit__", guard_exit, METH_VARARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot guard_slots[] = {
	{ Py_tp_doc, (void *)guard_doc },
	{ Py_tp_new, guard_new },
	{ Py_tp_dealloc, guard_dealloc },
	{ Py_tp_methods, guard_methods },
	{ 0, NULL },
};

static PyType_Spec guard_spec = {
	.name = "zoned._fast.Guard",
	.basicsize = sizeof(Guard),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = guard_slots,
};

/* How many guards of this thread an owner is under. */
Py_ssize_t zd_guard_count(const Owner *self)
{
	Py_ssize_t count = 0;

	for (const Guard *guard = guards; guard != NULL; guard = guard->next) {
		for (int i = 0; i < guard->count; i++) {
			for (const Owner *at = guard->owners[i]; at != NULL; at = at->parent)
				count += at == self;
		}
	}
	return count;
}

void zd_guard_forked(unsigned long me)
{
	Guard *guard, *next;

	for (guard = guards; guard != NULL; guard = next) {
		next = guard->next;
		if (guard->thread == me)
			continue;
		*guard->at = next;
		if (next)
			next->at = guard->at;
		guard->at = NULL;
		guard->entered = 0;
	}
}

int zd_guard_add(PyObject *module)
{
	return zd_fast_add(module, "Guard", &guard_spec, NULL);
}
