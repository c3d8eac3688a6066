/* lambda-dispatch: a static program in front of the bundle's Python.
 *
 *   /opt/extensions/lambda-dispatch     Lambda starts it: registers with the Extensions API under its own file name,
 *                                       then becomes Python. Lambda starts the application as soon as every
 *                                       extension has registered, so Python loads beside the application.
 *   lambda-dispatch extension -- CMD    as an image's ENTRYPOINT: starts CMD, then becomes Python.
 *   /opt/bootstrap                      in a layer, for AWS_LAMBDA_EXEC_WRAPPER: becomes the function's handler, which
 *                                       is the command that starts the application.
 *   lambda-dispatch healthcheck URL     one GET; exit code 0 when the answer is 2xx. No Python.
 *   lambda-dispatch ...                 anything else is handed to Python.
 *
 * It allocates nothing, reads no file and needs no /tmp. Every error is one line on standard error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* sysexits.h, and a shell's two codes for a program that cannot be run */
enum { EX_USAGE = 64, EX_UNAVAILABLE = 69, EX_CONFIG = 78, NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

enum {
    API_PATIENCE = 5,    /* s for each step of the register call */
    HEALTH_PATIENCE = 2, /* s for the whole health check */
    HEAD_MAX = 4096,     /* bytes of an answer that are read; Lambda's has about 300 */
    PATH_MAX_ = 1024,
    ARGS_MAX = 256,
};

#define DEFAULT_BUNDLE "/opt/lambda-dispatch"
#define DEFAULT_PORT "3001"
#define ADAPTERS_PORT "8080"
#ifdef __aarch64__
#define LOADER "ld-linux-aarch64.so.1"
#define MACHINE "arm64"
#else
#define LOADER "ld-linux-x86-64.so.2"
#define MACHINE "x86_64"
#endif

extern char **environ;

static int fail(int code, const char *format, ...) {
    char line[1024] = "lambda-dispatch: ";
    size_t used = strlen(line);
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ') *c = ' '; /* one line, whatever an answer contained */
    strcat(line, "\n");
    if (write(2, line, strlen(line)) < 0) return code;
    return code;
}

static const char *base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* HOST:PORT or [HOST]:PORT into host and port; 0 when it is neither. */
static int split(const char *text, char *host, size_t size, const char **port) {
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || (size_t)(colon - text) >= size) return 0;
    size_t length = colon - text;
    memcpy(host, text, length);
    host[length] = 0;
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = 0;
        memmove(host, host + 1, length - 1);
    }
    size_t digits = strspn(colon + 1, "0123456789");
    long number = strtol(colon + 1, NULL, 10);
    if (!digits || digits > 5 || colon[1 + digits] || number < 1 || number > 65535) return 0;
    *port = colon + 1;
    return 1;
}

/* Sends the request and reads the head of the answer, which stays in answer, ended by a zero. NULL, or what failed. */
static const char *exchange(const char *host, const char *port, const char *request, int patience, char *answer) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    struct timeval timeout = {.tv_sec = patience};
    int error = getaddrinfo(host, port, &hints, &found);
    if (error) return gai_strerror(error);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return strerror(errno);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout); /* holds for connect too */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, found->ai_addr, found->ai_addrlen) < 0)
        return errno == EINPROGRESS ? "timeout: no connection" : strerror(errno);
    for (size_t sent = 0, length = strlen(request); sent < length;) {
        ssize_t n = send(fd, request + sent, length - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) return strerror(errno);
        if (n > 0) sent += n;
    }
    size_t used = 0;
    while (used < HEAD_MAX - 1) {
        ssize_t n = recv(fd, answer + used, HEAD_MAX - 1 - used, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN ? "timeout: no answer" : strerror(errno);
        if (n == 0) break;
        used += n;
        answer[used] = 0;
        if (strstr(answer, "\r\n\r\n")) break;
    }
    answer[used] = 0;
    close(fd);
    freeaddrinfo(found);
    return strncmp(answer, "HTTP/1.", 7) || used < 12 ? "the answer is not HTTP/1.1" : NULL;
}

static int status_of(const char *answer) { return atoi(answer + 9); }

