/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned._fast - the data calls of a Device and of a zonefs file without cffi in between, and what owns all that the C
 * core makes: the module, of the parts that fast.h names.
 */
#include "fast.h"

static int module_exec(PyObject *module)
{
	struct zd_fast_state *state = PyModule_GetState(module);

	/* The interrupt hook takes the GIL of the main interpreter; another interpreter has its own. */
	if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
		PyErr_SetString(PyExc_ImportError, "zoned works in the main interpreter only");
		return -1;
	}
	if (zd_owner_add(module, state) < 0 || zd_guard_add(module) < 0 || zd_core_add(module, state) < 0)
		return -1;
	return zd_file_add(module, state) < 0 ? -1 : zd_fd_add(module);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
	struct zd_fast_state *state = PyModule_GetState(module);

	Py_VISIT(state->owner);
	Py_VISIT(state->core);
	return 0;
}

static int module_clear(PyObject *module)
{
	struct zd_fast_state *state = PyModule_GetState(module);

	Py_CLEAR(state->owner);
	Py_CLEAR(state->core);
	return 0;
}

static PyModuleDef_Slot module_slots[] = {
	{ Py_mod_exec, module_exec },
	{ 0, NULL },
};

static struct PyModuleDef module_def = {
	PyModuleDef_HEAD_INIT,
	.m_name = "zoned._fast",
	.m_doc = "The data calls of a zoned device, without cffi in between.",
	.m_size = sizeof(struct zd_fast_state),
	.m_slots = module_slots,
	.m_traverse = module_traverse,
	.m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__fast(void)
{
	return PyModuleDef_Init(&module_def);
}
