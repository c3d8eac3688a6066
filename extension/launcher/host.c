/* The bundle's Python: an interpreter with our modules built in and the standard library frozen into it.
 *
 * It reads no environment variable of Python's, no site, no sys.path: what can be imported is in the two tables that
 * tools/bundle.py writes, and in lib/ beside this program. Lambda bills the start-up, so nothing is searched for.
 */
#include <Python.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

extern const struct _frozen *bundle_frozen(void); /* modules as marshalled code */
extern struct _inittab bundle_builtins[];         /* our compiled modules */

static int set(PyConfig *config, wchar_t **item, const char *value) {
    PyStatus status = PyConfig_SetBytesString(config, item, value);
    return !PyStatus_Exception(status);
}

int main(int argc, char **argv) {
    char home[1024];
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    size_t length = slash ? (size_t)(slash - argv[0]) : 0;
    if (!length || length >= sizeof home) {
        fputs("lambda-dispatch: start this program through the launcher beside it\n", stderr);
        return 78;
    }
    memcpy(home, argv[0], length);
    home[length] = 0;
    prctl(PR_SET_NAME, "lambda-dispatch");

    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status)) Py_ExitStatusException(status);
    PyImport_FrozenModules = bundle_frozen();
    if (PyImport_ExtendInittab(bundle_builtins) < 0) return 1;

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.install_signal_handlers = 1; /* SIGPIPE ignored, SIGINT heard */
    config.parse_argv = 0;
    config.module_search_paths_set = 1; /* to nothing */
    if (!set(&config, &config.program_name, argv[0]) || !set(&config, &config.executable, argv[0]) ||
        !set(&config, &config.base_executable, argv[0]) || !set(&config, &config.home, home) ||
        !set(&config, &config.prefix, home) || !set(&config, &config.exec_prefix, home) ||
        !set(&config, &config.base_prefix, home) || !set(&config, &config.base_exec_prefix, home) ||
        !set(&config, &config.stdlib_dir, home))
        return 1;
    status = PyConfig_SetBytesArgv(&config, argc, argv);
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    if (PyStatus_Exception(status)) Py_ExitStatusException(status);
    PyConfig_Clear(&config);

    int code = 1;
    PyObject *module = PyImport_ImportModule("lambda_dispatch_bundle");
    PyObject *result = module ? PyObject_CallMethod(module, "main", NULL) : NULL;
    if (result && PyLong_Check(result)) {
        code = (int)PyLong_AsLong(result);
    } else {
        PyErr_Print(); /* exits by itself where it was SystemExit */
    }
    fflush(NULL);
    _exit(code); /* the system takes everything back; the interpreter's own end would be billed */
}