/* The value of a field of the head, copied; 0 when it is not there or too long. */
static int field(const char *answer, const char *name, char *value, size_t size) {
    size_t length = strlen(name);
    for (const char *line = strstr(answer, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        const char *at = line + 2;
        if (strncasecmp(at, name, length) || at[length] != ':') continue;
        at += length + 1;
        at += strspn(at, " \t");
        size_t n = strcspn(at, "\r\n \t");
        if (!n || n >= size) return 0;
        memcpy(value, at, n);
        value[n] = 0;
        return 1;
    }
    return 0;
}

/* Lambda's Runtime and Extensions API, or what stands in front of it. */
static const char *runtime_api(void) {
    static const char *names[] = {"LAMBDA_DISPATCH_LAMBDA_RUNTIME_API_PROXY", "AWS_LWA_LAMBDA_RUNTIME_API_PROXY"};
    for (int i = 0; i < 2; i++) {
        const char *proxy = getenv(names[i]);
        if (proxy && *proxy) return proxy;
    }
    return getenv("AWS_LAMBDA_RUNTIME_API");
}

static int register_extension(const char *name) {
    const char *api = runtime_api(), *port;
    char host[256], request[1024], answer[HEAD_MAX], identifier[128];
    static const char body[] = "{\"events\":[\"SHUTDOWN\"]}";
    if (!api)
        return fail(EX_CONFIG, "AWS_LAMBDA_RUNTIME_API is not set: Lambda starts this file itself from /opt/extensions; "
                               "to run an application elsewhere use: lambda-dispatch extension -- COMMAND");
    if (!split(api, host, sizeof host, &port))
        return fail(EX_CONFIG, "AWS_LAMBDA_RUNTIME_API=\"%s\" is not HOST:PORT; Lambda sets it, a local test must set it", api);
    int length = snprintf(request, sizeof request,
                          "POST /2020-01-01/extension/register HTTP/1.1\r\nHost: %s\r\nLambda-Extension-Name: %s\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          api, name, sizeof body - 1, body);
    if (length < 0 || (size_t)length >= sizeof request)
        return fail(EX_CONFIG, "the file name or AWS_LAMBDA_RUNTIME_API is too long: %s", name);
    const char *why = exchange(host, port, request, API_PATIENCE, answer);
    if (why) return fail(EX_UNAVAILABLE, "register with the Extensions API at %s: %s", api, why);
    if (status_of(answer) != 200) {
        const char *text = strstr(answer, "\r\n\r\n");
        return fail(EX_UNAVAILABLE, "register with the Extensions API at %s: status %d for the name \"%s\": Lambda accepts only "
                                    "the name of a file in /opt/extensions; start it from there under its own name %.200s",
                    api, status_of(answer), name, text ? text + 4 : "");
    }
    if (!field(answer, "lambda-extension-identifier", identifier, sizeof identifier))
        return fail(EX_UNAVAILABLE, "register with the Extensions API at %s: no Lambda-Extension-Identifier in the answer", api);
    setenv("LAMBDA_DISPATCH_EXTENSION_ID", identifier, 1);
    return 0;
}

static int healthcheck(const char *url) {
    char host[256], authority[300], request[1400], answer[HEAD_MAX];
    const char *port, *path;
    if (strncmp(url, "http://", 7))
        return fail(EX_USAGE, "healthcheck: %s is not an http:// URL; ask the HTTP port, not the HTTPS port", url);
    size_t length = strcspn(url + 7, "/?");
    path = url[7 + length] == '/' ? url + 7 + length : "/";
    if (!length || length >= sizeof authority - 4 || strlen(path) > 1000)
        return fail(EX_USAGE, "healthcheck: %s is not http://HOST[:PORT]/PATH", url);
    memcpy(authority, url + 7, length);
    authority[length] = 0;
    if (!strchr(authority, ':') || authority[length - 1] == ']') strcat(authority, ":80");
    if (!split(authority, host, sizeof host, &port))
        return fail(EX_USAGE, "healthcheck: %s is not http://HOST[:PORT]/PATH", url);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: lambda-dispatch-healthcheck\r\nConnection: close\r\n\r\n",
             path, authority);
    alarm(2 * HEALTH_PATIENCE); /* against one byte a second, and slow DNS */
    const char *why = exchange(host, port, request, HEALTH_PATIENCE, answer);
    if (why) return fail(1, "healthcheck: %s: %s", url, why);
    if (status_of(answer) / 100 != 2) return fail(1, "healthcheck: %s: status %d", url, status_of(answer));
    return 0;
}

/* Where Python lives: this file's own folder, or lambda-dispatch beside the folder extensions, or /opt. */
static int find_bundle(const char *self, char *bundle) {
    char folder[PATH_MAX_], probe[PATH_MAX_ + 64];
    const char *candidates[] = {"", "/../lambda-dispatch"};
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (n <= 0) n = snprintf(folder, sizeof folder, "%s", self);
    if (n < 0 || n >= PATH_MAX_ - 64) return 0;
    folder[n] = 0;
    *(char *)base(folder) = 0;
    if (*folder) folder[strlen(folder) - 1] = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(bundle, PATH_MAX_, "%s%s", folder, candidates[i]);
        snprintf(probe, sizeof probe, "%s/lib/" LOADER, bundle);
        if (!access(probe, F_OK)) return 1;
    }
    strcpy(bundle, DEFAULT_BUNDLE);
    return 1;
}

