/* The router image's Python: a whole interpreter that runs our command.
 *
 *   python -m MODULE ...     as any Python, with each of its short options: the supervisor starts its processes so
 *   python COMMAND ...       lambda-dispatch COMMAND ..., as the launcher hands it on
 *
 * The standard library lies in lib/pythonX.Y beside this program, compiled; see tools/router_root.py.
 */
#include <Python.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *first = argc > 1 ? argv[1] : "";
    if (first[0] == '-' && first[1] != '-' && strcmp(first, "-h") && strcmp(first, "-V")) return Py_BytesMain(argc, argv);
    char **args = calloc((size_t)argc + 3, sizeof *args);
    if (!args) return 71; /* EX_OSERR */
    args[0] = argv[0];
    args[1] = "-m";
    args[2] = "lambda_dispatch.cli";
    for (int i = 1; i < argc; i++) args[i + 2] = argv[i];
    return Py_BytesMain(argc + 2, args);
}
