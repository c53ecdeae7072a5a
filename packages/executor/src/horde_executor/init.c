/* The first process of a job's container: it runs the job's command, and tells the agent at once how that ended.
 *
 *     init COMMAND [ARGUMENT...]
 *
 * It connects to the agent's socket, which is mounted at LINE, and waits. The agent sends the two ends of pipes
 * that become stdout and stderr, and a file in memory with the job's secret variables; with them the command starts.
 * When it ended, or could not be executed, the agent is told (`struct report`), and by the end of this process the
 * kernel ends whatever the job left running. When the agent hangs up, because it died, the container ends too:
 * nothing runs that nobody watches.
 *
 * Signals that the container gets are passed on to the command; orphans are reaped. The command inherits neither
 * the line nor the mask of signals. It depends on nothing in the image, so it is linked statically.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE "/.horde/line"
#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { FAILED = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127, SIGNALLED = 128 };

struct report {
    int32_t kind;  /* 'x': the command ended; 'e': it could not be executed */
    int32_t value; /* the exit code, 128 and the signal's number if one ended it; or errno */
};

static void tell(int line, int kind, int value) {
    struct report report = {kind, value};
    while (send(line, &report, sizeof report, MSG_NOSIGNAL) < 0 && errno == EINTR) {}
}

static int connected(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = LINE};
    int line = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (line < 0 || connect(line, (struct sockaddr *)&address, sizeof address) < 0) _exit(FAILED);
    return line;
}

/* Take stdout, stderr and the secrets, which are returned, from the agent; ends the container if it hung up instead. */
static int take(int line) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control;
    char byte;
    int ends[3];
    struct iovec data = {&byte, 1};
    struct msghdr message = {0};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    ssize_t got;
    do got = recvmsg(line, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    struct cmsghdr *header = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof ends)) _exit(FAILED);
    memcpy(ends, CMSG_DATA(header), sizeof ends);
    if (dup2(ends[0], STDOUT_FILENO) < 0 || dup2(ends[1], STDERR_FILENO) < 0) _exit(FAILED);
    close(ends[0]);
    close(ends[1]);
    return ends[2];
}

/* Add NAME=VALUE entries, a NUL behind each, to the environment of this process. Returns whether that went well. */
static int revealed(int secrets) {
    off_t size = lseek(secrets, 0, SEEK_END);
    if (size == 0) return 1;
    char *entry = size < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ, MAP_PRIVATE, secrets, 0);
    if (entry == MAP_FAILED) return 0;
    for (char *end = entry + size; entry < end; entry += strlen(entry) + 1) {
        if (putenv(entry)) return 0;
    }
    return 1;
}

/* Execute as a shell would find it, but never through one. Returns only on failure, with the reason in errno. */
static void execute(char **command) {
    extern char **environ;
    const char *name = command[0], *path = getenv("PATH");
    int why = ENOENT;
    if (strchr(name, '/') || !*name) {
        execve(name, command, environ);
        return;
    }
    if (!path) path = USUAL_PATH;
    size_t longest = strlen(path) + strlen(name) + 2;
    char *file = malloc(longest);
    while (file) {
        size_t length = strcspn(path, ":");
        memcpy(file, path, length);
        strcpy(file + length, length ? "/" : "");
        strcat(file, name);
        execve(file, command, environ);
        if (errno == EACCES) why = EACCES;
        else if (errno != ENOENT && errno != ENOTDIR) return;
        if (!path[length]) break;
        path += length + 1;
    }
    errno = why;
}

static pid_t started(char **command, int line, int secrets, const sigset_t *mask) {
    pid_t child = fork();
    if (child < 0) {
        tell(line, 'e', errno);
        _exit(NOT_EXECUTABLE);
    }
    if (child == 0) {
        setpgid(0, 0);
        sigprocmask(SIG_SETMASK, mask, NULL);
        if (revealed(secrets)) execute(command);
        int why = errno;
        tell(line, 'e', why);
        _exit(why == ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
    }
    close(secrets); /* only the command's process ever sees them */
    return child;
}

/* Reap all that ended. When the command is among them this is the end. */
static void reap(int line, pid_t child) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != child) continue;
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : SIGNALLED + WTERMSIG(status);
        tell(line, 'x', code);
        _exit(code);
    }
}

int main(int count, char **arguments) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t mask, before;
    pid_t child = 0;
    if (count < 2) return FAILED;

    sigfillset(&mask);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&mask, faults[i]);
    sigprocmask(SIG_SETMASK, &mask, &before);
    int signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK), line = connected();
    if (signals < 0) return FAILED;

    for (;;) {
        struct pollfd news[] = {{signals, POLLIN, 0}, {line, POLLIN, 0}};
        struct signalfd_siginfo signal;
        if (poll(news, 2, -1) < 0) continue;
        while (read(signals, &signal, sizeof signal) == sizeof signal) {
            if (signal.ssi_signo == SIGCHLD) reap(line, child);
            else if (child) kill(child, (int)signal.ssi_signo);
            else if (signal.ssi_signo == SIGTERM || signal.ssi_signo == SIGINT) _exit(SIGNALLED + (int)signal.ssi_signo);
        }
        if (!news[1].revents) continue;
        if (child) _exit(FAILED); /* the agent says nothing more: it is gone */
        child = started(arguments + 1, line, take(line), &before);
    }
}