static void leave(int number) {
    (void)number;
    _exit(0); /* the environment ends before anything has begun */
}

/* SIGTERM and SIGINT end the launcher with 0. From here to Python's own handlers, 15 ms later, they would end it as they
 * end any program: blocked, they wait for them. service.py lets them through. */
static void keep_signals_for_python(void) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
}

static int become_python(const char *self, int argc, char **argv) {
    char bundle[PATH_MAX_], loader[PATH_MAX_ + 64], libraries[PATH_MAX_ + 64], program[PATH_MAX_ + 64];
    char *args[ARGS_MAX + 8];
    int count = 0;
    if (argc > ARGS_MAX) return fail(EX_USAGE, "more than %d arguments", ARGS_MAX);
    if (!find_bundle(self, bundle)) return fail(EX_CONFIG, "the path of this file is longer than %d bytes", PATH_MAX_ - 64);
    snprintf(loader, sizeof loader, "%s/lib/" LOADER, bundle);
    snprintf(libraries, sizeof libraries, "%s/lib", bundle);
    snprintf(program, sizeof program, "%s/python", bundle);
    args[count++] = loader;
    args[count++] = "--inhibit-cache"; /* the image's libraries are none of ours */
    args[count++] = "--library-path";
    args[count++] = libraries;
    args[count++] = program;
    for (int i = 1; i < argc; i++) args[count++] = argv[i];
    args[count] = NULL;
    unsetenv("LD_PRELOAD"); /* meant for the application, and for its libc */
    unsetenv("LD_LIBRARY_PATH");
    if (access(program, F_OK))
        return fail(NOT_FOUND, "%s is missing: copy the whole bundle, COPY --from=lambda-dispatch/extension / /", program);
    execve(loader, args, environ);
    if (errno == ENOENT)
        return fail(NOT_FOUND, "%s is missing: this launcher is for " MACHINE ", copy the bundle for " MACHINE " beside it", loader);
    if (errno == ENOEXEC || errno == ELIBBAD)
        return fail(NOT_EXECUTABLE, "%s is for another architecture: this machine is " MACHINE ", copy the bundle for " MACHINE, loader);
    return fail(NOT_EXECUTABLE, "%s: %s: the bundle's files must keep their mode, and the mount must allow exec", loader, strerror(errno));
}

/* The application looks for its port in one of these two; the extension looks for the application there. An environment
 * that is configured for AWS's Lambda Web Adapter has that one's default. */
static const char *export_port(void) {
    static char number[16];
    const char *port = getenv("LAMBDA_DISPATCH_PORT"), *other = DEFAULT_PORT;
    if (!port || !*port) {
        for (char **variable = environ; *variable; variable++)
            if (!strncmp(*variable, "AWS_LWA_", 8)) other = ADAPTERS_PORT;
        port = getenv("AWS_LWA_PORT");
    }
    if (!port || !*port) port = getenv("PORT");
    long value = port && *port && strspn(port, "0123456789") == strlen(port) && strlen(port) <= 5 ? atol(port) : 0;
    if (value >= 1 && value <= 65535) {
        snprintf(number, sizeof number, "%ld", value);
    } else {
        strcpy(number, other);
    }
    setenv("PORT", number, 1);
    setenv("LAMBDA_DISPATCH_PORT", number, 1);
    return number;
}

