/* An application in one static file: answers every request with its path and PORT. Listens on PORT. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void serve(int fd) {
    char head[65536];
    size_t used = 0;
    for (;;) {
        char *end;
        head[used] = 0;
        while (!(end = strstr(head, "\r\n\r\n"))) {
            ssize_t n = read(fd, head + used, sizeof head - 1 - used);
            if (n <= 0) return;
            used += n;
            head[used] = 0;
        }
        char method[16], path[4096], body[8192], answer[16384];
        if (sscanf(head, "%15s %4095s", method, path) != 2) return;
        int length = snprintf(body, sizeof body, "%s %s PORT=%s", method, path, getenv("PORT"));
        int size = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s", length, body);
        if (write(fd, answer, size) != size) return;
        used -= end + 4 - head;
        memmove(head, end + 4, used);
    }
}

int main(void) {
    const char *port = getenv("PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port ? atoi(port) : 0), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    signal(SIGCHLD, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 64)) {
        perror("static_app");
        return 1;
    }
    getsockname(listener, (void *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        if (fork() == 0) {
            close(listener);
            serve(fd);
            _exit(0);
        }
        close(fd);
    }
}
