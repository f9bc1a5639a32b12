/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned._fast.Core - owns one zd_dev (fast_owner.c tells how). Its data calls are in fast_data.c.
 *
 * Nothing here knows a rule of the disk: codes go to one Python callable, which raises.
 *
 * The counts and flags of a Core are read and written under the GIL only, which is why they are plain
 * integers; the one exception (cancel) is atomic. A build without a GIL would need more, so it is refused.
 */
#include "fast.h"

/* ---------------------------------------------------------------- interrupts */

/*
 * Polled by the core in long calls, without the GIL. Python runs signal handlers in the main thread only,
 * so no other thread needs to take the GIL here.
 */
static int interrupt_hook(void *arg)
{
	Core *self = arg;
	Owner *owner = &self->owner;
	PyGILState_STATE gil;
	int stop = 0;

	if (atomic_load_explicit(&self->cancel, memory_order_relaxed))
		return 1;
	if (syscall(SYS_gettid) != getpid())
		return 0;
	gil = PyGILState_Ensure();
	zd_inside_here++;
	owner->handler_thread = PyThread_get_thread_ident();
	if (PyErr_CheckSignals() < 0) {
		Py_CLEAR(owner->exc_type);
		Py_CLEAR(owner->exc_value);
		Py_CLEAR(owner->exc_tb);
		PyErr_Fetch(&owner->exc_type, &owner->exc_value, &owner->exc_tb);
		owner->exc_thread = PyThread_get_thread_ident();
		stop = 1;
	}
	owner->handler_thread = 0;
	zd_inside_here--;
	PyGILState_Release(gil);
	return stop;
}

/* ---------------------------------------------------------------- errors */

PyObject *zd_core_fail(Core *self, int64_t code, const struct zd_error *err)
{
	PyObject *result;

	if (zd_owner_interrupt(&self->owner))
		return NULL;
	result = PyObject_CallFunction(self->on_error, "OLy#", self, (long long)code, (const char *)err,
				       (Py_ssize_t)sizeof(*err));
	if (result != NULL) {
		Py_DECREF(result);
		PyErr_SetString(PyExc_SystemError, "the error function of the device did not raise");
	}
	return NULL;
}

/* ---------------------------------------------------------------- life of a Core */

static int core_release(Owner *owner, void *raw, struct zd_error *err)
{
	int code;

	/* An object that goes has nobody to raise for. Else waits for others end by a signal; making durable does not. */
	if (!owner->freeing)
		zd_set_interrupt(raw, NULL, NULL);
	atomic_store(&((Core *)owner)->cancel, 0); /* that was for calls under way, and there are none any more */
	Py_BEGIN_ALLOW_THREADS
	code = zd_close(raw, err);
	Py_END_ALLOW_THREADS
	return code;
}

/* A command that a fault holds up for ever would let nobody close. */
static void core_hurry(Owner *owner, void *raw)
{
	(void)owner;
	zd_end_hangs(raw);
}

static PyObject *core_fail(Owner *owner, int code, const struct zd_error *err)
{
	return zd_core_fail((Core *)owner, code, err);
}

static const struct zd_owner_kind core_kind = { .release = core_release, .fail = core_fail, .hurry = core_hurry };

static PyObject *core_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *op = PyType_GenericNew(type, args, kwargs);

	if (op != NULL)
		zd_owner_begin((Owner *)op, &core_kind, "the device", NULL);
	return op;
}

PyDoc_STRVAR(prepare_doc, "_prepare($self, on_error, on_range, /)\n--\n\n"
			  "Before the core is asked for a handle, which it puts into _cell.");

static PyObject *core_prepare(PyObject *op, PyObject *args)
{
	Core *self = (Core *)op;
	PyObject *on_error, *on_range;

	if (!PyArg_ParseTuple(args, "OO:_prepare", &on_error, &on_range))
		return NULL;
	if (self->on_error != NULL) {
		PyErr_SetString(PyExc_ValueError, "a device is prepared once");
		return NULL;
	}
	self->on_error = Py_NewRef(on_error);
	self->on_range = Py_NewRef(on_range);
	Py_RETURN_NONE;
}