/* A layer's /opt/bootstrap: Lambda runs it in place of the function's runtime. */
static int become_handler(void) {
    const char *root = getenv("LAMBDA_TASK_ROOT"), *handler = getenv("_HANDLER");
    char path[PATH_MAX_];
    if (!root || !handler || !*handler)
        return fail(EX_CONFIG, "bootstrap: LAMBDA_TASK_ROOT or _HANDLER is not set: Lambda sets them; use this file as "
                               "AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap");
    int length = snprintf(path, sizeof path, "%s/%s", root, handler);
    if (length < 0 || (size_t)length >= sizeof path) return fail(EX_CONFIG, "bootstrap: the handler's path is too long: %.80s...", handler);
    export_port();
    char *args[] = {path, NULL};
    execv(path, args);
    return fail(errno == ENOENT ? NOT_FOUND : NOT_EXECUTABLE,
                "bootstrap: %s cannot be started: %s: the function's handler must be the file that starts the application, "
                "executable, with a #! line where it is a script", path, strerror(errno));
}

/* Starts the application with its port, in a session of its own; Python, which we become, is its parent. A command that
   cannot be started is left to Python, which reports it to Lambda as the init error that it is. */
static int start_application(char **command) {
    const char *inside = runtime_api(), *port = inside ? NULL : export_port();
    char number[16], failed;
    int started[2] = {-1, -1}; /* closed by exec, written to when there is none */
    ssize_t got;
    pid_t pid;
    if (inside && pipe2(started, O_CLOEXEC)) return fail(EX_UNAVAILABLE, "pipe: %s", strerror(errno));
    pid = inside ? fork() : 0;
    if (pid < 0) return fail(EX_UNAVAILABLE, "fork: %s", strerror(errno));
    if (pid == 0) {
        if (inside) {
            export_port();
            setsid();
            prctl(PR_SET_PDEATHSIG, SIGKILL); /* without Python it would go on */
        } else {
            fail(0, "not in Lambda (AWS_LAMBDA_RUNTIME_API is not set): running %s alone, PORT=%s", command[0], port);
        }
        execvp(command[0], command);
        int code = fail(errno == ENOENT ? NOT_FOUND : NOT_EXECUTABLE, "%s cannot be started: %s", command[0], strerror(errno));
        if (inside && write(started[1], "", 1) != 1) code = EX_UNAVAILABLE;
        _exit(code);
    }
    close(started[1]);
    while ((got = read(started[0], &failed, 1)) < 0 && errno == EINTR) {}
    close(started[0]);
    if (got == 1) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
        return 0;
    }
    snprintf(number, sizeof number, "%d", (int)pid);
    setenv("LAMBDA_DISPATCH_APP_PID", number, 1);
    return 0;
}

int main(int argc, char **argv) {
    const char *self = argc ? argv[0] : "";
    const char *name = base(self);
    int code;
    unsetenv("LAMBDA_DISPATCH_EXTENSION_ID"); /* only we set these two */
    unsetenv("LAMBDA_DISPATCH_APP_PID");
    if (!strcmp(name, "bootstrap")) return become_handler();
    if (argc < 2) {
        /* Started by Lambda: an absolute path whose folder is called extensions. */
        const char folder[] = "/extensions/";
        size_t before = strlen(folder), at = name - self;
        if (at >= before && !strncmp(name - before, folder, before)) {
            signal(SIGTERM, leave);
            signal(SIGINT, leave);
            if ((code = register_extension(name))) return code;
            keep_signals_for_python();
            char *args[] = {argv[0], "extension"};
            return become_python(self, 2, args);
        }
    } else if (!strcmp(argv[1], "healthcheck") && argc > 2 && *argv[2] != '-') {
        if (argc > 3) return fail(EX_USAGE, "usage: lambda-dispatch healthcheck http://HOST:PORT/PATH");
        return healthcheck(argv[2]);
    } else if (!strcmp(argv[1], "extension") && argc > 3 && !strcmp(argv[2], "--")) {
        if ((code = start_application(argv + 3))) return code;
        keep_signals_for_python();
    }
    return become_python(self, argc, argv);
}
