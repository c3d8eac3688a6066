"""Objects that come and go with each request: their memory is kept for the next. Header-only, for one type per module.

PyType_GenericAlloc() and PyObject_GC_Del() cost as much as parsing a short head, and Cython's own free list (@freelist)
is for types without a base. keep_spares() is called once, when the type is ready; no type may inherit from it.
"""

cdef extern from *:
    """
    #define LD_SPARES 64

    /* Objects of the type that are not in use: without a reference, unknown to the garbage collector. */
    static PyObject *ld_spares[LD_SPARES];
    static int ld_spares_count = 0;

    static PyObject *ld_spares_alloc(PyTypeObject *type, Py_ssize_t items)
    {
        PyObject *it;
        if (ld_spares_count == 0)
            return PyType_GenericAlloc(type, items);
        it = ld_spares[--ld_spares_count];
        memset(it, 0, (size_t) type->tp_basicsize);
        (void) PyObject_Init(it, type);
        PyObject_GC_Track(it);
        return it;
    }

    static void ld_spares_free(void *it)
    {
        if (ld_spares_count < LD_SPARES)
            ld_spares[ld_spares_count++] = (PyObject *) it;
        else
            PyObject_GC_Del(it);
    }

    static void ld_keep_spares(PyObject *type)
    {
        ((PyTypeObject *) type)->tp_alloc = ld_spares_alloc;
        ((PyTypeObject *) type)->tp_free = ld_spares_free;
    }
    """
    void keep_spares "ld_keep_spares"(object type) noexcept