static PyObject *core_cell(PyObject *op, void *unused)
{
	Core *self = (Core *)op;

	(void)unused;
	if (self->on_error == NULL || self->owner.raw != NULL || self->owner.closing) {
		PyErr_SetString(PyExc_ValueError, "there is room for one device, once");
		return NULL;
	}
	return PyLong_FromUnsignedLongLong((uintptr_t)&self->owner.raw);
}

PyDoc_STRVAR(begin_doc, "_begin($self, size, /)\n--\n\n"
			"The handle is there, of a disk of so many bytes: from here on signals end its long calls.");

static PyObject *core_begin(PyObject *op, PyObject *arg)
{
	Core *self = (Core *)op;
	unsigned long long size = PyLong_AsUnsignedLongLong(arg);

	if (PyErr_Occurred())
		return NULL;
	if (self->owner.raw == NULL) {
		PyErr_SetString(PyExc_ValueError, "the device is closed");
		return NULL;
	}
	self->size = size;
	zd_set_interrupt(self->owner.raw, interrupt_hook, self);
	Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc,
	     "close($self, /)\n--\n\n"
	     "Wait for calls under way in other threads, then close the handle; later calls do nothing.\n\n"
	     "Commands of this handle that a fault holds up (kinds hang and latency) end with ValueError.\n"
	     "The last closer of an image makes its data durable on the host and marks it clean (unless host_sync is\n"
	     "\"never\"). Conditions of zones stay: this is no power cycle. Raises OSError when the host cannot sync;\n"
	     "the handle is closed even then.");

PyDoc_STRVAR(cancel_doc, "_cancel($self, /)\n--\n\n"
			 "End long calls under way in any thread with -EINTR, for the end of the process.");

static PyObject *core_cancel(PyObject *op, PyObject *unused)
{
	(void)unused;
	atomic_store(&((Core *)op)->cancel, 1);
	Py_RETURN_NONE;
}

static void core_dealloc(PyObject *op)
{
	Core *self = (Core *)op;
	PyTypeObject *type = Py_TYPE(op);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	/* Device.__del__ closes properly and warns; this is for objects whose making ended half-way. */
	zd_owner_end(&self->owner);
	Py_CLEAR(self->on_error);
	Py_CLEAR(self->on_range);
	release(op);
	Py_DECREF(type);
}

static PyMethodDef core_methods[] = {
	{ "pread", FAST(zd_core_pread), zd_core_pread_doc },
	{ "preadinto", FAST(zd_core_preadinto), zd_core_preadinto_doc },
	{ "pwrite", FAST(zd_core_pwrite), zd_core_pwrite_doc },
	{ "pwritev", FAST(zd_core_pwritev), zd_core_pwritev_doc },
	{ "append", FAST(zd_core_append), zd_core_append_doc },
	{ "close", zd_owner_close, METH_NOARGS, close_doc },
	{ "_prepare", core_prepare, METH_VARARGS, prepare_doc },
	{ "_begin", core_begin, METH_O, begin_doc },
	{ "_cancel", core_cancel, METH_NOARGS, cancel_doc },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef core_getset[] = {
	{ "_cell", core_cell, NULL, "Address of the pointer that the core is to fill.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

ZD_TYPE(core, Core, core_new, Py_TPFLAGS_BASETYPE, "One handle on a disk, and its data calls. zoned.Device derives from it.");

int zd_core_add(PyObject *module, struct zd_fast_state *state)
{
	state->core = PyType_FromModuleAndSpec(module, &core_spec, state->owner);
	return state->core != NULL ? PyModule_AddObjectRef(module, "Core", state->core) : -1;
}
